"""What can be said of networks without training them: which there are, how many weights, how far they look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import keras
import numpy as np

from dl4ds_core.config.models import RECURRENT, Backbone, Model, Upsampling
from dl4ds_core.models.networks import build_network

#: Random weights that are tried: features that one set happens to switch off, another shows.
TRIALS = 2


def combinations() -> Iterator[tuple[Backbone, Upsampling, bool]]:
    """Yield all backbones and upsamplings that go together, each for one time step and, if it can, for windows."""
    for windowed in (False, True):
        for backbone in RECURRENT if windowed else get_args(Backbone):
            for upsampling in get_args(Upsampling):
                yield backbone, upsampling, windowed


def weights_by_part(settings: Model, scale: int) -> dict[str, int]:
    """Return the number of trained weights of each part of a network of one channel and one predictand.

    Returns
    -------
    dict
        For ``blocks`` (first convolution and all blocks), ``skip`` (what joins the first and the last features),
        ``upsampling`` and ``output`` (all that follows).
    """
    counts = dict.fromkeys(("blocks", "skip", "upsampling", "output"), 0)
    for layer in _network(settings, scale, (4, 4)).layers:
        size = sum(int(np.prod(variable.shape)) for variable in layer.trainable_variables)
        counts[_part(layer.name)] += size
    return counts


def _part(name: str) -> str:
    if name.startswith(("stem_", "transition")):
        # The first block of a recurrent network consists of layers called so too.
        return "blocks" if name.startswith(("stem_a", "stem_b")) else "skip"
    if name.startswith("upsampling"):
        return "upsampling"
    return "blocks" if name.startswith(("stem", "block", "down", "up", "bottom")) else "output"


def receptive_field(settings: Model, scale: int) -> int:
    """Return how many coarse cells along an axis a fine cell depends on, at most.

    Found by trying: with biases of zero the output of zeros is zero, so that a coarse cell reaches a fine one exactly
    where a one in it gives something else. Attention, which looks at the whole domain, is left out, and so is the
    interpolated field that a residual network adds to.
    """
    options = {"localized": "none", "residual": False, "attention": False, "activation": "elu", "filters": 4}
    bare = settings.model_copy(update={**options, "dropout": None, "constraints": {}})
    size = 16
    while True:
        found = _reached(bare, scale, size)
        if found < size - 2:
            return found
        size *= 2


def _reached(settings: Model, scale: int, size: int) -> int:
    """Return the number of coarse columns, of ``size``, that reach the cells of the middle one."""
    window = () if settings.time_window is None else (settings.time_window,)
    impulses = np.zeros((size, *window, 2, size, 1), np.float64)
    for column in range(size):
        impulses[column, ..., :, column, :] = 1.0
    middle = slice(size // 2 * scale, (size // 2 + 1) * scale)
    reached = np.zeros((size, scale), dtype=bool)
    policy = keras.config.dtype_policy()
    try:
        # Influences at the edge of the field are products of many small numbers.
        keras.config.set_dtype_policy("float64")
        for trial in range(TRIALS):
            keras.utils.set_random_seed(trial)
            network = _network(settings, scale, (2, size))
            for first in range(0, size, 16):
                output = np.asarray(network([impulses[first : first + 16]]))
                reached[first : first + 16] |= (output[:, :, middle, 0] != 0).any(axis=1)
    finally:
        keras.config.set_dtype_policy(policy)
    return int(reached.sum(axis=0).max())


def _network(settings: Model, scale: int, shape: tuple[int, int]) -> keras.Model:
    return build_network(settings, coarse_shape=shape, scale=scale, channels=1, outputs=1, base=[0])
