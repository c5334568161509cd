"""Scaling of fields for the networks, fitted on the training period alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Normalization
from dl4ds_core.errors import DataError


@dataclass(frozen=True)
class Scaler:
    """A linear scaling: ``(field - offset) / factor``.

    Attributes
    ----------
    offset, factor : numpy.ndarray
        In the unit of the field; shape () for one pair of numbers, or (lat, lon) for one per cell.
    """

    offset: np.ndarray
    factor: np.ndarray

    def apply(self, field: np.ndarray) -> np.ndarray:
        """Return a field of shape (..., lat, lon) in normalised units, float32."""
        return ((field - self.offset) / self.factor).astype(np.float32)

    def invert(self, field: np.ndarray) -> np.ndarray:
        """Return a field of shape (..., lat, lon) in physical units, float32."""
        return (field * self.factor + self.offset).astype(np.float32)


def fit(field: xr.DataArray, normalization: Normalization) -> Scaler:
    """Fit a scaler.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, lat, lon) or (lat, lon), of the training period only; lazy fields are read in chunks.
    normalization : Normalization
        The method, and whether there is one pair of numbers or one per cell.
    """
    if normalization.method == "none":
        return Scaler(np.array(0.0), np.array(1.0))
    per_cell = normalization.per == "cell" and "time" in field.dims
    dims = ["time"] if per_cell else list(field.dims)
    field = field.astype(np.float64)
    if normalization.method == "minmax":
        lowest = field.min(dims)
        fitted = xr.Dataset({"offset": lowest, "factor": field.max(dims) - lowest})
    else:
        mean = field.mean(dims)
        fitted = xr.Dataset({"offset": mean, "factor": ((field - mean) ** 2).mean(dims) ** 0.5})
    fitted = fitted.compute()
    # A field or cell that never changes is only shifted.
    return Scaler(fitted["offset"].values, np.where(fitted["factor"].values > 0, fitted["factor"].values, 1.0))


def fit_all(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    static: xr.Dataset | None,
    normalization: Mapping[str, Normalization],
) -> dict[str, Scaler]:
    """Fit the scalers of all fields.

    A predictand and its coarsened self share one scaling, so that a network can add to the interpolated coarse field;
    per cell, each grid has the statistics of its own cells.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        Predictands on both grids, training period.
    static : xarray.Dataset, optional
        Static fields.
    normalization : mapping
        By name of the field.

    Returns
    -------
    dict
        Scalers by ``fine.<name>``, ``coarse.<name>`` and ``static.<name>``.
    """
    scalers: dict[str, Scaler] = {}
    for name, field in fine.data_vars.items():
        how = normalization[str(name)]
        scalers[f"fine.{name}"] = fit(field, how)
        shared = how.per == "domain"
        scalers[f"coarse.{name}"] = scalers[f"fine.{name}"] if shared else fit(coarse[name], how)
    for name, field in (static.data_vars if static is not None else {}).items():
        scalers[f"static.{name}"] = fit(field, normalization[str(name)])
    return scalers


def save(scalers: Mapping[str, Scaler], path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Write scalers as netCDF: ``<grid>_<name>_offset`` and ``..._factor``, float64."""
    dataset = xr.Dataset(attrs={"Conventions": "CF-1.8", **attributes})
    for key, scaler in scalers.items():
        grid = key.partition(".")[0]
        dims = (f"{grid}_lat", f"{grid}_lon")
        for part in ("offset", "factor"):
            values = getattr(scaler, part)
            label = f"{part} of the scaling of {key}"
            dataset[f"{key.replace('.', '_', 1)}_{part}"] = (
                dims[: values.ndim],
                values,
                {"long_name": label, "units": "1"},
            )
    dataset.attrs["scalers"] = " ".join(scalers)
    with io.atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4")


def load(path: str | Path) -> dict[str, Scaler]:
    """Read what `save` wrote.

    Raises
    ------
    DataError
        If the file is missing or isn't one of scalers.
    """
    with io.open_dataset(path) as dataset:
        names = str(dataset.attrs.get("scalers", "")).split()
        if not names:
            raise DataError(f"{path}: expected a file of scalers, found none in it")
        parts = {key: key.replace(".", "_", 1) for key in names}
        return {
            key: Scaler(dataset[f"{stem}_offset"].values, dataset[f"{stem}_factor"].values)
            for key, stem in parts.items()
        }
