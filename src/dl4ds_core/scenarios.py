"""Trained networks applied to other inputs: their distribution, their range, and the change that is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.baselines import Correction, quantile_mapping
from dl4ds_core.channels import field_names
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, horizontal
from dl4ds_core.io import difference_units
from dl4ds_core.scaling import VALID_FRACTION

Harmonisation = Literal["none", "mean-variance", "quantile-mapping"]


def harmonised(
    inputs: xr.Dataset,
    reference: xr.Dataset,
    training: xr.Dataset,
    method: Harmonisation,
    minimum: Mapping[str, float | None] | None = None,
) -> xr.Dataset:
    """Bring the distribution of inputs to that of the training, by what brings the reference's to it.

    Per variable and coarse cell. With the reference itself as inputs, their mean and variance, or all their
    quantiles, become those of the training inputs; a scenario keeps its difference from the reference.

    Parameters
    ----------
    inputs, reference, training : xarray.Dataset
        Coarse fields (time, Y, X) of the scenario, of its reference (the same climate model in the time of the
        training) and of the training; any units, the same in all.
    method : {"none", "mean-variance", "quantile-mapping"}
        What is made equal. Quantile mapping is additive (Themeßl et al. 2012, doi:10.1007/s10584-011-0224-4), and
        constant beyond the outermost quantiles. Cells that the training has no values of stay missing.
    minimum : mapping, optional
        By variable, in its unit: smaller results are set to this.

    Returns
    -------
    xarray.Dataset
        Inputs for the networks, float32.

    Raises
    ------
    DataError
        If the variables of the three differ.
    """
    names = _measured(inputs)
    for what, other in (("reference", reference), ("training", training)):
        if set(_measured(other)) != set(names):
            raise DataError(
                f"expected the inputs {', '.join(names)} in the {what}, found {', '.join(_measured(other))}"
            )
    if method == "none":
        return inputs
    fit = _moments if method == "mean-variance" else _quantiles
    result = inputs.copy()
    for name in names:
        correct = fit(reference[name].load(), training[name].load())
        corrected = correct(inputs[name].load()).transpose(*inputs[name].dims).astype(np.float32)
        lowest = (minimum or {}).get(name)
        if lowest is not None:
            corrected = corrected.clip(min=np.float32(lowest))
        result[name] = corrected.assign_attrs(inputs[name].attrs)
    return result


def _measured(dataset: xr.Dataset) -> list[str]:
    """Return the names of fields that are no valid parts of cells, which not all files have."""
    return [name for name in field_names(dataset) if not name.endswith(VALID_FRACTION)]


def _moments(reference: xr.DataArray, training: xr.DataArray) -> Correction:
    means = [field.mean("time", dtype=np.float64) for field in (reference, training)]
    deviations = [field.std("time", dtype=np.float64) for field in (reference, training)]
    ratio = (deviations[1] / deviations[0].where(deviations[0] > 0)).fillna(1.0)
    return lambda field: (field - means[0]) * ratio + means[1]


def _quantiles(reference: xr.DataArray, training: xr.DataArray) -> Correction:
    correct, known = quantile_mapping(reference, training), training.notnull().any("time").values
    return lambda field: correct(field).where(known)


def outside_range(inputs: xr.Dataset, training: xr.Dataset) -> pd.DataFrame:
    """Return the share of inputs outside the range of the training, by variable.

    A value counts where it is below the least, or above the largest, that the training has in the same coarse cell.
    Cells that the training has no values of are left out.

    Parameters
    ----------
    inputs, training : xarray.Dataset
        Coarse fields (time, Y, X).

    Returns
    -------
    pandas.DataFrame
        Columns variable, unit, below, above (shares from 0 to 1), lowest, highest (of the inputs, in their unit).
    """
    rows = []
    for name in field_names(inputs):
        field, known = inputs[name], training[name]
        valid = field.notnull() & known.notnull().any("time")
        count = float(valid.sum())
        below = float(((field < known.min("time")) & valid).sum()) / max(count, 1.0)
        above = float(((field > known.max("time")) & valid).sum()) / max(count, 1.0)
        units = str(field.attrs.get("units", ""))
        rows.append((name, units, below, above, float(field.min()), float(field.max())))
    return pd.DataFrame(rows, columns=["variable", "unit", "below", "above", "lowest", "highest"])


def changes(
    scenario: xr.Dataset, reference: xr.Dataset, kind: str, names: Sequence[str] | None = None
) -> dict[str, xr.DataArray]:
    """Return the differences of the temporal means of two periods.

    Parameters
    ----------
    scenario, reference : xarray.Dataset
        Fields (time, Y, X) on the same grid, any unit.
    kind : str
        Whose change it is, for the names of the results: ``<name>_<kind>``.
    names : sequence of str, optional
        Fields to look at, by default all.

    Returns
    -------
    dict
        Fields (Y, X), float64, in the units of a difference; missing where a field is missing in all steps.
    """
    found = {}
    for name in names or field_names(scenario):
        means = [data[name].mean("time", dtype=np.float64) for data in (scenario, reference)]
        difference = (means[0] - means[1]).compute()
        units = difference_units(str(scenario[name].attrs.get("units", "")))
        label = str(scenario[name].attrs.get("long_name", name))
        found[f"{name}_{kind}"] = difference.assign_attrs(long_name=f"{kind.replace('_', ' ')} of {label}", units=units)
    return found


def where_known(predicted: xr.Dataset, true: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Return predictions without the cells and steps that have no truth, as only what has one is compared.

    Parameters
    ----------
    predicted, true : xarray.Dataset
        Fields (time, Y, X) of the same steps and grid.
    names : sequence of str
        Predictands.

    Raises
    ------
    DataError
        If they differ in shape.
    """
    for name in names:
        if predicted[name].shape != true[name].shape:
            raise DataError(
                f"{name}: expected predictions of the shape of the truth, {true[name].shape}, found "
                f"{predicted[name].shape}; predict again"
            )
    return xr.Dataset(
        {
            name: predicted[name].copy(data=predicted[name].variable.where(true[name].notnull().variable).data)
            for name in names
        }
    )


