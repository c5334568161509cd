"""The range of the truth, which losses of the SSIM family need."""

from __future__ import annotations

import numpy as np

from dl4ds_core.config.training import Training
from dl4ds_core.errors import TrainingError
from dl4ds_core.losses import NEED_DATA_RANGE
from dl4ds_core.pipeline import Samples
from dl4ds_core.training.distributed import Ranks

NO_TRUTH = "split.{}: the truth is missing in all cells of all time steps; choose another period or domain"
#: Samples that are read at once.
CHUNK = 64


def data_range(training: Training, samples: Samples, ranks: Ranks) -> list[tuple[float, float]] | None:
    """Return lowest and highest value of each predictand for the losses; None where no loss needs them.

    They are those of the truth of the training period; with ``training.data_range``, an interval of that width whose
    middle is theirs. Rank 0 reads the truth, and all ranks have the same numbers.

    Parameters
    ----------
    samples : Samples
        Of the training period.

    Returns
    -------
    list of (float, float) or None
        Normalised units, one pair per predictand.

    Raises
    ------
    TrainingError
        If a predictand has no truth.
    """
    if not set(NEED_DATA_RANGE) & set(training.loss):
        return None
    found: list[tuple[float, float]] = ranks.broadcast_object(_extremes(samples) if ranks.first else None)
    if any(lowest > highest for lowest, highest in found):
        raise TrainingError(NO_TRUTH.format("train"))
    if training.data_range is None:
        return found
    half = training.data_range / 2.0
    middles = [(lowest + highest) / 2.0 for lowest, highest in found]
    return [(middle - half, middle + half) for middle in middles]


def _extremes(samples: Samples) -> list[tuple[float, float]]:
    """Return lowest and highest valid truth of each predictand; infinity and minus infinity where there is none."""
    lowest, highest = (np.full(len(samples.predictands), value) for value in (np.inf, -np.inf))
    for start in range(0, len(samples), CHUNK):
        _, fine, mask = samples.take(np.arange(start, min(start + CHUNK, len(samples))))
        valid = True if mask is None else mask > 0
        axes = tuple(range(fine.ndim - 1))
        lowest = np.minimum(lowest, np.min(fine, axis=axes, initial=np.inf, where=valid))
        highest = np.maximum(highest, np.max(fine, axis=axes, initial=-np.inf, where=valid))
    return list(zip(lowest.tolist(), highest.tolist(), strict=True))
