"""Applying trained networks and fitted baselines, chunk by chunk, so that memory doesn't grow with the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core.channels import channel_values, field_names
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import static_input
from dl4ds_core.retransformation import Residuals, smeared
from dl4ds_core.scaling import Scaler

#: Time steps predicted at once.
CHUNK = 64

Predictor = Callable[[xr.Dataset], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """What predictions of a variable may be.

    Attributes
    ----------
    minimum : float or None
        Smaller predictions are set to this.
    dry_below : float or None
        Predictions below this are set to zero.
    """

    minimum: float | None = None
    dry_below: float | None = None

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return values, in the units of the limits, that keep them; missing ones stay missing."""
        if self.minimum is not None:
            values = np.maximum(values, np.asarray(self.minimum, values.dtype))
        if self.dry_below is not None:
            values = np.where(values < self.dry_below, np.asarray(0, values.dtype), values)
        return values


def network_predictor(
    model: str | Path,
    scalers: Mapping[str, Scaler],
    static: str | Path | None,
    predictands: list[str],
    channels: list[str],
    residuals: Mapping[str, Residuals] | None = None,
) -> Predictor:
    """Return a function that predicts from coarse fields with a saved network.

    Parameters
    ----------
    model : str or Path
        A ``model.keras`` file.
    scalers : mapping
        Those the network was trained with.
    static : str or Path or None
        File of static fields.
    predictands, channels : list of str
        Names of outputs and inputs, in the order of the network's channels.
    residuals : mapping, optional
        Errors of the training period, as of ``retransformation.Interface``: predictands named here are
        brought back to their units by the smearing estimate.

    Returns
    -------
    callable
        From a dataset of coarse fields (time, Y, X), with the context the network was trained with, to arrays (time,
        Y, X) in physical units, by predictand.
    """
    import keras

    from dl4ds_core import layers  # noqa: F401 - registers the layers that the file refers to

    network = keras.saving.load_model(model, compile=False)
    static_fields = static_input(static, scalers)
    errors = residuals or {}

    def predict(coarse: xr.Dataset) -> dict[str, np.ndarray]:
        fields = [scalers[f"coarse.{name}"].apply(channel_values(coarse, name)) for name in channels]
        inputs = np.stack(fields, axis=-1)
        output = np.asarray(network([inputs] if static_fields is None else [inputs, static_fields], training=False))
        result = {}
        for number, name in enumerate(predictands):
            scaler, values = scalers[f"fine.{name}"], output[..., number]
            result[name] = smeared(scaler, values, errors[name]) if name in errors else scaler.invert(values)
        return result

    return predict


def predict_lazily(
    predictor: Predictor,
    coarse: xr.Dataset,
    like: xr.Dataset,
    valid: Mapping[str, np.ndarray] | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> xr.Dataset:
    """Return predictions as lazy arrays that are computed when they are written.

    Parameters
    ----------
    predictor : callable
        From a dataset of coarse fields to arrays by predictand.
    coarse : xarray.Dataset
        Coarse input, (time, Y, X).
    like : xarray.Dataset
        The fine grid, and the attributes of the predictands; nothing else of it is used.
    valid : mapping, optional
        Cells that have truth in the training period, by predictand, shape (Y, X); predictions elsewhere are missing.
    limits : mapping, optional
        By predictand, in the units of the predictions.

    Returns
    -------
    xarray.Dataset
        Predictands of shape (time, Y, X), float32, physical units.
    """
    import dask.array as da

    grid, times, names = Grid.of(like), coarse["time"], field_names(like)

    def finished(part: xr.Dataset) -> tuple[np.ndarray, ...]:
        # A copy in memory: loading the part itself would keep it there until the last one is done.
        result = predictor(part.compute())
        return tuple(_finished(result[name], (valid or {}).get(name), (limits or {}).get(name)) for name in names)

    stacks: dict[str, list[da.Array]] = {name: [] for name in names}
    for start in range(0, times.size, CHUNK):
        part = coarse.isel(time=slice(start, start + CHUNK))
        shape = (part.sizes["time"], *grid.shape)
        block = _delayed(finished, part, len(names))
        for number, name in enumerate(names):
            stacks[name].append(da.from_delayed(block[number], shape, dtype=np.float32))
    data = {name: (("time", *grid.dims), da.concatenate(stacks[name]), dict(like[name].attrs)) for name in names}
    return grid.placed(xr.Dataset(data, coords={"time": times}))


def _finished(values: np.ndarray, valid: np.ndarray | None, limits: Limits | None) -> np.ndarray:
    values = limits.apply(values) if limits else values
    return values.astype(np.float32) if valid is None else np.where(valid, values, np.nan).astype(np.float32)


def _delayed(compute: Callable[[xr.Dataset], tuple[np.ndarray, ...]], part: xr.Dataset, outputs: int) -> list[object]:
    import dask

    return list(dask.delayed(compute, nout=outputs, pure=False)(part))
