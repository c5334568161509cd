"""Scaling of fields for the networks, fitted on the training period alone.

A field is transformed (not at all, or by log1p or cube root), then shifted and divided. What is fitted are the offset
and the factor: from valid values only, read chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Normalization, Transform
from dl4ds_core.errors import DataError
from dl4ds_core.statistics import Moments, blocks, cell_quantiles, quantiles

#: Names of fields that say which part of a coarse cell is valid.
VALID_FRACTION = "_valid_fraction"

_QUARTILES = (0.25, 0.5, 0.75)
#: A cell with fewer valid steps has the factor that is usual among the others: its own may be near 0 by chance.
_STEPS_PER_CELL = 10


def forward(transform: str, values: np.ndarray, where: str = "log1p") -> np.ndarray:
    """Transform values, float64.

    Parameters
    ----------
    transform : str
        ``none``, ``log1p`` or ``cube-root``.
    values : numpy.ndarray
        Any shape; NaN stays NaN.
    where : str
        What the values are, for messages.

    Raises
    ------
    DataError
        If a value is negative where log1p needs none to be.
    """
    values = np.asarray(values, dtype=np.float64)
    if transform == "log1p":
        lowest = np.fmin.reduce(values, axis=None, initial=np.inf)
        if lowest < 0:
            raise DataError(
                f"{where}: the transformation log1p needs values of 0 or more, found {lowest:g}: set `minimum: 0` in "
                "the entry of this field, or `transform: cube-root`"
            )
        return np.log1p(values)
    return np.cbrt(values) if transform == "cube-root" else values


def inverse(transform: str, values: Any, ops: Any = np) -> Any:
    """Undo a transformation.

    Parameters
    ----------
    transform : str
        ``none``, ``log1p`` or ``cube-root``.
    values : array
        Any shape.
    ops : module
        That has ``expm1`` for this kind of array: numpy, or ``keras.ops`` for tensors.
    """
    if transform == "log1p":
        return ops.expm1(values)
    return values * values * values if transform == "cube-root" else values


@dataclass(frozen=True)
class Scaler:
    """A scaling: ``(transform(field) - offset) / factor``.

    Attributes
    ----------
    offset, factor : numpy.ndarray
        Of the transformed field; shape () for one pair of numbers, or (Y, X) for one per cell.
    transform : str
        ``none``, ``log1p`` or ``cube-root``.
    dry_below : float or None
        Smaller values are taken as 0 before all else, in the unit of the field.
    """

    offset: np.ndarray
    factor: np.ndarray
    transform: Transform = "none"
    dry_below: float | None = None

    def apply(self, field: np.ndarray) -> np.ndarray:
        """Return a field of shape (..., Y, X) in normalised units, float32; NaN stays NaN.

        Raises
        ------
        DataError
            If a value is negative where log1p needs none to be.
        """
        transformed = forward(self.transform, dried(field, self.dry_below), "scaling")
        return ((transformed - self.offset) / self.factor).astype(np.float32)

    def invert(self, field: np.ndarray) -> np.ndarray:
        """Return a field of shape (..., Y, X) in physical units, float32.

        The inverse of a mean of transformed values is no mean of the values: it is lower for log1p and cube root.
        """
        scaled = np.asarray(field, dtype=np.float64) * self.factor + self.offset
        with np.errstate(over="ignore"):  # beyond float32: infinite, which is refused where predictions are written
            return np.asarray(inverse(self.transform, scaled)).astype(np.float32)

    def inverse(self, values: Any, ops: Any = np) -> Any:
        """Return values (..., Y, X) in physical units, as an array of the kind that ``ops`` works on.

        For tensors give ``keras.ops``. Offset and factor are then float32, so prefer `invert` for products.
        """
        offset, factor = (np.asarray(part, dtype=np.float32) for part in (self.offset, self.factor))
        return inverse(self.transform, values * factor + offset, ops)


def dried(field: np.ndarray, dry_below: float | None) -> np.ndarray:
    """Return a field with values below a threshold (negative ones too) set to 0; NaN stays NaN."""
    return field if dry_below is None else np.where(field < dry_below, np.zeros((), dtype=field.dtype), field)


def fit(field: xr.DataArray, normalization: Normalization) -> Scaler:
    """Fit a scaler to the valid values of a field.

    Over the domain, all cells count alike, whatever their area: the two numbers only bring values to a range that suits
    a network. Quartiles are exact. A field or cell that never changes is only shifted. A cell without values isn't
    changed, and one with few has the factor that is usual among the others. Where quartiles coincide though values
    differ (mostly dry), the standard deviation takes their place.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X) or (Y, X), of the training period only; lazy fields are read in chunks.
    normalization : Normalization
        Method, transformation, threshold, and whether there is one pair of numbers or one per cell.

    Raises
    ------
    DataError
        If no value is valid, one is infinite, or the transformation isn't defined for one.
    """
    method, transform, dry_below = normalization.method, normalization.transform, normalization.dry_below
    per_cell = normalization.per == "cell" and "time" in field.dims
    if method == "none":
        return Scaler(np.array(0.0), np.array(1.0), transform, dry_below)
    where = f"normalization of {field.name!r}"

    def transformed(values: np.ndarray) -> np.ndarray:
        return forward(transform, dried(values, dry_below), where)

    moments = Moments(field.shape[-2:] if per_cell else ())
    for block in blocks(field):
        moments.add(transformed(block))
    if not moments.count.any():
        raise DataError(f"{where}: no value is valid in the training period")
    if not (np.isfinite(moments.lowest) & np.isfinite(moments.highest) | (moments.count == 0)).all():
        raise DataError(f"{where}: expected finite values, found infinite ones in the training period")
    if method == "minmax":
        offset, factor = moments.lowest, moments.highest - moments.lowest
    elif method == "standard":
        offset, factor = moments.mean, moments.deviation
    else:
        lower, offset, upper = (
            cell_quantiles(field, _QUARTILES, transformed)
            if per_cell
            else quantiles(field, _QUARTILES, transformed, int(moments.count))
        )
        factor = np.where(upper > lower, upper - lower, moments.deviation)
    if per_cell:
        factor = _unless_few(factor, moments.count)
    changes = (moments.count > 0) & (moments.highest > moments.lowest) & (factor > 0)
    offset = np.where(moments.count > 0, offset, 0.0)
    return Scaler(offset, np.where(changes, factor, 1.0), transform, dry_below)


def _unless_few(factor: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return factors (Y, X) with those of cells with few valid steps replaced by the median of the others."""
    enough = count >= _STEPS_PER_CELL
    usual = factor[enough & (factor > 0)]
    return np.where(enough, factor, np.median(usual)) if usual.size else factor


