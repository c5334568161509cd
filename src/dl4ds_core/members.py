"""The members of an ensemble: what is drawn for each of them, whatever else is predicted at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dl4ds_core.draws import Stream, generator


@dataclass(frozen=True)
class Members:
    """What members are drawn by, and how many there are.

    Attributes
    ----------
    method : {"none", "dropout", "noise", "sampling"}
        As in ``prediction.members``; with "none" there is one prediction and no dimension for members.
    count : int
        Number of members.
    seed : int
        Of the training: a member is a function of this, its number and the time.
    steps : int
        From noise to a field, of diffusion models.
    """

    method: str = "none"
    count: int = 1
    seed: int = 0
    steps: int = 25

    @property
    def dimension(self) -> int | None:
        """Members that predictions have; None where they have no such dimension."""
        return None if self.method == "none" else self.count


def sampled(
    distribution: Any, parameters: np.ndarray, outputs: int, seed: int, member: int, keys: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Draw a member from the distributions of some times, each cell by itself.

    Parameters
    ----------
    distribution : layers.DistributionParameters
        The layer that has given the parameters.
    parameters : numpy.ndarray
        Shape (time, Y, X, channel), normalised units.
    outputs : int
        Predictands.
    keys : sequence of int
        Of the times.

    Returns
    -------
    numpy.ndarray
        Shape (time, Y, X, predictand), normalised units, float32.
    """
    drawn = []
    for field, key in zip(parameters, keys, strict=True):
        random = generator(seed, Stream.SAMPLING, member, int(key))
        parts = np.split(field.astype(np.float64), field.shape[-1] // outputs, axis=-1)
        if distribution.kind == "gaussian":
            drawn.append(parts[0] + parts[1] * random.standard_normal(parts[0].shape))
        elif distribution.kind == "bernoulli-gamma":
            _, probability, shape, scale = parts
            wet = random.random(probability.shape) < probability
            drawn.append(np.where(wet, random.gamma(shape) * scale, 0.0) + np.asarray(distribution.zeros))
        else:
            drawn.append(_of_quantiles(np.stack(parts[1:]), np.asarray(distribution.levels), random))
    return np.stack(drawn).astype(np.float32)


def _of_quantiles(quantiles: np.ndarray, levels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw from straight lines between quantiles (level, ...), and beyond the outermost as steep as beside them."""
    draw = random.random(quantiles.shape[1:])
    below = np.clip(np.searchsorted(levels, draw) - 1, 0, levels.size - 2)
    low, high = (np.take_along_axis(quantiles, (below + step)[None], axis=0)[0] for step in (0, 1))
    share = (draw - levels[below]) / (levels[below + 1] - levels[below])
    return low + share * (high - low)
