"""From input files to samples: download, check, regrid, prepare."""

# The predictand whose first file has the grid that all predictands share.
FIRST = next(iter(CONFIG.data.predictands))
# The grids that all fields are brought to.
GRIDS = {grid: f"{DATA}/grids/{grid}.nc" for grid in ("fine", "coarse")}
# Remapping weights by pair of grids: a cache beside the products, made by whichever job comes first.
WEIGHTS = f"{DATA}/weights"
# How fields are brought together in time, and what is done about missing values.
POLICY = plain(CONFIG.data.time) | {"missing_predictors": CONFIG.data.missing_predictors}


rule download:
    output:
        "data/downloads/{source}/{file}",
    log:
        f"{LOGS}/download/{{source}}/{{file}}.log",
    benchmark:
        f"{BENCHMARKS}/download/{{source}}/{{file}}.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        url=lambda wildcards, output: DOWNLOADS[output[0]].url,
        sha256=lambda wildcards, output: DOWNLOADS[output[0]].sha256,
    message:
        "Downloading {wildcards.file}"
    script:
        "../scripts/download.py"


rule inventory:
    input:
        sorted({path for paths in PATHS.values() for path in paths}),
    output:
        f"{RESULTS}/check.txt",
    log:
        f"{LOGS}/check.log",
    benchmark:
        f"{BENCHMARKS}/check.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("check"),
        config=CHECKED,
    message:
        "Looking at all inputs"
    script:
        "../scripts/check.py"


rule grids:
    input:
        lambda wildcards: next(iter(PARTS["truth"][FIRST].values())),
    output:
        **GRIDS,
    log:
        f"{LOGS}/grids.log",
    benchmark:
        f"{BENCHMARKS}/grids.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("grids"),
        arguments={
            "entry": plain_entry("truth", FIRST),
            "domain": plain(CONFIG.data.domain),
            "grid": plain(CONFIG.data.grid),
            "scale": CONFIG.data.scale,
            "context": CONFIG.data.context,
        },
    message:
        "Laying out the fine and the coarse grid"
    script:
        "../scripts/grids.py"


rule coarsen:
    input:
        source=lambda wildcards: PARTS["truth"][wildcards.predictand][wildcards.part],
        grid=GRIDS["fine"],
        like=lambda wildcards: like("truth", wildcards.predictand),
    output:
        **({"coarse": f"{DATA}/regridded/coarse/{{predictand}}/{{part}}.nc"} if IMPLICIT else {}),
        fine=f"{DATA}/regridded/fine/{{predictand}}/{{part}}.nc",
    log:
        f"{LOGS}/coarsen/{{predictand}}/{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/coarsen/{{predictand}}/{{part}}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("coarsen"),
        weights=WEIGHTS,
        arguments=lambda wildcards: {
            "name": FIELDS["truth"][wildcards.predictand][1],
            "entry": plain_entry("truth", wildcards.predictand),
            "scale": CONFIG.data.scale,
            "context": CONFIG.data.context,
            "missing": CONFIG.data.missing,
        },
    message:
        "Regridding {wildcards.predictand} of {input.source}"
    script:
        "../scripts/coarsen.py"


rule remap:
    input:
        source=lambda wildcards: PARTS["coarse"][wildcards.field][wildcards.part],
        grid=GRIDS["coarse"],
        like=lambda wildcards: like("coarse", wildcards.field),
    output:
        f"{DATA}/regridded/inputs/{{field}}/{{part}}.nc",
    log:
        f"{LOGS}/remap/{{field}}/{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/remap/{{field}}/{{part}}.tsv"
    wildcard_constraints:
        field="|".join(FIELDS["coarse"]) or "none",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("remap"),
        weights=WEIGHTS,
        arguments=lambda wildcards: {
            "name": FIELDS["coarse"][wildcards.field][1],
            "entry": plain_entry("coarse", wildcards.field),
        },
    message:
        "Bringing {wildcards.field} of {input.source} to the coarse grid"
    script:
        "../scripts/remap.py"


rule static:
    input:
        sources=lambda wildcards: static_sources(wildcards.field),
        grid=GRIDS["fine"],
        land=lambda wildcards: static_sources(CONFIG.data.static[wildcards.field].land),
    output:
        f"{DATA}/regridded/static/{{field}}.nc",
    log:
        f"{LOGS}/static/{{field}}.log",
    benchmark:
        f"{BENCHMARKS}/static/{{field}}.tsv"
    wildcard_constraints:
        field="|".join(CONFIG.data.static) or "none",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("static"),
        weights=WEIGHTS,
        arguments=lambda wildcards: {
            "name": wildcards.field,
            "entry": plain(CONFIG.data.static[wildcards.field]),
            "regrid": plain(CONFIG.data.static[wildcards.field].regrid or CONFIG.data.regrid),
            "filters": filter_of(CONFIG.data.static[wildcards.field].source),
            "land": land_of(CONFIG.data.static[wildcards.field].land),
        },
    message:
        "Bringing {wildcards.field} to the fine grid"
    script:
        "../scripts/static.py"


rule split:
    input:
        fine=files_of("", "fine"),
        coarse=files_of("", "coarse"),
        static=[static_file(field) for field in CONFIG.data.static],
    output:
        **{
            f"{grid}_{split}{number}": f"{DATA}/samples/{fold}{split}/{grid}.nc"
            for number, fold in enumerate(FOLDS)
            for split in SPLITS
            for grid in ("fine", "coarse")
        },
        **{
            f"pooled_{grid}_{split}": f"{DATA}/samples/{split}/{grid}.nc"
            for split in ("validation", "test")
            for grid in ("fine", "coarse")
            if FOLDED
        },
        **({"static": STATIC} if STATIC else {}),
        valid=[f"{DATA}/samples/{fold}valid.nc" for fold in FOLDS],
        statistics=f"{DATA}/samples/statistics.json",
        notes=f"{DATA}/samples/notes.txt",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{BENCHMARKS}/split.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=120,
    params:
        code=code("prepare"),
        arguments={
            "parts": {grid: regridded("", grid) for grid in ("fine", "coarse")},
            "timing": timing_of(""),
            "policy": POLICY,
            "split": plain(CONFIG.split),
            "folds": FOLDS,
            "folder": f"{DATA}/samples",
        },
    message:
        "Dividing the record into training, validation and test samples"
    script:
        "../scripts/prepare.py"


rule scalers:
    input:
        fine=f"{DATA}/samples/{{fold}}train/fine.nc",
        coarse=f"{DATA}/samples/{{fold}}train/coarse.nc",
        static=STATIC,
    output:
        f"{DATA}/scalers/{{fold}}{{scalers}}.nc",
    log:
        f"{LOGS}/scalers/{{fold}}{{scalers}}.log",
    benchmark:
        f"{BENCHMARKS}/scalers/{{fold}}{{scalers}}.tsv"
    wildcard_constraints:
        scalers="|".join({settings.scalers for settings in SETTINGS.values()}),
        fold="|".join(f"({fold})" for fold in FOLDS),
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("scalers"),
        normalization=lambda wildcards: normalization_of(wildcards.scalers),
    message:
        "Fitting the scalers ({wildcards.scalers}) on the training period"
    script:
        "../scripts/scalers.py"


rule check:
    input:
        rules.inventory.output,
    localrule: True


rule regrid:
    input:
        rules.split.input,
    localrule: True


rule prepare:
    input:
        rules.split.output,
        sorted({scalers_of(model, fold) for model in CONFIG.models for fold in FOLDS}),
    localrule: True
