"""Training: one job of several ranks per model and seed."""

import os


rule fit:
    input:
        samples=expand(f"{DATA}/samples/{{split}}/{{grid}}.nc", split=["train", "validation"], grid=["fine", "coarse"]),
        scalers=lambda wildcards: scalers_of(wildcards.model),
        static=STATIC,
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
    conda:
        "../envs/train.yaml"
    threads: CONFIG.execution.workers * CONFIG.execution.threads_per_worker
    resources:
        mem_mb=8000,
        runtime=240,
        tasks=CONFIG.execution.workers,
        # The launcher; a profile for a cluster names its own. Resources never make a product out of date.
        mpi="horovodrun --gloo -np $WORKERS",
        rank_threads=CONFIG.execution.threads_per_worker,
        deterministic=int(CONFIG.execution.deterministic),
    params:
        code=code("train"),
        settings=lambda wildcards: SETTINGS[wildcards.model].model_dump_json(),
        folder=lambda wildcards, output: str(Path(output.model).parent),
        data=lambda wildcards, input: str(Path(input.samples[0]).parents[1]),
        scale=CONFIG.data.scale,
        static=f"--static={STATIC}" if STATIC else "",
        # Relative, so that nothing is out of date when a checkout moves together with its results.
        script=os.path.relpath(SCRIPTS / "train.py"),
    message:
        "Training {wildcards.model}, seed {wildcards.seed}, on {resources.tasks} ranks"
    shell:
        """
        (
            export WORKERS={resources.tasks} OMP_NUM_THREADS={resources.rank_threads}
            launcher=({resources.mpi})
            if ! command -v "${{launcher[0]}}" >/dev/null; then
                echo "The launcher of the training, ${{launcher[0]}}, was not found. Install Horovod (make setup), load its" \
                    "module, or name another launcher: --set-resources 'fit:mpi=...', or in the profile."
                exit 1
            fi
            deterministic=$([ {resources.deterministic} = 0 ] || echo --deterministic)
            printf '%s' {params.settings:q} >{output.spec:q}
            "${{launcher[@]}}" python {params.script:q} --settings {output.spec:q} --seed {wildcards.seed} \
                --scale {params.scale} --data {params.data:q} --scalers {input.scalers:q} {params.static:q} \
                --folder {params.folder:q} --threads {resources.rank_threads} $deterministic
        ) 2>&1 | tee {log:q}
        """


rule train:
    input:
        run_files("model.keras", [run for run in RUNS if run[1]]),
    localrule: True
