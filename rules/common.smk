"""What all rules share: the checked configuration, names of files, and what a rule's products depend on."""

import os
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.logging import logger

from dl4ds_core.cluster import runs, slurm
from dl4ds_core.cluster.executor import leave_nodes_to_slurm
from dl4ds_core.config import BASELINES, SPLITS, model_settings

# Snakemake has a `parse` of its own.
from dl4ds_core.config import parse as parse_config
from dl4ds_core.config import read as read_config
from dl4ds_core.errors import DownscalingError
from dl4ds_core.identity import code_digest
from dl4ds_core.inputs import record_inputs, scenario_inputs
from dl4ds_core.jobs import prefer_own_programs
from dl4ds_core.sources import download_target, local_copy, part_names, source_paths

prefer_own_programs()
leave_nodes_to_slurm()


def explained(function, *arguments):
    """Call a function of the library; its errors end Snakemake with their message alone.

    An exception would come with the lines of these rules that it passed through, which say nothing to a user.
    """
    try:
        return function(*arguments)
    except DownscalingError as error:
        logger.error(f"Error: {error}")
        sys.exit(1)


def given_options():
    """Return the options of this call of Snakemake that are given, by name."""
    arguments, _ = get_argument_parser().parse_known_args(sys.argv[1:])
    return {name for name, value in vars(arguments).items() if value not in (None, False, [])}


def plain(section):
    """Return a section of the configuration as plain values, for use as a parameter."""
    return section.model_dump(mode="json", by_alias=True) if section is not None else None


# Options of Snakemake after which no job starts.
LOOKING = {
    *("dryrun", "touch", "unlock", "lint", "report", "list_rules", "list_target_rules", "list_untracked"),
    *("list_changes", "list_input_changes", "list_params_changes", "summary", "detailed_summary", "archive"),
    *("dag", "rulegraph", "filegraph", "d3dag", "print_compilation", "containerize", "generate_unit_tests"),
    *("cleanup_metadata", "cleanup_shadow", "delete_all_output", "delete_temp_output", "conda_create_envs_only"),
    *("conda_cleanup_envs", "list_conda_envs", "container_cleanup_images"),
}
ORIGIN = str(workflow.overwrite_configfiles[-1] if workflow.overwrite_configfiles else "config/config.yaml")
for given in workflow.configfiles:
    explained(read_config, given)  # Snakemake itself keeps the last of two equal keys
CONFIG = explained(parse_config, config, ORIGIN)
# As given, without what never changes the science: a parameter of the rules that need all of it.
GIVEN = {key: value for key, value in config.items() if key != "execution"}
# What the look at the inputs depends on; it checks again only where one of these has changed.
CHECKED = {
    **{key: GIVEN[key] for key in ("experiment", "sources", "data", "split")},
    "prediction": {"scenarios": GIVEN.get("prediction", {}).get("scenarios", {})},
    "models": {
        name: plain(model.model_copy(update={"training": None, "normalization": None, "prediction": None, "noise": 0}))
        for name, model in CONFIG.models.items()
    },
    "verification": {"bootstrap": {"block": CONFIG.verification.bootstrap.block}},
}
SETTINGS = {name: model_settings(CONFIG, name) for name in CONFIG.models}
RESULTS = f"{CONFIG.execution.results}/{CONFIG.experiment}"
DATA = f"{RESULTS}/data"
LOGS = f"logs/{CONFIG.experiment}"
BENCHMARKS = f"benchmarks/{CONFIG.experiment}"
SCRIPTS = Path(workflow.basedir) / "scripts"
PATHS = {name: explained(source_paths, name, source) for name, source in CONFIG.sources.items()}
# What is read: for the record, whose role is "", and for each scenario, whose role is its name.
ROLES = {"": record_inputs(CONFIG.data)}
ROLES |= {
    name: explained(scenario_inputs, CONFIG.data, name, scenario)
    for name, scenario in CONFIG.prediction.scenarios.items()
}
IMPLICIT = ROLES[""].implicit


def keyed(role, name):
    """Return the key of a field, which is a part of the names of its files: `<name>` or `scenarios/<role>/<name>`."""
    return f"scenarios/{role}/{name}" if role else name