def fit_all(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    static: xr.Dataset | None,
    normalization: Mapping[str, Normalization],
) -> dict[str, Scaler]:
    """Fit the scalers of all fields.

    Over the domain, a predictand and its coarse self share one scaling, so that a network can add to the interpolated
    coarse field; per cell, each grid has the statistics of its own cells. Predictors have their own. Valid fractions
    are never scaled.

    Parameters
    ----------
    fine, coarse : xarray.Dataset
        Predictands, and the inputs on the coarse grid; training period.
    static : xarray.Dataset, optional
        Static fields.
    normalization : mapping
        By name of the field.

    Returns
    -------
    dict
        Scalers by ``fine.<name>``, ``coarse.<name>`` and ``static.<name>``.
    """
    scalers = {f"fine.{name}": fit(field, normalization[str(name)]) for name, field in fine.data_vars.items()}
    for name, field in coarse.data_vars.items():
        key = str(name)
        if key.endswith(VALID_FRACTION) and key.removesuffix(VALID_FRACTION) in fine.data_vars:
            scalers[f"coarse.{key}"] = Scaler(np.array(0.0), np.array(1.0))
        elif key in fine.data_vars and normalization[key].per == "domain":
            scalers[f"coarse.{key}"] = scalers[f"fine.{key}"]
        else:
            scalers[f"coarse.{key}"] = fit(field, normalization[key])
    for name, field in (static.data_vars if static is not None else {}).items():
        scalers[f"static.{name}"] = fit(field, normalization[str(name)])
    return scalers


def save(scalers: Mapping[str, Scaler], path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Write scalers as netCDF: ``<grid>_<name>_offset`` and ``..._factor``, float64."""
    dataset = xr.Dataset(attrs={"Conventions": "CF-1.8", **attributes})
    for key, scaler in scalers.items():
        grid = key.partition(".")[0]
        dims = (f"{grid}_y", f"{grid}_x")
        for part in ("offset", "factor"):
            values = np.asarray(getattr(scaler, part), dtype=np.float64)
            described: dict[str, Any] = {"long_name": f"{part} of the scaling of {key}", "units": "1"}
            described["transform"] = scaler.transform
            if scaler.dry_below is not None:
                described["dry_below"] = np.float64(scaler.dry_below)
            dataset[f"{key.replace('.', '_', 1)}_{part}"] = (dims[: values.ndim], values, described)
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
        return {key: _loaded(dataset, key.replace(".", "_", 1)) for key in names}


def _loaded(dataset: xr.Dataset, stem: str) -> Scaler:
    offset, factor = dataset[f"{stem}_offset"], dataset[f"{stem}_factor"]
    dry_below = offset.attrs.get("dry_below")
    return Scaler(
        offset.values,
        factor.values,
        offset.attrs.get("transform", "none"),
        None if dry_below is None else float(dry_below),
    )
