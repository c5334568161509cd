"""From input files to samples: download, check, regrid, prepare."""


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


rule coarsen:
    input:
        lambda wildcards: PARTS[wildcards.predictand][wildcards.part],
    output:
        fine=f"{DATA}/regridded/fine/{{predictand}}/{{part}}.nc",
        coarse=f"{DATA}/regridded/coarse/{{predictand}}/{{part}}.nc",
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
        arguments=lambda wildcards: {
            "name": wildcards.predictand,
            "variable": CONFIG.data.predictands[wildcards.predictand].variable,
            "units": CONFIG.data.predictands[wildcards.predictand].units,
            "domain": plain(CONFIG.data.domain),
            "scale": CONFIG.data.scale,
        },
    message:
        "Coarsening {wildcards.predictand} of {input}"
    script:
        "../scripts/coarsen.py"


rule remap:
    input:
        sources=lambda wildcards: PATHS[CONFIG.data.static[wildcards.field].source],
        fine=next(iter(regridded("fine").values()))[0],
    output:
        f"{DATA}/regridded/static/{{field}}.nc",
    log:
        f"{LOGS}/remap/{{field}}.log",
    benchmark:
        f"{BENCHMARKS}/remap/{{field}}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("remap"),
        arguments=lambda wildcards: {
            "name": wildcards.field,
            "variable": CONFIG.data.static[wildcards.field].variable,
            "units": CONFIG.data.static[wildcards.field].units,
            "regrid": plain(CONFIG.data.static[wildcards.field].regrid or CONFIG.data.regrid),
        },
    message:
        "Bringing {wildcards.field} to the fine grid"
    script:
        "../scripts/remap.py"


rule split:
    input:
        fine=sum(regridded("fine").values(), []),
        coarse=sum(regridded("coarse").values(), []),
        static=[f"{DATA}/regridded/static/{field}.nc" for field in CONFIG.data.static],
    output:
        **{f"{grid}_{split}": f"{DATA}/samples/{split}/{grid}.nc" for split in SPLITS for grid in ("fine", "coarse")},
        **({"static": STATIC} if STATIC else {}),
        statistics=f"{DATA}/samples/statistics.json",
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
        parts={grid: regridded(grid) for grid in ("fine", "coarse")},
        periods={split: getattr(CONFIG.split, split) for split in SPLITS},
        outputs={split: {grid: f"{DATA}/samples/{split}/{grid}.nc" for grid in ("fine", "coarse")} for split in SPLITS},
    message:
        "Dividing the record into training, validation and test samples"
    script:
        "../scripts/prepare.py"


rule scalers:
    input:
        fine=f"{DATA}/samples/train/fine.nc",
        coarse=f"{DATA}/samples/train/coarse.nc",
        static=STATIC,
    output:
        f"{DATA}/scalers/{{scalers}}.nc",
    log:
        f"{LOGS}/scalers/{{scalers}}.log",
    benchmark:
        f"{BENCHMARKS}/scalers/{{scalers}}.tsv"
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
        sorted({scalers_of(model) for model in CONFIG.models}),
    localrule: True
