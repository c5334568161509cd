"""Training: one job of several ranks per model and seed."""

import os

from dl4ds_core.training.attempts import idle

# A profile may ask for another number of ranks than the configuration; the executor must know whether it is one.
ASKED = workflow.resource_settings.overwrite_resources.get("fit")
RANKS = (ASKED.get("tasks").value if ASKED else None) or CONFIG.execution.workers


rule fit:
    input:
        samples=lambda wildcards: [
            f"{DATA}/samples/{fold_of(wildcards.seed)}{split}/{grid}.nc"
            for split in ("train", "validation")
            for grid in ("fine", "coarse")
        ],
        scalers=lambda wildcards: scalers_of(wildcards.model, fold_of(wildcards.seed)),
        static=STATIC,
        initial=initial_of,
        valid=lambda wildcards: f"{DATA}/samples/{fold_of(wildcards.seed)}valid.nc",
    output:
        model=f"{RESULTS}/{{model}}/seed{{seed}}/model.keras",
        scalers=f"{RESULTS}/{{model}}/seed{{seed}}/scalers.nc",
        history=f"{RESULTS}/{{model}}/seed{{seed}}/history.csv",
        spec=f"{RESULTS}/{{model}}/seed{{seed}}/spec.json",
    log:
        f"{LOGS}/fit/{{model}}-seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/fit/{{model}}-seed{{seed}}.tsv"
    wildcard_constraints:
        model="|".join(CONFIG.models),
    # The longest jobs first: on one machine, all that needs no network would run before.
    priority: 1
    conda:
        "../envs/train.yaml"
    threads: CONFIG.execution.workers * CONFIG.execution.threads_per_worker
    resources:
        # Per node. It grows with starts that got no further, never with those that a wall time ended.
        mem_mb=lambda wildcards, attempt: 8000 * (1 + (idle(checkpoints_of(wildcards)) if attempt > 1 else 0)),
        runtime=240,
        tasks=RANKS,
        cpus_per_task=CONFIG.execution.threads_per_worker,
        # Starts the ranks; a profile for a cluster names its own. Resources never make a product out of date.
        launcher="horovodrun --gloo -np $WORKERS",
        # For the SLURM executor: a job of several tasks, which starts its own steps.
        mpi="ranks" if RANKS > 1 else "",
        attempt=lambda wildcards, attempt: attempt,
        attempts=CONFIG.execution.attempts,
        checkpoint_minutes=str(CONFIG.execution.checkpoint_minutes),
        deterministic=int(CONFIG.execution.deterministic),
        mixed_precision=int(CONFIG.execution.mixed_precision),
    params:
        code=code("train"),
        settings=lambda wildcards: SETTINGS[wildcards.model].model_dump_json(),
        folder=lambda wildcards, output: str(Path(output.model).parent),
        logs=lambda wildcards: f"{LOGS}/fit/{wildcards.model}-seed{wildcards.seed}",
        data=lambda wildcards, input: str(Path(input.samples[0]).parents[1]),
        seed=lambda wildcards: wildcards.seed.partition("/")[0],
        scale=CONFIG.data.scale,
        context=CONFIG.data.context,
        static=f"--static={STATIC}" if STATIC else "",
        initial=lambda wildcards, input: f"--initial={input.initial}" if input.initial else "",
        # Relative, so that nothing is out of date when a checkout moves together with its results.
        script=os.path.relpath(SCRIPTS / "launch.py"),
    message:
        "Training {wildcards.model}, seed {wildcards.seed}, on {resources.tasks} ranks"
    shell:
        """
        (
            deterministic=$([ {resources.deterministic} = 0 ] || echo --deterministic)
            mixed=$([ {resources.mixed_precision} = 0 ] || echo --mixed-precision)
            printf '%s' {params.settings:q} >{output.spec:q}
            exec python {params.script:q} --launcher {resources.launcher:q} --ranks {resources.tasks} \
                --threads {resources.cpus_per_task} --attempt {resources.attempt} --limit {resources.attempts} \
                --folder {params.folder:q} --logs {params.logs:q} -- --settings {output.spec:q} --seed {params.seed} \
                --scale {params.scale} --context {params.context} --data {params.data:q} --scalers {input.scalers:q} {params.static:q} \
                --threads {resources.cpus_per_task} --checkpoint-minutes {resources.checkpoint_minutes} {params.initial:q} \
                $deterministic $mixed
        ) 2>&1 | tee -a {log:q}
        """


rule train:
    input:
        trained_files("model.keras"),
    localrule: True
