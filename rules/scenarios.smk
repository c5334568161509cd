"""Trained networks and baselines applied to other inputs."""


rule scenario_inputs:
    input:
        coarse=lambda wildcards: files_of(wildcards.scenario, "coarse"),
    output:
        coarse=f"{DATA}/scenarios/{{scenario}}/coarse.nc",
    log:
        f"{LOGS}/scenario_inputs/{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/scenario_inputs/{{scenario}}.tsv"
    wildcard_constraints:
        scenario="|".join(set(SCENARIOS) - set(KNOWN)) or "none",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("scenario_inputs"),
        arguments=lambda wildcards: {
            "scenario": wildcards.scenario,
            "parts": {"coarse": regridded(wildcards.scenario, "coarse")},
            "timing": timing_of(wildcards.scenario),
            "policy": POLICY,
            "period": SCENARIOS[wildcards.scenario].period,
        },
    message:
        "Joining the inputs of the scenario {wildcards.scenario}"
    script:
        "../scripts/scenario_inputs.py"


use rule scenario_inputs as scenario_pairs with:
    input:
        fine=lambda wildcards: files_of(wildcards.scenario, "fine"),
        coarse=lambda wildcards: files_of(wildcards.scenario, "coarse"),
    output:
        coarse=f"{DATA}/scenarios/{{scenario}}/coarse.nc",
        fine=f"{DATA}/scenarios/{{scenario}}/fine.nc",
    wildcard_constraints:
        scenario="|".join(KNOWN) or "none",
    params:
        code=code("scenario_inputs"),
        arguments=lambda wildcards: {
            "scenario": wildcards.scenario,
            "parts": {grid: regridded(wildcards.scenario, grid) for grid in ("fine", "coarse")},
            "timing": timing_of(wildcards.scenario),
            "policy": POLICY,
            "period": SCENARIOS[wildcards.scenario].period,
        },
    message:
        "Joining the inputs and the truth of the scenario {wildcards.scenario}"


rule harmonise:
    input:
        coarse=f"{DATA}/scenarios/{{scenario}}/coarse.nc",
        reference=lambda wildcards: f"{DATA}/scenarios/{REFERENCES[wildcards.scenario]}/coarse.nc",
        training=f"{DATA}/samples/train/coarse.nc",
    output:
        f"{DATA}/scenarios/{{scenario}}/harmonised.nc",
    log:
        f"{LOGS}/harmonise/{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/harmonise/{{scenario}}.tsv"
    wildcard_constraints:
        scenario="|".join(REFERENCES) or "none",
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        code=code("harmonise"),
        method=lambda wildcards: SCENARIOS[wildcards.scenario].harmonise,
        minimum=lambda wildcards: {
            name: entry.minimum
            for name, entry in (ROLES[wildcards.scenario].truth | ROLES[wildcards.scenario].coarse).items()
        },
    message:
        "Bringing the inputs of {wildcards.scenario} to the distribution of the training"
    script:
        "../scripts/harmonise.py"


rule outside_range:
    input:
        inputs=lambda wildcards: scenario_inputs_of(wildcards.scenario),
        training=f"{DATA}/samples/train/coarse.nc",
    output:
        f"{RESULTS}/verification/scenarios/{{scenario}}-inputs.csv",
    log:
        f"{LOGS}/outside_range/{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/outside_range/{{scenario}}.tsv"
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("outside_range"),
    message:
        "Comparing the inputs of {wildcards.scenario} with the range of the training"
    script:
        "../scripts/outside_range.py"


use rule predict_network as predict_scenario with:
    input:
        model=f"{RESULTS}/{{model}}/seed{{seed}}/model.keras",
        scalers=f"{RESULTS}/{{model}}/seed{{seed}}/scalers.nc",
        spec=f"{RESULTS}/{{model}}/seed{{seed}}/spec.json",
        scenario=lambda wildcards: scenario_inputs_of(wildcards.scenario),
        fine=f"{DATA}/samples/train/fine.nc",
        valid=f"{DATA}/samples/valid.nc",
        static=STATIC,
    output:
        scenario=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}.nc",
    log:
        f"{LOGS}/predict_scenario/{{model}}-seed{{seed}}-{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/predict_scenario/{{model}}-seed{{seed}}-{{scenario}}.tsv"
    message:
        "Applying {wildcards.model}, seed {wildcards.seed}, to {wildcards.scenario}"


