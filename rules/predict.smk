"""Predictions over the validation and test periods, by networks and by baselines."""


rule predict_network:
    input:
        model=f"{RESULTS}/{{model}}/seed{{seed}}/model.keras",
        scalers=f"{RESULTS}/{{model}}/seed{{seed}}/scalers.nc",
        validation=f"{DATA}/samples/validation/coarse.nc",
        test=f"{DATA}/samples/test/coarse.nc",
        fine=f"{DATA}/samples/train/fine.nc",
        static=STATIC,
    output:
        validation=f"{RESULTS}/{{model}}/seed{{seed}}/prediction-validation.nc",
        test=f"{RESULTS}/{{model}}/seed{{seed}}/prediction.nc",
    log:
        f"{LOGS}/predict/{{model}}-seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{model}}-seed{{seed}}.tsv"
    wildcard_constraints:
        model="|".join(CONFIG.models),
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("predict"),
    message:
        "Predicting with {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/predict.py"


rule predict_baseline:
    input:
        fine=f"{DATA}/samples/train/fine.nc",
        coarse=f"{DATA}/samples/train/coarse.nc",
        validation=f"{DATA}/samples/validation/coarse.nc",
        test=f"{DATA}/samples/test/coarse.nc",
    output:
        validation=f"{RESULTS}/{{baseline}}/seed0/prediction-validation.nc",
        test=f"{RESULTS}/{{baseline}}/seed0/prediction.nc",
    log:
        f"{LOGS}/predict/{{baseline}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{baseline}}.tsv"
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=60,
    params:
        code=code("baseline"),
        scale=CONFIG.data.scale,
    message:
        "Fitting and applying the baseline {wildcards.baseline}"
    script:
        "../scripts/baseline.py"


rule predict:
    input:
        run_files("prediction.nc"),
    localrule: True
