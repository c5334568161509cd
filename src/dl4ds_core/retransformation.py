"""From a transformed predictand back to its own units without losing its mean.

A network trained on logarithms predicts a mean of logarithms, and the inverse of that is less than the mean. The
smearing estimate adds errors of the training period to the prediction and averages what they become. It takes errors to
be alike everywhere; those of precipitation aren't, so that they are taken from like predictions here.

Duan, N. (1983). Smearing estimate: a nonparametric retransformation method. doi:10.1080/01621459.1983.10478017
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import Samples
from dl4ds_core.scaling import Scaler

#: Classes of predictions at most, of equal numbers of values: enough for rain where most classes are dry. The first and
#: the last are cut in halves so many times: predictions are far apart there, and the largest make much of a mean.
CLASSES, HALVINGS = 50, 4
#: Errors kept per class: means of groups of equal size, from the smallest to the largest errors.
GROUPS = 100
#: Time steps of the training period that are predicted for it, evenly spaced, and at once.
STEPS, CHUNK = 1024, 32
#: Errors looked at per predictand and time step at most, chosen at random.
CELLS = 4096


@dataclass(frozen=True, eq=False)
class Residuals:
    """Errors of a predictand in the training period, truth minus prediction, by class of prediction.

    Attributes
    ----------
    predictions : numpy.ndarray
        Mean prediction of each class, normalised units, ascending, shape (class,).
    errors : numpy.ndarray
        Means of groups of errors, normalised units, ascending within each class, shape (class, group).
    """

    predictions: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, predictions: np.ndarray, errors: np.ndarray) -> Residuals:
        """Sort errors, shape (value,), into classes of their predictions, shape (value,), both normalised units.

        Equal predictions are of one class. There are fewer classes where these would have fewer than ``GROUPS`` values.
        """
        if not errors.size:
            return cls(np.zeros(1), np.zeros((1, 1)))
        order = np.argsort(predictions)
        predictions, errors = predictions[order].astype(np.float64), errors[order]
        cuts = _cuts(predictions)
        centres = [part.mean() for part in np.split(predictions, cuts)]
        return cls(np.array(centres), np.stack([group_means(part) for part in np.split(errors, cuts)]))


def _cuts(ascending: np.ndarray) -> np.ndarray:
    """Return where the classes begin after the first one."""
    size = ascending.size
    number = int(np.clip(size // GROUPS, 1, CLASSES))
    tail = 0.5 ** np.arange(1, HALVINGS + 1) / number
    shares = np.concatenate([tail, np.arange(1, number) / number, 1 - tail])
    shares = shares[np.minimum(shares, 1 - shares) * size >= GROUPS]
    last = np.ceil(shares * size).astype(np.int64) - 1
    found = np.unique(np.searchsorted(ascending, ascending[last], side="right"))
    return found[found < size]


def training_residuals(
    predict: Callable[[np.ndarray], np.ndarray], samples: Samples, scalers: Mapping[str, Scaler]
) -> dict[str, Residuals]:
    """Return errors of the training period for each predictand with a transform.

    Parameters
    ----------
    predict : callable
        From coarse fields (sample, [window,] Y, X, channel), as ``samples`` gives them, to predictions (sample, Y, X,
        predictand), normalised units.
    samples : Samples
        Training period.
    scalers : mapping
        Scalers of the predictands are called ``fine.<name>``.

    Returns
    -------
    dict
        By predictand.
    """
    numbers = {
        name: number for number, name in enumerate(samples.predictands) if scalers[f"fine.{name}"].transform != "none"
    }
    if not numbers:
        return {}
    steps = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), STEPS)).round().astype(np.int64))
    found: dict[str, list[np.ndarray]] = {name: [] for name in numbers}
    for first in range(0, len(steps), CHUNK):
        indices = steps[first : first + CHUNK]
        coarse, fine, mask = samples.take(indices)
        predictions = predict(coarse)
        for name, number in numbers.items():
            pairs = np.stack([predictions[..., number], fine[..., number] - predictions[..., number]])
            valid = pairs.reshape(2, -1) if mask is None else pairs[:, mask[..., number] > 0]
            found[name].append(_some(valid, CELLS * len(indices), first))
    return {name: Residuals.of(*np.concatenate(parts, axis=1)) for name, parts in found.items()}


def _some(pairs: np.ndarray, number: int, seed: int) -> np.ndarray:
    few = pairs.shape[1] <= number
    return pairs if few else np.random.default_rng(seed).choice(pairs, number, replace=False, axis=1)


def group_means(values: np.ndarray, groups: int = GROUPS) -> np.ndarray:
    """Return the means of groups of equal size, from the smallest to the largest values, float64.

    A value between two groups counts in both by its parts, so that the mean of all is kept and few values do as well.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.sort(values.astype(np.float64)))])
    edges = np.linspace(0, values.size, groups + 1)
    return np.diff(np.interp(edges, np.arange(sums.size), sums)) * (groups / values.size)