def on_fine_grid(coarse: dict[str, xr.DataArray], fine: Grid, scale: int, context: int) -> dict[str, xr.DataArray]:
    """Return coarse fields (Y, X) on the fine grid: each fine cell has the value of the coarse cell around it."""
    found = {}
    for name, field in coarse.items():
        rows, columns = (slice(context, size - context) for size in field.shape)
        # Repeated and not interpolated: sums of weighted cells would be missing everywhere if one is.
        values = field.values[rows, columns].repeat(scale, axis=0).repeat(scale, axis=1)
        found[name] = fine.placed(xr.DataArray(values, dims=fine.dims, name=name, attrs=field.attrs))
    return found


def change_scores(fields: xr.Dataset, area: xr.DataArray) -> pd.DataFrame:
    """Return the area means of changes and, where the true change is known, scores of the predicted one.

    Parameters
    ----------
    fields : xarray.Dataset
        ``<name>_change``, and where known ``<name>_true_change`` and ``<name>_coarse_change``, shape (Y, X).
    area : xarray.DataArray
        Cell areas, shape (Y, X).

    Returns
    -------
    pandas.DataFrame
        Columns variable, metric, unit, value; metrics ``change``, ``coarse_change``, ``true_change``, ``change_bias``,
        ``change_rmse`` and ``change_pearson`` (the correlation of the patterns), over the cells that have all of them.
    """
    rows = []
    for name in [str(key).removesuffix("_change") for key in fields if str(key).endswith("_change")]:
        if name.endswith(("_true", "_coarse")):
            continue
        predicted = fields[f"{name}_change"]
        kinds = [kind for kind in ("change", "coarse_change", "true_change") if f"{name}_{kind}" in fields]
        valid = np.logical_and.reduce([fields[f"{name}_{kind}"].notnull().values for kind in kinds])
        weights = area.copy(data=np.where(valid, area.values, 0.0))
        units = str(predicted.attrs["units"])
        for kind in kinds:
            rows.append((name, kind, units, _mean(fields[f"{name}_{kind}"], weights)))
        if "true_change" in kinds:
            rows += [(name, *row) for row in _pattern(predicted, fields[f"{name}_true_change"], weights, units)]
    return pd.DataFrame(rows, columns=["variable", "metric", "unit", "value"])


def _mean(field: xr.DataArray, weights: xr.DataArray) -> float:
    return float((field.fillna(0.0).values * weights.values).sum() / weights.values.sum())


def _pattern(
    predicted: xr.DataArray, true: xr.DataArray, weights: xr.DataArray, units: str
) -> list[tuple[str, str, float]]:
    from dl4ds_core.verification import bias, pearson, rmse

    pair = (predicted, predicted.copy(data=true.values))
    area, dims = weights.assign_coords(predicted.coords), horizontal(predicted)
    return [
        ("change_bias", units, float(bias(*pair, reduce_dims=dims, weights=area))),
        ("change_rmse", units, float(rmse(*pair, reduce_dims=dims, weights=area))),
        ("change_pearson", "1", float(pearson(*pair, reduce_dims=dims, weights=area))),
    ]
