"""Checks of what is verified, and reading it in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.ensembles import MEMBER
from dl4ds_core.errors import DataError

__all__ = ["Seen", "check_coordinates", "check_units", "check_values", "predictands", "read", "read_members"]

Chunk = Mapping[str, slice]


def predictands(prediction: xr.Dataset, truth: xr.Dataset, dims: tuple[str, ...]) -> list[str]:
    """Return the names of the fields with these dimensions, in any order; those of predictions may have members too.

    Raises
    ------
    DataError
        If there is none, or the two datasets have different ones.
    """
    found = [
        [str(name) for name, field in data.data_vars.items() if set(field.dims) - further == set(dims)]
        for data, further in ((prediction, {MEMBER}), (truth, set()))
    ]
    if not found[1] or set(found[0]) != set(found[1]):
        raise DataError(f"Expected a prediction of the predictands {found[1]}; found {found[0]}. Predict again.")
    return found[1]


def check_coordinates(prediction: xr.Dataset, truth: xr.Dataset, area: xr.DataArray, dims: tuple[str, str]) -> None:
    """Refuse times and cells that are not those of the truth, and areas that are not positive.

    Axes are compared where both have them, and the latitudes and longitudes of cells on other grids.

    Raises
    ------
    DataError
        If anything differs.
    """
    if not truth.indexes["time"].equals(prediction.indexes["time"]):
        raise DataError(
            f"Expected equal times of truth and prediction; truth: {_span(truth['time'])}; "
            f"prediction: {_span(prediction['time'])}. Verify a prediction of the same split."
        )
    if set(area.dims) != set(dims) or not bool((area > 0).all()):
        raise DataError(f"Expected positive cell areas ({', '.join(dims)}); found dimensions {area.dims}.")
    for what, other in (("the prediction", prediction), ("the cell areas", area)):
        for name in dict.fromkeys((*dims, "lat", "lon")):
            if not _equal(truth, other, name, dims):
                raise DataError(
                    f"Expected equal {name} of truth and {what}; found {_span(truth[name])} and {_span(other[name])}."
                )


def check_units(name: str, prediction: xr.DataArray, truth: xr.DataArray) -> None:
    """Refuse fields without a unit or in different ones.

    Raises
    ------
    DataError
        If the units differ or are missing.
    """
    units = [field.attrs.get("units") for field in (truth, prediction)]
    if units[0] is None or units[0] != units[1]:
        raise DataError(f"{name}: expected equal units of truth and prediction; found {units[0]!r} and {units[1]!r}.")


@dataclass(frozen=True, eq=False)
class Seen:
    """What a look at a truth has shown.

    Attributes
    ----------
    steps : numpy.ndarray
        Number of steps with a truth of each cell ``(Y, X)``.
    mean : numpy.ndarray
        Mean over the cells with a truth, by area, of each step ``(time,)``; NaN where there is none.
    """

    steps: npt.NDArray[np.intp]
    mean: npt.NDArray[np.float64]


def check_values(
    name: str, prediction: xr.DataArray, truth: xr.DataArray, area: xr.DataArray, chunks: Iterable[Chunk]
) -> Seen:
    """Refuse a prediction that skips cells, infinite values, and a truth without any value.

    What is predicted where the truth has no value is of no interest.

    Returns
    -------
    Seen
        Cells in the order of the dimensions of the areas.

    Raises
    ------
    DataError
        With the numbers of values concerned.
    """
    missing = 0
    dims = ("time", *map(str, area.dims))
    steps = np.zeros(area.shape, dtype=np.intp)
    means = []
    infinite = {"truth": 0, "prediction": 0}
    for chunk in chunks:
        observed = truth.isel(chunk).transpose(*dims).values
        predicted = prediction.isel(chunk).transpose(..., *dims).values  # all members
        valid = ~np.isnan(observed)
        steps += valid.sum(axis=0)
        total = np.where(valid, area.values, 0.0).sum(axis=(1, 2))
        sums = np.where(valid, observed * area.values, 0.0).sum(axis=(1, 2))
        means.append(np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0))
        missing += int((np.isnan(predicted) & valid).sum())
        infinite["truth"] += int(np.isinf(observed).sum())
        infinite["prediction"] += int((np.isinf(predicted) & valid).sum())
    values = int(steps.sum()) * prediction.sizes.get(MEMBER, 1)
    for what, count in infinite.items():
        if count:
            raise DataError(
                f"{name}: expected finite values in the {what}; found {count} infinite ones of {values}. "
                f"{'Look for them in the source' if what == 'truth' else 'Train and predict again'}."
            )
    if not values:
        raise DataError(
            f"{name}: expected values in the truth; found {truth.size} missing ones and no other. "
            "Choose another domain or other periods."
        )
    if missing:
        raise DataError(
            f"{name}: expected no missing values in the prediction; found {missing} of {values} where the truth has "
            "values. A model may not skip cells: fill its missing inputs, and predict again."
        )
    return Seen(steps, np.concatenate(means))


def read(
    prediction: xr.DataArray, truth: xr.DataArray, chunk: Chunk, dims: tuple[str, ...]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Read a piece of both fields in double precision, on the coordinates of the truth.

    Returns
    -------
    tuple of xarray.DataArray
        Prediction, the mean of its members where it has such, and truth with these dimensions; where the truth is
        missing, both are.
    """
    observation = truth.isel(chunk).transpose(*dims).astype(np.float64).load()
    piece = prediction.isel(chunk).transpose(..., *dims)
    if MEMBER not in piece.dims:
        return _where_known(piece.astype(np.float64).values, observation), observation
    values = np.zeros(observation.shape)
    for number in range(piece.sizes[MEMBER]):  # so that there is one member in memory
        values += piece.isel({MEMBER: number}).values
    return _where_known(values / piece.sizes[MEMBER], observation), observation


def read_members(
    prediction: xr.DataArray, truth: xr.DataArray, chunk: Chunk, dims: tuple[str, ...]
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Read a piece with all members ``(member, *dims)``, in double precision.

    Returns
    -------
    tuple of xarray.DataArray
        As of `read`, and then the members; where the truth is missing, all are.
    """
    observation = truth.isel(chunk).transpose(*dims).astype(np.float64).load()
    values = prediction.isel(chunk).transpose(MEMBER, *dims).astype(np.float64).values
    values = np.where(np.isnan(observation.values), np.nan, values)
    members = xr.DataArray(values, observation.coords, (MEMBER, *dims))
    return observation.copy(data=values.mean(axis=0)), observation, members


def _where_known(values: npt.NDArray[np.float64], observation: xr.DataArray) -> xr.DataArray:
    """Return values with the coordinates of an observation, missing where it is."""
    missing = np.isnan(observation.values)
    return observation.copy(data=np.where(missing, np.nan, values) if missing.any() else values)


def _equal(truth: xr.Dataset, other: xr.Dataset | xr.DataArray, name: str, dims: tuple[str, str]) -> bool:
    """Compare the size along a dimension, and a coordinate that both have."""
    if name in dims and truth.sizes[name] != other.sizes.get(name):
        return False
    if name not in truth.coords or name not in other.coords:
        return True
    one, two = truth[name], other[name]
    if set(one.dims) != set(two.dims):
        return False
    return bool(np.allclose(two.transpose(*one.dims), one, rtol=0, atol=1e-5))


def _span(coordinate: xr.DataArray) -> str:
    values = coordinate.values.ravel()
    text = f"{values.size} from {values[0]} to {values[-1]}" if values.size else "none"
    return f"{text}, calendar {coordinate.dt.calendar}" if coordinate.name == "time" else text
