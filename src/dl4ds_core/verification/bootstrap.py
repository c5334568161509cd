"""Block bootstrap in time: resampling weights that keep autocorrelation and never cross a gap, and intervals.

A resample of the record is written as a count per time step, so a resampled mean of anything that has a value
per step is one product of matrices, and the series themselves are never copied.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time import calendar_of, duration, require_ascending, runs, seconds

__all__ = ["AUTOMATIC", "automatic_block", "block_steps", "block_weights", "intervals", "resampled_sums"]

FloatArray = npt.NDArray[np.float64]
CountArray = npt.NDArray[np.int32]

AUTOMATIC = "auto"
"""In place of the length of a block: it is chosen from the autocorrelation."""

_SAMPLES_AT_ONCE = 256


def block_steps(time: xr.DataArray, block: str) -> int:
    """Convert the length of a block from a duration to time steps.

    Parameters
    ----------
    time : xarray.DataArray
        Increasing times ``(time,)``, datetime64 or cftime.
    block : str
        Number and unit, as `dl4ds_core.time.duration` reads it, such as ``24h``, ``5d`` or ``10y``.

    Returns
    -------
    int
        Number of steps, rounded, at least 1. The length of a step is the mean of those that are not gaps.

    Raises
    ------
    DataError
        If the duration can't be read, or the times don't increase.
    """
    require_ascending(time, "the record to verify")
    length = duration(block, calendar_of(time)).total_seconds()
    steps = np.concatenate([np.zeros(0), *(np.diff(seconds(time[part])) for part in runs(time))])
    return max(1, round(length / float(steps.mean()))) if steps.size else 1


def automatic_block(departures: FloatArray, follows: npt.NDArray[np.bool_]) -> int:
    """Choose the length of a block from the autocorrelation of a series.

    It is the length for which a moving-block bootstrap of the mean of a first-order autoregressive series has the right
    size of tests: :math:`L = (n - L + 1)^{(2/3)(1 - n'/n)}` with :math:`n'/n = (1 - r) / (1 + r)` (Wilks 1997, eqs 17
    and 18), where r is the autocorrelation of one step, and 0 if that is negative.

    Parameters
    ----------
    departures : numpy.ndarray
        Departures ``(time,)`` from the mean cycles; NaN where they are missing.
    follows : numpy.ndarray
        Whether the next step comes without a gap, ``(time,)``.

    Returns
    -------
    int
        Number of steps, from 1 to a quarter of the record.

    References
    ----------
    Wilks, D. S. (1997). Resampling hypothesis tests for autocorrelated fields. Journal of Climate, 10, 65-82.
    doi:10.1175/1520-0442(1997)010<0065:RHTFAF>2.0.CO;2
    """
    size = departures.size
    pairs = follows[:-1] & np.isfinite(departures[:-1]) & np.isfinite(departures[1:])
    variance = float(np.nanmean(departures**2)) if np.isfinite(departures).any() else 0.0
    if not pairs.any() or variance <= 0:
        return 1
    memory = float(np.mean((departures[:-1] * departures[1:])[pairs])) / variance
    memory = min(max(memory, 0.0), 0.999)
    exponent = (2 / 3) * (1 - (1 - memory) / (1 + memory))
    lengths = np.arange(1, max(2, size // 4 + 1))
    # The longest length that is not longer than the right side, which shrinks as the left one grows.
    fitting = lengths[lengths <= (size - lengths + 1) ** exponent]
    return int(fitting[-1]) if fitting.size else 1


def block_weights(time: xr.DataArray, *, block_steps: int, samples: int, seed: int) -> CountArray:
    """Draw resamples of a record by blocks.

    The bootstrap of blocks of fixed length (Künsch 1989) in its circular form (Politis and Romano 1992),
    applied to each run of steps between gaps: blocks that pass the end of a run go on at its beginning, so
    all steps are drawn equally often on average, and no block holds steps of two runs. A run shorter than a
    block is a block of its own; its steps are drawn as often as others.

    Parameters
    ----------
    time : xarray.DataArray
        Increasing times ``(time,)``, datetime64 or cftime.
    block_steps : int
        Length of a block in time steps.
    samples : int
        Number of resamples.
    seed : int
        Seed of the random numbers. The same record and seed give the same resamples, so models can be
        compared in pairs.

    Returns
    -------
    numpy.ndarray of int32
        How often each step is drawn, ``(sample, time)``; each row sums to the number of steps (the last block
        of a resample is cut).

    Raises
    ------
    DataError
        If the record holds fewer than two blocks, its times don't increase, or a number is not positive.

    References
    ----------
    Künsch, H. R. (1989). The jackknife and the bootstrap for general stationary observations. Annals of
    Statistics, 17, 1217-1241. doi:10.1214/aos/1176347265
    Politis, D. N. and Romano, J. P. (1992). A circular block-resampling procedure for stationary data. In:
    LePage, R. and
    Billard, L. (eds), Exploring the limits of bootstrap. Wiley, 263-270.
    Wilks, D. S. (1997). Resampling hypothesis tests for autocorrelated fields. Journal of Climate, 10, 65-82.
    doi:10.1175/1520-0442(1997)010<0065:RHTFAF>2.0.CO;2
    """
    if block_steps < 1 or samples < 1:
        raise DataError(f"Bootstrap: expected positive block_steps and samples; found {block_steps} and {samples}.")
    require_ascending(time, "the record to verify")
    segments = runs(time)
    sizes = np.array([segment.stop - segment.start for segment in segments])
    lengths = np.minimum(block_steps, sizes)
    if float((sizes / lengths).sum()) < 2:
        raise DataError(
            f"Bootstrap: expected a record of two blocks or more; found {time.size} time steps and blocks of "
            f"{block_steps} steps. Choose a shorter verification.bootstrap.block."
        )
    firsts = np.array([segment.start for segment in segments])
    # A step lies in as many blocks as those of its run are long: the inverse as the chance evens that out.
    chance = np.repeat(1 / lengths, sizes)
    chance /= chance.sum()
    segment_of = np.repeat(np.arange(sizes.size), sizes)
    offsets = np.arange(lengths.max())
    most = -(-time.size // int(lengths.min()))
    random = np.random.default_rng(seed)
    counts = np.empty((samples, time.size), dtype=np.int32)
    for sample in range(samples):
        starts = random.choice(time.size, size=most, p=chance)
        needed = np.searchsorted(np.cumsum(lengths[segment_of[starts]]), time.size) + 1
        starts = starts[:needed]
        segment = segment_of[starts]
        first, size, length = firsts[segment], sizes[segment], lengths[segment]
        steps = first[:, None] + ((starts - first)[:, None] + offsets) % size[:, None]
        drawn = steps[offsets < length[:, None]][: time.size]
        counts[sample] = np.bincount(drawn, minlength=time.size)
    return counts


def resampled_sums(values: npt.NDArray[np.floating], counts: npt.NDArray[np.integer] | FloatArray) -> FloatArray:
    """Sum over time of each resample.

    Where values are missing, the mean of a resample is the ratio of two of these: of the values, 0 where they are
    missing, and of their weights.

    Parameters
    ----------
    values : numpy.ndarray
        Values ``(..., time)``.
    counts : numpy.ndarray
        Resamples ``(sample, time)`` of `block_weights`; fastest in double precision.

    Returns
    -------
    numpy.ndarray
        Sums ``(..., sample)``.
    """
    sums = np.empty((*values.shape[:-1], counts.shape[0]))
    for first in range(0, counts.shape[0], _SAMPLES_AT_ONCE):
        some = slice(first, first + _SAMPLES_AT_ONCE)
        sums[..., some] = values @ counts[some].T.astype(np.float64, copy=False)
    return sums


def intervals(resampled: FloatArray, *, confidence: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Percentile intervals.

    Parameters
    ----------
    resampled : numpy.ndarray
        Score of each resample, ``(..., sample)``. Resamples where it is undefined (NaN) are left out.
    confidence : float
        Part of the resamples inside the interval: 0.9 gives the 5% and 95% quantiles.

    Returns
    -------
    tuple of numpy.ndarray
        Lower and upper end ``(...)``; NaN where all resamples are undefined.

    Raises
    ------
    DataError
        If the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise DataError(f"Bootstrap: expected a confidence between 0 and 1; found {confidence}.")
    defined = ~np.isnan(resampled).all(axis=-1)
    ends = np.full((2, *resampled.shape[:-1]), np.nan)
    tail = (1 - confidence) / 2
    ends[:, defined] = np.nanquantile(resampled[defined], [tail, 1 - tail], axis=-1)
    return ends[0], ends[1]
