"""A finished network applied to new files, without training data or truth."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from dl4ds_core import io, scaling
from dl4ds_core.channels import is_derived
from dl4ds_core.config import Config
from dl4ds_core.config.inputs import Predictor
from dl4ds_core.errors import ConfigError, DataError
from dl4ds_core.grids import Grid
from dl4ds_core.identity import about, product_attributes
from dl4ds_core.inputs import record_inputs
from dl4ds_core.members import Members
from dl4ds_core.prediction import Limits, network_predictor, predict_lazily
from dl4ds_core.regrid import on_grid, open_entry, to_grid
from dl4ds_core.retransformation import Interface
from dl4ds_core.samples import assemble

logger = logging.getLogger(__name__)


def predict_files(
    config: Config,
    model: str,
    seed: int,
    files: Mapping[str, Sequence[str]],
    output: str | Path,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Write the prediction of a finished network for new files.

    Parameters
    ----------
    config : Config
        Of the experiment that the network belongs to; its results must be there.
    model, seed : str, int
        Which network.
    files : mapping
        Paths by name of the input; all inputs of the network must be named.
    output : str or Path
        A netCDF file.
    variables : mapping, optional
        Names of variables in the new files, where they are others than in the configuration.

    Raises
    ------
    ConfigError
        If there is no such model, or an input isn't named or isn't one.
    DataError
        If a part of the finished experiment is missing, or a file doesn't fit.
    RegridError
        If a field can't be brought to the coarse grid.
    """
    import dask

    if model not in config.models:
        raise ConfigError(f"--model: expected one of {', '.join(config.models)}, found {model!r}")
    parts = _finished_parts(config, model, seed)
    interface = Interface.load(parts["scalers"])
    _require_inputs(interface, files)
    unknown = sorted(set(variables or {}) - set(files))
    if unknown:
        raise ConfigError(f"--variable: expected one of {', '.join(files)}, found {unknown[0]!r}")
    grids = {name: Grid.of(io.open_dataset(parts[name])) for name in ("fine", "coarse")}
    entries = _entries(config, variables or {})
    known = {str(name): field.values > 0 for name, field in io.open_dataset(parts["valid"]).data_vars.items()}
    limits = {name: Limits(**given) for name, given in config.limits(model).items()}
    predictor = network_predictor(
        parts["model"],
        scaling.load(parts["scalers"]),
        parts.get("static"),
        list(interface.predictands),
        list(interface.channels),
        interface.residuals,
        Members(**config.members(model).model_dump(), seed=seed),
        grids["fine"].shape,
    )
    origin = about(config.model_dump(mode="json", by_alias=True))
    names = ", ".join(Path(path).name for paths in files.values() for path in paths)
    origin["source"] = f"{names}; {model}, seed {seed}, trained on {origin['source']}"
    attributes = product_attributes(origin, f"predict with {model}, seed {seed}")
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="synchronous"):
        inputs = _joined(config, entries, files, grids["coarse"], interface, folder)
        prediction = predict_lazily(predictor, inputs, interface.like(grids["fine"]), known, limits)
        io.write(prediction, output, attributes)
    logger.info("%s: %d time steps", output, prediction.sizes["time"])


def _finished_parts(config: Config, model: str, seed: int) -> dict[str, Path]:
    """Return the files of a finished experiment that are needed, all of which are there."""
    if config.folds:
        raise ConfigError(
            "split: expected one network per model and seed, found one per fold, none of which has seen all years; "
            "train with another `split.method` to predict new files"
        )
    results = Path(config.execution.results) / config.experiment
    folder, data = results / model / f"seed{seed}", results / "data"
    parts = {
        "model": folder / "model.keras",
        "scalers": folder / "scalers.nc",
        "fine": data / "grids" / "fine.nc",
        "coarse": data / "grids" / "coarse.nc",
        "valid": data / "samples" / "valid.nc",
    }
    if config.data.static:
        parts["static"] = data / "static.nc"
    absent = [str(path) for path in parts.values() if not path.exists()]
    if absent:
        raise DataError(
            f"{absent[0]}: no such file; expected a finished training of {model}, seed {seed}, in {results}: run this "
            "in the folder of the experiment, or train first (snakemake train --configfile ...)"
        )
    return parts


def _require_inputs(interface: Interface, files: Mapping[str, Sequence[str]]) -> None:
    needed = [name for name in interface.channels if not is_derived(name)]
    lacking, unknown = set(needed) - set(files), set(files) - set(needed)
    if lacking or unknown:
        raise ConfigError(
            f"expected files for the inputs {', '.join(needed)}; "
            + "; ".join(
                [f"nothing is given for {name}" for name in sorted(lacking)]
                + [f"{name} is no input of this network" for name in sorted(unknown)]
            )
        )


def _entries(config: Config, variables: Mapping[str, str]) -> dict[str, Predictor]:
    inputs = record_inputs(config.data)
    entries: dict[str, Predictor] = {**(inputs.truth if inputs.implicit else {}), **inputs.coarse}
    return {
        name: entry.model_copy(update={"variable": variables.get(name, entry.variable)})
        for name, entry in entries.items()
    }


def _joined(
    config: Config,
    entries: Mapping[str, Predictor],
    files: Mapping[str, Sequence[str]],
    target: Grid,
    interface: Interface,
    folder: str | Path,
) -> xr.Dataset:
    """Return all inputs on the coarse grid, joined in time; the regridded files are kept in ``folder``."""
    parts: dict[str, list[str]] = {}
    for name, paths in files.items():
        entry = entries[name]
        settings = entry.regrid or config.data.regrid
        given = entry.model_dump() | {"filters": config.sources[entry.source].filter}
        parts[name] = []
        for number, path in enumerate(paths):
            field = open_entry(path, given, interface.attributes[name]["units"]).rename(name)
            remapped = to_grid(field, target, settings, folder, f"{path}: {entry.variable}")
            parts[name].append(f"{folder}/{name}-{number}.nc")
            io.write(on_grid(remapped, target), parts[name][-1], {})
    policy = config.data.time.model_dump() | {"missing_predictors": config.data.missing_predictors}
    timing = {
        name: {key: getattr(config.sources[entries[name].source], key) for key in ("time_offset", "cell_methods")}
        for name in files
    }
    # In the order of the channels, so that the times are those of the first.
    ordered = {name: parts[name] for name in interface.channels if name in parts}
    joined = assemble({"coarse": ordered}, {"coarse": timing}, policy)
    for note in joined.notes:
        logger.info("%s", note)
    return joined.coarse
