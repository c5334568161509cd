"""Scores of every model and baseline, one table of all of them, and their differences."""


rule score:
    input:
        predicted_validation=f"{RESULTS}/{{model}}/seed{{seed}}/prediction-validation.nc",
        predicted_test=f"{RESULTS}/{{model}}/seed{{seed}}/prediction.nc",
        validation=f"{DATA}/samples/validation/fine.nc",
        test=f"{DATA}/samples/test/fine.nc",
        statistics=f"{DATA}/samples/statistics.json",
        static=STATIC_OF_REGIONS,
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
        settings=SCORING,
        scale=CONFIG.data.scale,
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
        report(
            f"{RESULTS}/verification/summary.csv",
            caption="../workflow/report/captions/summary.rst",
            category="Scores",
        ),
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


rule compare:
    input:
        summary=rules.summary.output[0],
        scores=run_files("scores.nc"),
    output:
        f"{RESULTS}/verification/comparisons.csv",
    log:
        f"{LOGS}/compare.log",
    benchmark:
        f"{BENCHMARKS}/compare.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("compare"),
        # One for each file of scores.
        models=[model for model, _ in RUNS],
        predictands=list(CONFIG.data.predictands),
        networks=list(CONFIG.models),
        confidence=CONFIG.verification.bootstrap.confidence,
    message:
        "Comparing all models with the one that is chosen on validation"
    script:
        "../scripts/compare.py"


rule verify:
    input:
        rules.summary.output,
        rules.compare.output,
        rules.scenarios.input,
    localrule: True
