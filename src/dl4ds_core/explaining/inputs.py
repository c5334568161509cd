"""The inputs of a network, and those of some steps of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from dl4ds_core.channels import field_names
from dl4ds_core.prediction import NetworkPredictor
from dl4ds_core.scaling import VALID_FRACTION
from dl4ds_core.time import CALENDAR, windows

Kind = Literal["coarse", "predictor", "calendar", "static"]


@dataclass(frozen=True)
class Input:
    """What is permuted as one.

    Attributes
    ----------
    name : str
        That of the field, or ``calendar.<cycle>``.
    kind : {"coarse", "predictor", "calendar", "static"}
        Coarse field of a predictand, another coarse field, a cycle of the calendar, or a static field.
    channels : tuple of int
        Numbers of its channels, or of the static field among all of them.
    """

    name: str
    kind: Kind
    channels: tuple[int, ...]


def inputs_of(predictor: NetworkPredictor, static: xr.Dataset | None = None) -> list[Input]:
    """Return the inputs of a network.

    What is made of one thing is one input: a field and its valid part of the cells, sine and cosine of a cycle. Apart
    from each other they would be values that never occur together.

    Parameters
    ----------
    predictor : NetworkPredictor
        The network.
    static : xarray.Dataset, optional
        Its static fields (Y, X).
    """
    found: dict[tuple[str, Kind], list[int]] = {}
    for number, channel in enumerate(predictor.channels):
        kind: Kind = "calendar"
        if channel.startswith(CALENDAR):
            name = channel.rpartition("_")[0]
        else:
            name = channel.removesuffix(VALID_FRACTION)
            kind = "coarse" if name in predictor.predictands else "predictor"
        found.setdefault((name, kind), []).append(number)
    for number, name in enumerate(field_names(static) if static is not None else []):
        found[name, "static"] = [number]
    return [Input(name, kind, tuple(numbers)) for (name, kind), numbers in found.items()]


def samples_of(predictor: NetworkPredictor, coarse: xr.Dataset, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs that some steps are predicted from, and where in them each step's are.

    Returns
    -------
    inputs : numpy.ndarray
        Shape (step, Y, X, channel), normalised units.
    samples : numpy.ndarray
        Numbers of steps of ``inputs``, shape (sample,), or (sample, window).
    """
    steps = chosen if predictor.window is None else windows(coarse["time"], predictor.window)[chosen]
    needed, places = np.unique(steps, return_inverse=True)
    return predictor.normalised(coarse.isel(time=needed)), places.reshape(steps.shape)