use rule predict_baseline as predict_scenario_baseline with:
    input:
        fine=f"{DATA}/samples/train/fine.nc",
        coarse=f"{DATA}/samples/train/coarse.nc",
        scenario=lambda wildcards: scenario_inputs_of(wildcards.scenario),
    output:
        scenario=f"{RESULTS}/{{baseline}}/seed{{seed}}/scenarios/{{scenario}}.nc",
    log:
        f"{LOGS}/predict_scenario/{{baseline}}-seed{{seed}}-{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/predict_scenario/{{baseline}}-seed{{seed}}-{{scenario}}.tsv"
    message:
        "Applying the baseline {wildcards.baseline} to {wildcards.scenario}"


if CONFIG.ensembles:

    use rule seed_ensemble as scenario_ensemble with:
        input:
            scenario=seed_files("scenarios/{scenario}.nc"),
        output:
            scenario=f"{RESULTS}/{{ensemble}}/seed0/scenarios/{{scenario}}.nc",
        log:
            f"{LOGS}/scenario_ensemble/{{ensemble}}-{{scenario}}.log",
        benchmark:
            f"{BENCHMARKS}/scenario_ensemble/{{ensemble}}-{{scenario}}.tsv"
        message:
            "Putting the seeds of a model together as {wildcards.ensemble}, in {wildcards.scenario}"


rule score_scenario:
    input:
        prediction=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}.nc",
        truth=f"{DATA}/scenarios/{{scenario}}/fine.nc",
        statistics=f"{DATA}/samples/statistics.json",
        static=STATIC_OF_REGIONS,
    output:
        scores=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}-scores.nc",
        rows=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}-scores.csv",
    log:
        f"{LOGS}/score_scenario/{{model}}-seed{{seed}}-{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/score_scenario/{{model}}-seed{{seed}}-{{scenario}}.tsv"
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
        "Scoring {wildcards.model}, seed {wildcards.seed}, in {wildcards.scenario}"
    script:
        "../scripts/verify.py"


rule change:
    input:
        scenario=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}.nc",
        reference=lambda wildcards: f"{RESULTS}/{wildcards.model}/seed{wildcards.seed}/scenarios/"
        f"{CHANGING[wildcards.scenario]}.nc",
        coarse=lambda wildcards: [
            f"{DATA}/scenarios/{name}/coarse.nc" for name in (wildcards.scenario, CHANGING[wildcards.scenario])
        ],
        truth=lambda wildcards: [
            f"{DATA}/scenarios/{name}/fine.nc"
            for name in (wildcards.scenario, CHANGING[wildcards.scenario])
            if {wildcards.scenario, CHANGING[wildcards.scenario]} <= set(KNOWN)
        ],
    output:
        fields=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}-change.nc",
        rows=f"{RESULTS}/{{model}}/seed{{seed}}/scenarios/{{scenario}}-change.csv",
        figures=[
            f"{RESULTS}/{{model}}/seed{{seed}}/figures/change-{{scenario}}-{name}.png"
            for name in CONFIG.data.predictands
        ],
        vectors=[
            f"{RESULTS}/{{model}}/seed{{seed}}/figures/change-{{scenario}}-{name}.pdf"
            for name in CONFIG.data.predictands
        ],
    log:
        f"{LOGS}/change/{{model}}-seed{{seed}}-{{scenario}}.log",
    benchmark:
        f"{BENCHMARKS}/change/{{model}}-seed{{seed}}-{{scenario}}.tsv"
    wildcard_constraints:
        scenario="|".join(CHANGING) or "none",
    conda:
        "../envs/verify.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        code=code("change"),
        scale=CONFIG.data.scale,
        context=CONFIG.data.context,
    message:
        "Change of {wildcards.model}, seed {wildcards.seed}, in {wildcards.scenario}"
    script:
        "../scripts/change.py"


rule scenarios:
    input:
        scenario_files("{scenario}.nc", SCENARIOS),
        scenario_files("{scenario}-scores.csv", KNOWN),
        scenario_files("{scenario}-change.csv", CHANGING),
        [f"{RESULTS}/verification/scenarios/{name}-inputs.csv" for name in SCENARIOS],
    localrule: True
