"""Scores of every model and baseline, and one table of all of them."""


rule score:
    input:
        predicted_validation=f"{RESULTS}/{{model}}/seed{{seed}}/prediction-validation.nc",
        predicted_test=f"{RESULTS}/{{model}}/seed{{seed}}/prediction.nc",
        validation=f"{DATA}/samples/validation/fine.nc",
        test=f"{DATA}/samples/test/fine.nc",
        statistics=f"{DATA}/samples/statistics.json",
    output:
        scores=f"{RESULTS}/{{model}}/seed{{seed}}/scores.nc",
        rows=f"{RESULTS}/{{model}}/seed{{seed}}/scores.csv",
    log:
        f"{LOGS}/score/{{model}}-seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/score/{{model}}-seed{{seed}}.tsv"
    resources:
        mem_mb=6000,
        runtime=60,
    params:
        code=code("verify"),
        bootstrap=plain(CONFIG.verification.bootstrap),
        about=about(CONFIG.data, CONFIG.split, CONFIG.verification.bootstrap),
    message:
        "Scoring {wildcards.model}, seed {wildcards.seed}"
    conda:
        "../envs/verify.yaml"
    script:
        "../scripts/verify.py"


rule summary:
    input:
        run_files("scores.csv"),
    output:
        f"{RESULTS}/verification/summary.csv",
    log:
        f"{LOGS}/summary.log",
    benchmark:
        f"{BENCHMARKS}/summary.tsv"
    localrule: True
    params:
        code=code("summarise"),
    message:
        "Joining the scores of {input}"
    conda:
        "../envs/verify.yaml"
    script:
        "../scripts/summarise.py"


rule verify:
    localrule: True
    input:
        rules.summary.output,