# Role and name of each field, its entry, and its input files by name of the part; all by kind and key.
FIELDS = {
    kind: {keyed(role, name): (role, name) for role, inputs in ROLES.items() for name in getattr(inputs, kind)}
    for kind in ("truth", "coarse")
}
ENTRIES = {
    kind: {key: getattr(ROLES[role], kind)[name] for key, (role, name) in fields.items()}
    for kind, fields in FIELDS.items()
}
PARTS = {
    kind: {key: part_names(PATHS[entry.source]) for key, entry in entries.items()} for kind, entries in ENTRIES.items()
}
STATIC = f"{DATA}/static.nc" if CONFIG.data.static else []
# How predictions are scored, and the static fields that regions are made of, if they are.
SCORING = plain(CONFIG.verification.model_copy(update=dict.fromkeys(("baselines", "places", "animation", "explain"))))
STATIC_OF_REGIONS = STATIC if any(region.field for region in CONFIG.verification.regions.values()) else []
# "" where the record is divided once, else "fold<n>/": the folder of what belongs to a fold.
FOLDED = bool(CONFIG.folds)
FOLDS = [f"fold{number}/" for number in range(1, CONFIG.folds + 1)] or [""]
DOWNLOADS = {
    download_target(name, item.url): item
    for name, source in CONFIG.sources.items()
    for item in source.downloads
    if local_copy(item.local) is None
}
# Before Snakemake's SLURM executor takes it out of the environment: the job that Snakemake itself runs in, if it does.
HEAD_JOB = os.environ.get("SLURM_JOB_ID", "")
RECORDS = []
SCENARIOS = CONFIG.prediction.scenarios
# Those whose truth is known, so that predictions are scored.
KNOWN = [name for name in SCENARIOS if len(ROLES[name].truth) == len(CONFIG.data.predictands)]
REFERENCES = {name: scenario.reference for name, scenario in SCENARIOS.items() if scenario.reference}
# Those with a change to show; one that is harmonised by itself has none.
CHANGING = {name: reference for name, reference in REFERENCES.items() if reference != name}
RUNS = [(model, seed) for model in CONFIG.models for seed in CONFIG.seeds]
RUNS += [(baseline, 0) for baseline in CONFIG.baselines]
RUNS += [(ensemble, 0) for ensemble in CONFIG.ensembles]


wildcard_constraints:
    predictand="|".join(FIELDS["truth"]),
    scenario="|".join(CONFIG.prediction.scenarios) or "none",
    part="[A-Za-z0-9_-]+",
    split="|".join(SPLITS),
    baseline="|".join(BASELINES),
    ensemble="|".join(CONFIG.ensembles) or "none",
    # With the fold, where there are any: what is trained once is a model, a seed and a fold.
    seed=r"\d+/fold\d+" if FOLDED else r"\d+",


def checkpoints_of(wildcards):
    """Return the folder with the state of a training under way."""
    return f"{RESULTS}/{wildcards.model}/seed{wildcards.seed}/checkpoints"


def growing(mem_mb):
    """Return a request for memory that grows with each attempt, for a job that ran out of it."""
    return lambda wildcards, attempt: mem_mb * attempt


def is_diffusion(wildcards):
    """Return whether a model is a diffusion model, whose members take many passes through a network."""
    return CONFIG.mode(CONFIG.models[wildcards.model]) == "diffusion"


def longer(minutes):
    """Return a request for time for predictions, which take longer with a diffusion model."""
    return lambda wildcards: minutes * (12 if is_diffusion(wildcards) else 1)


def code(script):
    """Return what gives the hash of the code behind a script: a parameter of its rule, so that changed code reruns it.

    A function: of the many starts of Snakemake on a cluster, each of which reads all rules, most have one job.
    """
    return lambda wildcards: code_digest(SCRIPTS / f"{script}.py")


def fold_of(seed):
    """Return the folder of the fold that a training belongs to: `fold2/` for the seed `1/fold2`."""
    fold = seed.partition("/")[2]
    return fold and f"{fold}/"


def scalers_of(model, fold=""):
    """Return the file of a model's scalers: the default ones, or its own where it overrides `normalization`."""
    return f"{DATA}/scalers/{fold}{SETTINGS[model].scalers}.nc"


def initial_of(wildcards):
    """Return the saved network that a training starts from: of a model here, with the same seed and fold, or any file."""
    start = SETTINGS[wildcards.model].training.start_from
    return f"{RESULTS}/{start}/seed{wildcards.seed}/model.keras" if start in CONFIG.models else start or []


def normalization_of(scalers):
    """Return the methods by field that a file of scalers is fitted with."""
    model = next(name for name, settings in SETTINGS.items() if settings.scalers == scalers)
    return {field: plain(entry) for field, entry in SETTINGS[model].normalization.items()}


def filter_of(source):
    """Return the keys that GRIB messages of a source must have."""
    return dict(CONFIG.sources[source].filter) if source else {}


def plain_entry(kind, key):
    """Return all that says how a field is read and remapped, as plain values."""
    entry = ENTRIES[kind][key]
    chosen = plain(entry) | {"regrid": plain(entry.regrid or CONFIG.data.regrid), "filters": filter_of(entry.source)}
    # What predictions are held to reruns no stage of the data.
    return {name: value for name, value in chosen.items() if name != "dry_below"}


def regridded(role, grid):
    """Return the regridded files of a grid by field, coarse predictands first: the order of the channels."""
    inputs, folder = ROLES[role], f"{DATA}/regridded"
    files = {}
    if grid == "fine" or inputs.implicit:
        files |= {
            name: [f"{folder}/{grid}/{keyed(role, name)}/{part}.nc" for part in PARTS["truth"][keyed(role, name)]]
            for name in inputs.truth
        }
    if grid == "coarse":
        files |= {
            name: [f"{folder}/inputs/{keyed(role, name)}/{part}.nc" for part in PARTS["coarse"][keyed(role, name)]]
            for name in inputs.coarse
        }
    return files


