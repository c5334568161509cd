"""From a transformed predictand back to its own units without losing its mean.

A network trained on logarithms predicts a mean of logarithms, and the inverse of that is less than the mean. The
smearing estimate adds errors of the training period to the prediction and averages what they become.

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

#: Errors kept per predictand: means of groups of equal size, from the smallest to the largest errors.
GROUPS = 100
#: Time steps of the training period that are predicted for it, evenly spaced, and at once.
STEPS, CHUNK = 1024, 32
#: Errors looked at per predictand and time step at most, chosen at random.
CELLS = 4096


def training_residuals(
    predict: Callable[[np.ndarray], np.ndarray], samples: Samples, scalers: Mapping[str, Scaler]
) -> dict[str, np.ndarray]:
    """Return errors of the training period for each predictand with a transform.

    Parameters
    ----------
    predict : callable
        From coarse fields (sample, Y, X, channel) to predictions (sample, Y, X, predictand), normalised units.
    samples : Samples
        Training period.
    scalers : mapping
        Scalers of the predictands are called ``fine.<name>``.

    Returns
    -------
    dict
        By predictand: truth minus prediction, normalised units, ascending, shape (group,); fewer than ``GROUPS`` if
        there are not so many errors.
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
        errors = fine - predict(coarse)
        for name, number in numbers.items():
            chosen = errors[..., number]
            valid = chosen.ravel() if mask is None else chosen[mask[..., number] > 0]
            found[name].append(_some(valid, CELLS * len(indices), first))
    return {name: group_means(np.concatenate(parts)) for name, parts in found.items()}


def _some(values: np.ndarray, number: int, seed: int) -> np.ndarray:
    return values if values.size <= number else np.random.default_rng(seed).choice(values, number, replace=False)


def group_means(values: np.ndarray, groups: int = GROUPS) -> np.ndarray:
    """Return the means of groups of (nearly) equal size, from the smallest to the largest values, float64."""
    if not values.size:
        return np.zeros(1)
    # Larger and smaller groups alternate, so that the mean of all is kept.
    edges = np.linspace(0, values.size, min(groups, values.size) + 1).round().astype(np.int64)
    return np.add.reduceat(np.sort(values.astype(np.float64)), edges[:-1]) / np.diff(edges)


def smeared(scaler: Scaler, prediction: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Return the mean of what a prediction becomes in physical units with each of the errors added.

    Parameters
    ----------
    scaler : Scaler
        Of the predictand.
    prediction : numpy.ndarray
        Shape (..., Y, X), normalised units.
    residuals : numpy.ndarray
        Shape (group,), normalised units.

    Returns
    -------
    numpy.ndarray
        Shape (..., Y, X), physical units, float32.
    """
    total = np.zeros(prediction.shape)
    for residual in residuals:
        total += scaler.invert(prediction + residual)
    return (total / len(residuals)).astype(np.float32)


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
        By name of a channel or predictand, what its field said of itself: ``units``, ``long_name``, ``standard_name``.
    """

    predictands: Sequence[str]
    channels: Sequence[str]
    residuals: Mapping[str, np.ndarray]
    attributes: Mapping[str, Mapping[str, str]]

    def append(self, path: str | Path) -> None:
        """Add all to a file of scalers: attributes, and ``residuals_<name>`` in float64."""
        what = {"long_name": "errors of the training period, truth minus prediction, normalised", "units": "1"}
        fields = {f"residuals_{name}": (f"group_{name}", values, what) for name, values in self.residuals.items()}
        names = {"predictands": " ".join(self.predictands), "channels": " ".join(self.channels)}
        names["attributes"] = json.dumps({name: dict(given) for name, given in self.attributes.items()})
        xr.Dataset(fields, attrs=names).to_netcdf(path, mode="a", engine="netcdf4")

    @classmethod
    def load(cls, path: str | Path) -> Interface:
        """Read it from the file of scalers beside a network.

        Raises
        ------
        DataError
            If the file is missing, can't be read, or belongs to no network.
        """
        with io.open_dataset(path) as dataset:
            if not {"predictands", "channels"} <= set(dataset.attrs):
                raise DataError(f"{path}: expected the scalers of a trained network, found no names of its channels")
            prefix = "residuals_"
            found = [str(name) for name in dataset.data_vars if str(name).startswith(prefix)]
            return cls(
                dataset.attrs["predictands"].split(),
                dataset.attrs["channels"].split(),
                {name.removeprefix(prefix): dataset[name].values for name in found},
                json.loads(dataset.attrs["attributes"]),
            )

    def like(self, grid: Grid) -> xr.Dataset:
        """Return a dataset of the predictands on a grid, without values, that says what predictions are."""
        nothing = np.zeros(grid.shape, np.float32)
        empty = {name: (grid.dims, nothing, self.attributes[name]) for name in self.predictands}
        return xr.Dataset(empty, coords=grid.coordinates())
