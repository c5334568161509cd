"""Random numbers that are a pure function of what they are for, not of the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What numbers are for, so that equal keys give others for each; patches have a stream of their own."""

    TRAINING = 11
    VALIDATION = 12
    MIXING = 13
    PREDICTION = 14
    SAMPLING = 15
    DROPOUT = 16
    LEVEL = 17


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator of a key, whose numbers may be negative, such as seconds before 1970."""
    return np.random.default_rng([seed, stream, *(2 * number if number >= 0 else -2 * number - 1 for number in key)])


def noise(seed: int, stream: Stream, keys: Iterable[Sequence[int]], shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal numbers for each key, (key, *shape), float32."""
    return np.stack([generator(seed, stream, *key).standard_normal(shape, dtype=np.float32) for key in keys])
