"""Figures, provenance, the report and the archive."""

TEMPLATES = Path(workflow.basedir) / "workflow/report"
PREDICTANDS = list(CONFIG.data.predictands)
TRAINED = [run for run in RUNS if run[1]]
KINDS = ("maps-largest-error", "maps-largest-value", "maps-random", "scores", "density")
MAPS = [f"figures/{kind}-{name}.png" for name in PREDICTANDS for kind in KINDS]
OF_NETWORKS = [*MAPS, "figures/training.png"]
if EXPLAINED:
    OF_NETWORKS += ["figures/importance.png", *(f"figures/saliency-{name}.png" for name in PREDICTANDS)]
# Stage of each rule, by the folder or name of its benchmark; the order is that of the table of costs.
STAGES = {
    "check": "check",
    "download": "regrid",
    "coarsen": "regrid",
    "grids": "regrid",
    "remap": "regrid",
    "static": "regrid",
    "split": "prepare",
    "scalers": "prepare",
    "fit": "train",
    "predict": "predict",
    "pool": "predict",
    "seed_ensemble": "predict",
    "scenario_ensemble": "predict",
    "scenario_inputs": "predict",
    "harmonise": "predict",
    "outside_range": "predict",
    "predict_scenario": "predict",
    "score": "verify",
    "score_scenario": "verify",
    "change": "verify",
    "summary": "verify",
    "compare": "verify",
    "explain": "report",
    "figures": "report",
    "overview": "report",
    "cost": "report",
    "provenance": "report",
    "archive": "report",
}


rule figures_network:
    input:
        truth=f"{DATA}/samples/test/fine.nc",
        coarse=f"{DATA}/samples/test/coarse.nc",
        prediction=f"{RESULTS}/{{model}}/seed{{seed}}/prediction.nc",
        scores=f"{RESULTS}/{{model}}/seed{{seed}}/scores.nc",
        references=run_files("scores.nc", TRAINED),
        static=STATIC,
        # Of several folds, the first stands for all.
        history=f"{RESULTS}/{{model}}/seed{{seed}}/{FOLDS[0]}history.csv",
        importance=[f"{RESULTS}/{{model}}/seed{{seed}}/{name}" for name in EXPLAINED[:1]],
        saliency=[f"{RESULTS}/{{model}}/seed{{seed}}/{name}" for name in EXPLAINED[1:]],
    output:
        report(
            [f"{RESULTS}/{{model}}/seed{{seed}}/{name}" for name in OF_NETWORKS],
            caption="../workflow/report/captions/figures.rst",
            category="Networks",
            subcategory="{model}",
        ),
        vectors=[f"{RESULTS}/{{model}}/seed{{seed}}/{name}" for name in as_pdf(OF_NETWORKS)],
    log:
        f"{LOGS}/figures/{{model}}-seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{model}}-seed{{seed}}.tsv"
    wildcard_constraints:
        model="|".join(CONFIG.models),
        seed=r"\d+",
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=30,
    params:
        code=code("figures"),
        predictands=PREDICTANDS,
    message:
        "Drawing {wildcards.model}, seed {wildcards.seed}"
    script:
        "../scripts/figures.py"


use rule figures_network as figures_baseline with:
    input:
        truth=f"{DATA}/samples/test/fine.nc",
        coarse=f"{DATA}/samples/test/coarse.nc",
        prediction=f"{RESULTS}/{{baseline}}/seed0/prediction.nc",
        scores=f"{RESULTS}/{{baseline}}/seed0/scores.nc",
        references=run_files("scores.nc", TRAINED),
        static=STATIC,
    output:
        report(
            [f"{RESULTS}/{{baseline}}/seed0/{name}" for name in MAPS],
            caption="../workflow/report/captions/figures.rst",
            category="Baselines",
            subcategory="{baseline}",
        ),
        vectors=[f"{RESULTS}/{{baseline}}/seed0/{name}" for name in as_pdf(MAPS)],
    log:
        f"{LOGS}/figures/{{baseline}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{baseline}}.tsv"
    wildcard_constraints:
        baseline="|".join(BASELINES),
    message:
        "Drawing the baseline {wildcards.baseline}"


if CONFIG.ensembles:

    use rule figures_baseline as figures_ensemble with:
        input:
            truth=f"{DATA}/samples/test/fine.nc",
            coarse=f"{DATA}/samples/test/coarse.nc",
            prediction=f"{RESULTS}/{{ensemble}}/seed0/prediction.nc",
            scores=f"{RESULTS}/{{ensemble}}/seed0/scores.nc",
            references=run_files("scores.nc", TRAINED),
            static=STATIC,
        output:
            report(
                [f"{RESULTS}/{{ensemble}}/seed0/{name}" for name in MAPS],
                caption="../workflow/report/captions/figures.rst",
                category="Networks",
                subcategory="{ensemble}",
            ),
            vectors=[f"{RESULTS}/{{ensemble}}/seed0/{name}" for name in as_pdf(MAPS)],
        log:
            f"{LOGS}/figures/{{ensemble}}.log",
        benchmark:
            f"{BENCHMARKS}/figures/{{ensemble}}.tsv"
        message:
            "Drawing the ensemble {wildcards.ensemble}"


