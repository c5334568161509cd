"""Applying trained networks and fitted baselines, chunk by chunk, so that memory doesn't grow with the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import static_input
from dl4ds_core.scaling import Scaler

#: Time steps predicted at once.
CHUNK = 64

Predictor = Callable[[xr.Dataset], dict[str, np.ndarray]]


def network_predictor(
    model: str | Path,
    scalers: Mapping[str, Scaler],
    static: str | Path | None,
    predictands: list[str],
    channels: list[str],
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

    Returns
    -------
    callable
        From a dataset of coarse fields (time, lat, lon) to arrays (time, lat, lon) in physical units, by predictand.
    """
    import keras

    from dl4ds_core import layers  # noqa: F401 - registers the layers that the file refers to

    network = keras.saving.load_model(model, compile=False)
    fields = static_input(static, scalers)

    def predict(coarse: xr.Dataset) -> dict[str, np.ndarray]:
        inputs = np.stack([scalers[f"coarse.{name}"].apply(coarse[name].values) for name in channels], axis=-1)
        output = np.asarray(network([inputs] if fields is None else [inputs, fields], training=False))
        return {name: scalers[f"fine.{name}"].invert(output[..., number]) for number, name in enumerate(predictands)}

    return predict


def predict_lazily(predictor: Predictor, coarse: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """Return predictions as lazy arrays that are computed when they are written.

    Parameters
    ----------
    predictor : callable
        From a dataset of coarse fields to arrays by predictand.
    coarse : xarray.Dataset
        Coarse input, (time, lat, lon).
    like : xarray.Dataset
        The fine grid, and the attributes of the predictands; nothing else of it is used.

    Returns
    -------
    xarray.Dataset
        Predictands of shape (time, lat, lon), float32, physical units.
    """
    import dask.array as da

    grid, times = Grid.of(like), coarse["time"]
    starts = range(0, times.size, CHUNK)
    names = [str(name) for name in like.data_vars]
    stacks: dict[str, list[da.Array]] = {name: [] for name in names}
    for start in starts:
        part = coarse.isel(time=slice(start, start + CHUNK))
        shape = (part.sizes["time"], *grid.shape)
        block = _delayed(predictor, part, names)
        for number, name in enumerate(names):
            stacks[name].append(da.from_delayed(block[number], shape, dtype=np.float32))
    data = {name: (("time", "lat", "lon"), da.concatenate(stacks[name]), dict(like[name].attrs)) for name in names}
    return xr.Dataset(data, coords={"time": times, **grid.coordinates()})


def _delayed(predictor: Predictor, part: xr.Dataset, names: list[str]) -> list[object]:
    import dask

    @dask.delayed(nout=len(names), pure=False)
    def compute() -> tuple[np.ndarray, ...]:
        result = predictor(part.load())
        return tuple(result[name] for name in names)

    return list(compute())
