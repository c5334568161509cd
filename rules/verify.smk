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
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=60,
    params:
        code=code("verify"),
        bootstrap=plain(CONFIG.verification.bootstrap),
    message:
        "Scoring {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/verify.py"


rule summary:
    input:
        run_files("scores.csv"),
        scenario_files("{scenario}-scores.csv", KNOWN),
        scenario_files("{scenario}-change.csv", CHANGING),
    output:
        f"{RESULTS}/verification/summary.csv",
    log:
        f"{LOGS}/summary.log",
    benchmark:
        f"{BENCHMARKS}/summary.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("summarise"),
    message:
        "Joining the scores of {input}"
    script:
        "../scripts/summarise.py"


rule verify:
    input:
        rules.summary.output,
        rules.scenarios.input,
    localrule: True
