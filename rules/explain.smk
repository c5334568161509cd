"""What the predictions of networks depend on: importance of inputs, and saliency maps."""

# Nothing where it is switched off.
EXPLAINED = ["importance.csv", "saliency.nc"] if CONFIG.verification.explain else []


if EXPLAINED:

    rule explain:
        input:
            # Of several folds, the first stands for all.
            model=f"{RESULTS}/{{model}}/seed{{seed}}/{FOLDS[0]}model.keras",
            scalers=f"{RESULTS}/{{model}}/seed{{seed}}/{FOLDS[0]}scalers.nc",
            train=f"{DATA}/samples/{FOLDS[0]}train/coarse.nc",
            coarse=f"{DATA}/samples/{FOLDS[0]}validation/coarse.nc",
            fine=f"{DATA}/samples/{FOLDS[0]}validation/fine.nc",
            valid=f"{DATA}/samples/{FOLDS[0]}valid.nc",
            static=STATIC,
        output:
            importance=f"{RESULTS}/{{model}}/seed{{seed}}/importance.csv",
            saliency=f"{RESULTS}/{{model}}/seed{{seed}}/saliency.nc",
        log:
            f"{LOGS}/explain/{{model}}-seed{{seed}}.log",
        benchmark:
            f"{BENCHMARKS}/explain/{{model}}-seed{{seed}}.tsv"
        wildcard_constraints:
            model="|".join(CONFIG.models),
            seed=r"\d+",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=60,
        params:
            code=code("explain"),
            settings=plain(CONFIG.verification.explain),
            places={name: (place.lat, place.lon) for name, place in CONFIG.verification.places.items()},
            limits=lambda wildcards: CONFIG.limits(wildcards.model),
        message:
            "Looking at what {wildcards.model}, seed {wildcards.seed}, depends on"
        script:
            "../scripts/explain.py"