rule overview:
    input:
        summary=rules.summary.output[0],
        scores=run_files("scores.nc"),
        predictions=run_files("prediction.nc"),
        truth=f"{DATA}/samples/test/fine.nc",
        static=STATIC,
    output:
        # A folder: what there is to show depends on the record.
        folder=report(
            directory(f"{RESULTS}/verification/figures"),
            patterns=["{name}.png"],
            caption="../workflow/report/captions/overview.rst",
            category="Models side by side",
        ),
    log:
        f"{LOGS}/overview.log",
    benchmark:
        f"{BENCHMARKS}/overview.tsv"
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=60,
    params:
        code=code("overview"),
        settings={
            "runs": RUNS,
            "predictands": PREDICTANDS,
            "networks": list(CONFIG.models),
            "ensembles": list(CONFIG.ensembles),
            "scale": CONFIG.data.scale,
            "confidence": CONFIG.verification.bootstrap.confidence,
            "places": {name: (place.lat, place.lon) for name, place in CONFIG.verification.places.items()},
            "moving": plain(CONFIG.verification.animation),
        },
    message:
        "Drawing the figures that compare all models"
    script:
        "../scripts/overview.py"


rule cost:
    input:
        products=[rules.summary.output, rules.compare.output, rules.overview.output],
        figures=run_files(f"figures/scores-{PREDICTANDS[0]}.png"),
    output:
        table=f"{RESULTS}/cost.csv",
    log:
        f"{LOGS}/cost.log",
    benchmark:
        f"{BENCHMARKS}/cost.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("cost"),
        benchmarks=BENCHMARKS,
        logs=LOGS,
        stages=STAGES,
    message:
        "Summing what the experiment has cost"
    script:
        "../scripts/cost.py"


rule provenance:
    input:
        sources=sorted({path for paths in PATHS.values() for path in paths}),
        cost=rules.cost.output.table,
    output:
        record=f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/provenance.log",
    benchmark:
        f"{BENCHMARKS}/provenance.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code("provenance"),
        config=GIVEN,
        benchmarks=BENCHMARKS,
    message:
        "Recording where the results come from"
    script:
        "../scripts/provenance.py"


rule page:
    input:
        summary=rules.summary.output[0],
        comparison=rules.compare.output[0],
        provenance=rules.provenance.output.record,
        template=TEMPLATES / "report.html.j2",
        style=[TEMPLATES / "report.css", TEMPLATES / "report.js"],
        train=f"{DATA}/samples/{FOLDS[0]}train/fine.nc",
        validation=f"{DATA}/samples/validation/fine.nc",
        test=f"{DATA}/samples/test/fine.nc",
        coarse=f"{DATA}/samples/{FOLDS[0]}train/coarse.nc",
        static=STATIC,
        figures=[file for name in MAPS for file in run_files(name)]
        + [file for name in OF_NETWORKS[len(MAPS) :] for file in run_files(name, TRAINED)]
        + [file for s in CHANGING for name in PREDICTANDS for file in run_files(f"figures/change-{s}-{name}.png")],
        overview=rules.overview.output.folder,
        histories=run_files(f"{FOLDS[0]}history.csv", TRAINED),
        scores=run_files("scores.nc", TRAINED),
        inputs=[f"{RESULTS}/verification/scenarios/{name}-inputs.csv" for name in SCENARIOS],
    output:
        report=report(f"{RESULTS}/report.html", caption="../workflow/report/captions/report.rst", category="Report"),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("report"),
        config=GIVEN,
        root=lambda wildcards, output: str(Path(output.report).parent),
        scenarios=list(SCENARIOS),
        command=f"snakemake --profile profiles/local --configfile {in_repository(ORIGIN)}",
    message:
        "Writing the report {output}"
    script:
        "../scripts/report.py"


rule crate:
    input:
        provenance=rules.provenance.output.record,
        files=[rules.page.output.report, rules.summary.output, rules.compare.output, rules.cost.output.table]
        + run_files("scores.csv")
        + [file for name in ("model.keras", "scalers.nc", "spec.json", "history.csv") for file in trained_files(name)],
    output:
        archive=f"{RESULTS}/archive.zip",
    log:
        f"{LOGS}/archive.log",
    benchmark:
        f"{BENCHMARKS}/archive.tsv"
    localrule: True
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("archive"),
        config=GIVEN,
        root=lambda wildcards, output: str(Path(output.archive).parent),
    message:
        "Packing the archive {output}"
    script:
        "../scripts/archive.py"


rule report:
    input:
        rules.scenarios.input,
        rules.inventory.output,
        rules.page.output,
    localrule: True


rule archive:
    input:
        rules.crate.output,
    localrule: True
