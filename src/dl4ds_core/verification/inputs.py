"""Checks of what is verified, and reading it in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.ensembles import MEMBER
from dl4ds_core.errors import DataError
from dl4ds_core.verification.pieces import Crew

__all__ = ["Seen", "check_coordinates", "check_units", "check_values", "in_double", "predictands", "read"]

Chunk = Mapping[str, slice]
Values = npt.NDArray[Any]


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
    name: str, prediction: xr.DataArray, truth: xr.DataArray, area: xr.DataArray, chunks: Iterable[Chunk], crew: Crew
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
    dims = ("time", *map(str, area.dims))
    steps = np.zeros(area.shape, dtype=np.intp)
    means = np.full(truth.sizes["time"], np.nan)
    infinite, missing = {"truth": 0, "prediction": 0}, 0
    for chunk in chunks:
        predicted, observed = (field.values for field in read(prediction, truth, chunk, dims, members=True))

        def look(part: slice, predicted: Values = predicted, observed: Values = observed) -> _Look:
            return _look(predicted[..., part, :, :], observed[part], area.values.astype(np.float64))

        for part, found in crew.work(look, len(observed), 8 * predicted.size // len(observed)):
            first = chunk["time"].start
            means[first + part.start : first + part.stop] = found.means
            steps += found.steps
            missing += found.missing
            infinite["truth"] += found.infinite[0]
            infinite["prediction"] += found.infinite[1]
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
    return Seen(steps, means)


class _Look(NamedTuple):
    """What some fields show: valid steps ``(Y, X)``, mean of each step, numbers of missing and infinite values."""

    steps: npt.NDArray[np.intp]
    means: npt.NDArray[np.float64]
    missing: int
    infinite: tuple[int, int]


def _look(predicted: Values, observed: Values, area: npt.NDArray[np.float64]) -> _Look:
    """Look at fields ``([member,] time, Y, X)`` and ``(time, Y, X)``."""
    # Mostly nothing is missing or infinite: then the sums of all values are finite, and tell it in one pass.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = observed.reshape(len(observed), -1).astype(np.float64, copy=False) @ area.ravel()
        if np.isfinite(sums).all() and np.isfinite(predicted.sum()):
            return _Look(np.full(area.shape, len(observed)), sums / area.sum(), 0, (0, 0))
    valid = ~np.isnan(observed)
    weights = area * valid
    sums = np.einsum("tyx,tyx->t", np.where(valid, observed, 0.0), weights)
    total = weights.sum(axis=(1, 2))
    means = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    # Numbers that aren't finite are rare: which they are is looked at only where there are some.
    wrong = ~np.isfinite(predicted) & valid
    gone = int((wrong & np.isnan(predicted)).sum()) if wrong.any() else 0
    infinite = int(np.isinf(observed).sum()), int(wrong.sum()) - gone
    return _Look(valid.sum(axis=0), means, gone, infinite)


def read(
    prediction: xr.DataArray, truth: xr.DataArray, chunk: Chunk, dims: tuple[str, ...], *, members: bool = False
) -> tuple[xr.DataArray, xr.DataArray]:
    """Read a piece of both fields.

    Returns
    -------
    tuple of xarray.DataArray
        Prediction and truth with these dimensions, as they are stored. Of a prediction with members all of these, the
        first dimension, or their mean.
    """
    observation = truth.isel(chunk).transpose(*dims).load()
    piece = prediction.isel(chunk).transpose(..., *dims)
    if MEMBER not in piece.dims or members:
        return piece.load(), observation
    values = np.zeros(observation.shape)
    for number in range(piece.sizes[MEMBER]):  # so that there is one member in memory
        values += piece.isel({MEMBER: number}).values
    return observation.copy(deep=False, data=values / piece.sizes[MEMBER]), observation


def in_double(predicted: Values, observed: Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return values ``(..., *shape)`` and ``shape`` in double precision, both missing where the second are."""
    # Converted before it is transposed, if it is: that takes a third of the time.
    given, known = (np.ascontiguousarray(each.astype(np.float64, copy=False)) for each in (predicted, observed))
    missing = np.isnan(known)
    return (np.where(missing, np.nan, given) if missing.any() else given), known


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