def files_of(role, grid):
    """Return all regridded files of a grid."""
    return [file for files in regridded(role, grid).values() for file in files]


def like(kind, key):
    """Return a file whose units a field is brought to: that of the predictand, or of the record's field."""
    role, name = FIELDS[kind][key]
    if name in CONFIG.data.predictands:
        return regridded("", "fine")[name][0] if role or kind == "coarse" else []
    return regridded("", "coarse")[name][0] if role else []


def timing_of(role):
    """Return how the times of each field's source are read, by grid and field."""
    inputs = ROLES[role]
    keys = ("time_offset", "cell_methods")
    entries = {"fine": inputs.truth, "coarse": (inputs.truth if inputs.implicit else {}) | inputs.coarse}
    return {
        grid: {
            name: {key: getattr(CONFIG.sources[entry.source], key) for key in keys} for name, entry in fields.items()
        }
        for grid, fields in entries.items()
    }


def static_file(field):
    """Return the regridded file of a static field; nothing for none."""
    return f"{DATA}/regridded/static/{field}.nc" if field else []


def static_sources(field):
    """Return the files that a static field is looked for in; none for a derived one."""
    source = CONFIG.data.static[field].source if field else None
    return PATHS[source] if source else []


def land_of(field):
    """Return what a script must know to read the static field that tells land from sea."""
    if field is None:
        return None
    entry = CONFIG.data.static[field]
    filters = filter_of(entry.source)
    return {"name": field, "entry": plain(entry), "paths": static_sources(field), "filters": filters}


def run_files(pattern, runs=RUNS):
    """Return a file of each model and seed; ``pattern`` is relative to the run's folder."""
    return [f"{RESULTS}/{model}/seed{seed}/{pattern}" for model, seed in runs]


def in_repository(path):
    """Return a path as others can use it: below the repository, or its name alone."""
    given, root = Path(path), Path(workflow.basedir)
    if not given.is_absolute():
        return path
    return str(given.relative_to(root)) if given.is_relative_to(root) else given.name


def as_pdf(pictures):
    """Return the names of the PDF files beside the PNG files of figures."""
    return [picture.removesuffix("png") + "pdf" for picture in pictures]


def seed_files(pattern):
    """Return what gives a file of each seed of the model that an ensemble is made of."""
    return lambda wildcards: [
        f"{RESULTS}/{CONFIG.ensembles[wildcards.ensemble]}/seed{seed}/{pattern.format(**wildcards)}"
        for seed in CONFIG.seeds
    ]


def trained_files(pattern):
    """Return a file of each training: model, seed and fold."""
    folders = [f"{model}/seed{seed}/{fold}" for model, seed in RUNS if seed for fold in FOLDS]
    return [f"{RESULTS}/{folder}{pattern}" for folder in folders]


def scenario_files(pattern, scenarios):
    """Return a file of each model, seed and scenario; ``pattern`` has `{scenario}`."""
    return [file for name in scenarios for file in run_files(f"scenarios/{pattern.format(scenario=name)}")]


def scenario_inputs_of(scenario):
    """Return the file of a scenario's inputs as networks take them: harmonised, where that is asked for."""
    harmonised = scenario in SCENARIOS and SCENARIOS[scenario].harmonise != "none"
    return f"{DATA}/scenarios/{scenario}/{'harmonised' if harmonised else 'coarse'}.nc"


def take_over():
    """Before anything is planned: wait for the jobs that an earlier run of this experiment left behind when it died."""
    if not workflow.is_main_process:
        return
    options = given_options()
    if "unlock" in options:
        explained(runs.release, LOGS)
    elif not options & LOOKING:
        explained(runs.take_over, LOGS, ".snakemake/locks", RESULTS, logger.warning, HEAD_JOB)


def begin(log):
    """Look at the inputs, then record that this process runs the experiment."""
    if workflow.executor_plugin.name == "slurm":
        explained(slurm.require)  # without its commands the executor hangs
    # First of all, because Snakemake's lock is there already. Its documentation speaks of one log, its code of a list.
    RECORDS.append(runs.register(LOGS, [log] if isinstance(log, str) else log, HEAD_JOB))
    try:
        check_inputs()
    except SystemExit:
        runs.withdraw(RECORDS.pop())
        raise


def end():
    """Note in the record that this process has ended."""
    for record in RECORDS:
        runs.finish(record)


def check_inputs():
    """Look at all inputs before the first job: what is wrong ends the run before anything is queued."""
    from dl4ds_core.check import inspect

    for warning in explained(inspect, CONFIG).warnings:
        logger.warning(f"Warning: {warning}")
