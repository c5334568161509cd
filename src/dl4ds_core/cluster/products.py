"""Which files an experiment is to leave, by stage: derived from its configuration, without Snakemake."""

from __future__ import annotations

from pathlib import Path

from dl4ds_core.config import SPLITS, Config, model_settings
from dl4ds_core.errors import DataError
from dl4ds_core.inputs import record_inputs
from dl4ds_core.sources import part_names, source_paths


def trainings(config: Config) -> list[tuple[str, int]]:
    """Return the model and the seed of every training."""
    return [(model, seed) for model in config.models for seed in config.seeds]


def folder_of(config: Config, model: str, seed: int) -> Path:
    """Return the folder of a model or baseline."""
    return Path(config.execution.results) / config.experiment / model / f"seed{seed}"


def expected(config: Config) -> dict[str, list[Path] | None]:
    """Return the main files of each stage; None for `regrid` as long as there are no input files to be named after."""
    results = Path(config.execution.results) / config.experiment
    data = results / "data"
    networks = [folder_of(config, *run) for run in trainings(config)]
    models = [*networks, *(folder_of(config, name, 0) for name in (*config.baselines, *config.ensembles))]
    folds = [f"fold{number}" for number in range(1, config.folds + 1)] or [""]
    parts = [(fold, split) for fold in folds for split in SPLITS]
    samples = [data / "samples" / fold / split / f"{grid}.nc" for fold, split in parts for grid in ("fine", "coarse")]
    scalers = sorted({model_settings(config, name).scalers for name in config.models})
    static = [data / "static.nc"] if config.data.static else []
    return {
        "regrid": _regridded(config, data / "regridded"),
        "prepare": [*samples, *static, *(data / "scalers" / fold / f"{name}.nc" for fold in folds for name in scalers)],
        "train": [folder / fold / "model.keras" for folder in networks for fold in folds],
        "predict": [folder / "prediction.nc" for folder in models],
        "verify": [*(folder / "scores.csv" for folder in models), results / "verification" / "summary.csv"],
        "report": [results / name for name in ("cost.csv", "provenance.json", "report.html")],
    }


def _regridded(config: Config, folder: Path) -> list[Path] | None:
    files = [folder / "static" / f"{field}.nc" for field in config.data.static]
    inputs = record_inputs(config.data)
    grids = ("fine", "coarse") if inputs.implicit else ("fine",)
    for entries, kinds in ((inputs.truth, grids), (inputs.coarse, ("inputs",))):
        for name, entry in entries.items():
            try:
                parts = part_names(source_paths(entry.source, config.sources[entry.source]))
            except DataError:
                return None
            files += [folder / kind / name / f"{part}.nc" for part in parts for kind in kinds]
    return files