def smeared(scaler: Scaler, prediction: np.ndarray, residuals: Residuals) -> np.ndarray:
    """Return the mean of what a prediction becomes in physical units with each of the errors added.

    The errors are those of the classes of lower and higher predictions, interpolated group by group, so that the result
    has no steps; beyond the outermost classes they stay the same.

    Parameters
    ----------
    scaler : Scaler
        Of the predictand.
    prediction : numpy.ndarray
        Shape (..., Y, X), normalised units.
    residuals : Residuals
        Of the predictand.

    Returns
    -------
    numpy.ndarray
        Shape (..., Y, X), physical units, float32.
    """
    values, total = prediction.astype(np.float64), np.zeros(prediction.shape)
    for errors in residuals.errors.T:
        total += scaler.invert(values + np.interp(values, residuals.predictions, errors))
    return (total / residuals.errors.shape[1]).astype(np.float32)


def _field(name: str, residuals: Residuals) -> xr.DataArray:
    dims, unit = (f"class_{name}", f"group_{name}"), {"units": "1"}
    classes = (dims[0], residuals.predictions, {"long_name": "mean prediction of the class, normalised"} | unit)
    what = {"long_name": "errors of the training period, truth minus prediction, normalised"} | unit
    return xr.DataArray(residuals.errors, {dims[0]: classes}, dims, attrs=what)


def _residuals(path: str | Path, field: xr.DataArray) -> Residuals:
    if field.ndim != 2:
        raise DataError(f"{path}: {field.name} is of an earlier version, without classes: train the network again")
    return Residuals(field[field.dims[0]].values, field.values)


@dataclass(frozen=True)
class Interface:
    """What belongs to a trained network beside its scalers, in the same file.

    Attributes
    ----------
    predictands, channels : sequence of str
        Names of outputs and inputs, in the order of the network's channels.
    residuals : mapping
        As of `training_residuals`.
    attributes : mapping
        By name of a channel or predictand, what its field said of itself: ``units``, ``long_name``, ``standard_name``;
        channels of the calendar have a unit alone.
    """

    predictands: Sequence[str]
    channels: Sequence[str]
    residuals: Mapping[str, Residuals]
    attributes: Mapping[str, Mapping[str, str]]

    def append(self, path: str | Path) -> None:
        """Add all to a file of scalers: attributes, and ``residuals_<name>`` (class, group) in float64.

        The coordinate of the classes has their mean predictions.
        """
        fields = {f"residuals_{name}": _field(name, residuals) for name, residuals in self.residuals.items()}
        names = {"predictands": " ".join(self.predictands), "channels": " ".join(self.channels)}
        names["attributes"] = json.dumps({name: dict(given) for name, given in self.attributes.items()})
        xr.Dataset(fields, attrs=names).to_netcdf(path, mode="a", engine="netcdf4")

    @classmethod
    def load(cls, path: str | Path) -> Interface:
        """Read it from the file of scalers beside a network.

        Raises
        ------
        DataError
            If the file is missing, can't be read, belongs to no network, or to one of an earlier version whose errors
            aren't by class.
        """
        with io.open_dataset(path) as dataset:
            if not {"predictands", "channels"} <= set(dataset.attrs):
                raise DataError(f"{path}: expected the scalers of a trained network, found no names of its channels")
            prefix = "residuals_"
            found = [str(name) for name in dataset.data_vars if str(name).startswith(prefix)]
            return cls(
                dataset.attrs["predictands"].split(),
                dataset.attrs["channels"].split(),
                {name.removeprefix(prefix): _residuals(path, dataset[name]) for name in found},
                json.loads(dataset.attrs["attributes"]),
            )

    def like(self, grid: Grid) -> xr.Dataset:
        """Return a dataset of the predictands on a grid, without values, that says what predictions are."""
        nothing = np.zeros(grid.shape, np.float32)
        empty = {name: (grid.dims, nothing, self.attributes[name]) for name in self.predictands}
        return xr.Dataset(empty, coords=grid.coordinates())
