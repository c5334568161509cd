"""Predictions over the validation and test periods, by networks and by baselines."""


rule predict_network:
    input:
        model=f"{RESULTS}/{{model}}/seed{{seed}}/model.keras",
        scalers=f"{RESULTS}/{{model}}/seed{{seed}}/scalers.nc",
        spec=f"{RESULTS}/{{model}}/seed{{seed}}/spec.json",
        validation=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}validation/coarse.nc",
        test=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}test/coarse.nc",
        fine=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}train/fine.nc",
        valid=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}valid.nc",
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
    threads: lambda wildcards: CONFIG.execution.workers * CONFIG.execution.threads_per_worker if is_diffusion(wildcards) else 1
    resources:
        mem_mb=growing(4000),
        runtime=longer(60),
    params:
        code=code("predict"),
        limits=lambda wildcards: CONFIG.limits(wildcards.model),
        members=lambda wildcards: plain(CONFIG.members(wildcards.model))
        | {"seed": int(wildcards.seed.partition("/")[0])},
    message:
        "Predicting with {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/predict.py"


rule predict_baseline:
    input:
        fine=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}train/fine.nc",
        coarse=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}train/coarse.nc",
        validation=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}validation/coarse.nc",
        test=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}test/coarse.nc",
    output:
        validation=f"{RESULTS}/{{baseline}}/seed{{seed}}/prediction-validation.nc",
        test=f"{RESULTS}/{{baseline}}/seed{{seed}}/prediction.nc",
    log:
        f"{LOGS}/predict/{{baseline}}-seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{baseline}}-seed{{seed}}.tsv"
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=60,
    params:
        code=code("baseline"),
        scale=CONFIG.data.scale,
        context=CONFIG.data.context,
        limits=CONFIG.limits(),
    message:
        "Fitting and applying the baseline {wildcards.baseline}"
    script:
        "../scripts/baseline.py"


if FOLDED:

    rule pool:
        input:
            validation=[f"{RESULTS}/{{model}}/seed{{seed}}/{fold}prediction-validation.nc" for fold in FOLDS],
            test=[f"{RESULTS}/{{model}}/seed{{seed}}/{fold}prediction.nc" for fold in FOLDS],
        output:
            validation=f"{RESULTS}/{{model}}/seed{{seed}}/prediction-validation.nc",
            test=f"{RESULTS}/{{model}}/seed{{seed}}/prediction.nc",
        log:
            f"{LOGS}/pool/{{model}}-seed{{seed}}.log",
        benchmark:
            f"{BENCHMARKS}/pool/{{model}}-seed{{seed}}.tsv"
        wildcard_constraints:
            model="|".join([*CONFIG.models, *BASELINES]),
            seed=r"\d+",
        conda:
            "../envs/verify.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=30,
        params:
            code=code("pool"),
        message:
            "Joining the predictions of all folds of {wildcards.model}, seed {wildcards.seed}"
        script:
            "../scripts/pool.py"


if CONFIG.ensembles:

    rule seed_ensemble:
        input:
            validation=seed_files("prediction-validation.nc"),
            test=seed_files("prediction.nc"),
        output:
            validation=f"{RESULTS}/{{ensemble}}/seed0/prediction-validation.nc",
            test=f"{RESULTS}/{{ensemble}}/seed0/prediction.nc",
        log:
            f"{LOGS}/seed_ensemble/{{ensemble}}.log",
        benchmark:
            f"{BENCHMARKS}/seed_ensemble/{{ensemble}}.tsv"
        conda:
            "../envs/verify.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=30,
        params:
            code=code("seed_ensemble"),
        message:
            "Putting the seeds of a model together as {wildcards.ensemble}"
        script:
            "../scripts/seed_ensemble.py"


rule predict:
    input:
        run_files("prediction.nc"),
    localrule: True
