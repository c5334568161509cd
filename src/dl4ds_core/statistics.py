"""Statistics of fields larger than memory: moments in one pass, exact quantiles in a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xarray as xr

#: Values held at once, about.
BLOCK_VALUES = 500_000

Change = Callable[[np.ndarray], np.ndarray]


def blocks(field: xr.DataArray, values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
    """Yield a field in blocks of whole time steps.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X), lazy or not, or (Y, X).
    values : int
        About so many values in each.

    Yields
    ------
    numpy.ndarray
        Shape (step, Y, X), or (1, Y, X).
    """
    if "time" not in field.dims:
        yield np.asarray(field.values)[None]
        return
    steps = max(1, values // max(1, field.shape[-2] * field.shape[-1]))
    for start in range(0, field.sizes["time"], steps):
        yield np.asarray(field.isel(time=slice(start, start + steps)).values)


class Moments:
    """Count, mean, deviation and range of valid values, block by block.

    Parts are merged by the formula of Chan et al. (1983), which keeps small variations of large values.

    Parameters
    ----------
    shape : tuple of int
        () for one number over all cells, or (Y, X) for one per cell.

    References
    ----------
    Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). Algorithms for computing the sample variance: analysis and
    recommendations. doi:10.1080/00031305.1983.10483115
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._axes = (0,) if shape else (0, 1, 2)
        self.count = np.zeros(shape, dtype=np.int64)
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)
        self.lowest = np.full(shape, np.inf)
        self.highest = np.full(shape, -np.inf)

    def add(self, block: np.ndarray) -> None:
        """Add values of shape (step, Y, X), float64; NaN is left out."""
        valid = ~np.isnan(block)
        count = valid.sum(axis=self._axes)
        self.lowest = np.fmin(self.lowest, np.fmin.reduce(block, axis=self._axes))
        self.highest = np.fmax(self.highest, np.fmax.reduce(block, axis=self._axes))
        total = self.count + count
        some = np.maximum(count, 1)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite values, which the range tells
            mean = np.sum(block, axis=self._axes, where=valid) / some
            squares = np.sum((block - mean) ** 2, axis=self._axes, where=valid)
            difference = np.where(count > 0, mean - self.mean, 0.0)
            self.mean = self.mean + difference * count / np.maximum(total, 1)
            self._squares = self._squares + squares + difference**2 * self.count * count / np.maximum(total, 1)
        self.count = total

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation; 0 where there are no values."""
        return np.sqrt(self._squares / np.maximum(self.count, 1))


def quantiles(field: xr.DataArray, levels: Sequence[float], change: Change, count: int) -> np.ndarray:
    """Return exact quantiles over all valid values of a field of any size.

    The values of wanted rank are found digit by digit: a histogram of the highest sixteen bits of the values, then one
    of the next sixteen of those values that share the highest, and so on (twice for float32, four times for float64).
    So memory is that of a block and a few histograms, and nothing is approximated.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X) or (Y, X), float32 or float64; at least one value is valid.
    levels : sequence of float
        From 0 to 1.
    change : callable
        Ascending function applied to values; quantiles are those of its results.
    count : int
        Number of valid values.

    Returns
    -------
    numpy.ndarray
        Shape (level,); between two values interpolated linearly, like ``numpy.nanquantile``.
    """
    positions = np.asarray(levels) * (count - 1)
    lower = np.floor(positions).astype(np.int64)
    ranks = np.unique([lower, np.minimum(lower + 1, count - 1)])
    found = dict(zip(ranks.tolist(), change(_of_rank(field, ranks)), strict=True))
    low = np.array([found[rank] for rank in lower])
    high = np.array([found[min(rank + 1, count - 1)] for rank in lower])
    return np.asarray(low + (high - low) * (positions - lower))


def _of_rank(field: xr.DataArray, ranks: np.ndarray) -> np.ndarray:
    """Return the valid values of the given ranks (from 0) in ascending order."""
    bits = 8 * field.dtype.itemsize
    prefixes = np.zeros(ranks.size, dtype=np.uint64)
    rest = ranks.astype(np.int64)
    for shift in range(bits - 16, -1, -16):
        histograms = {int(prefix): np.zeros(65_536, dtype=np.int64) for prefix in prefixes}
        for block in blocks(field):
            keys = _keys(block[~np.isnan(block)])
            heads = keys >> np.uint64(shift)
            for prefix, histogram in histograms.items():
                chosen = heads if shift + 16 == bits else heads[heads >> np.uint64(16) == prefix]
                digits = (chosen & np.uint64(0xFFFF)).astype(np.int64)
                histogram += np.bincount(digits, minlength=65_536)
        for number, prefix in enumerate(prefixes.tolist()):
            below = np.cumsum(histograms[prefix])
            digit = int(np.searchsorted(below, rest[number], side="right"))
            rest[number] -= below[digit - 1] if digit else 0
            prefixes[number] = (prefix << 16) | digit
    return _values(prefixes, field.dtype)


def _keys(values: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the order of the floating point values: the sign bit turned, negatives reversed."""
    size = values.dtype.itemsize
    raw = (values + values.dtype.type(0)).view(f"u{size}")  # adding 0 makes one zero of two
    top = raw.dtype.type(1 << (8 * size - 1))
    return np.where(raw & top, ~raw, raw | top).astype(np.uint64)


def _values(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    raw = keys.astype(f"u{dtype.itemsize}")
    top = raw.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(raw & top, raw ^ top, ~raw).astype(raw.dtype).view(f"f{dtype.itemsize}")


def cell_quantiles(field: xr.DataArray, levels: Sequence[float], change: Change) -> np.ndarray:
    """Return exact quantiles of each cell's valid values, by boxes of rows whose series fit in memory.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X).
    levels : sequence of float
        From 0 to 1.
    change : callable
        Ascending function applied to values.

    Returns
    -------
    numpy.ndarray
        Shape (level, Y, X); NaN in a cell without values.
    """
    steps, height, width = field.shape
    rows = max(1, 8 * BLOCK_VALUES // max(1, steps * width))
    found = np.full((len(levels), height, width), np.nan)
    for start in range(0, height, rows):
        box = slice(start, start + rows)
        series = _read(field.isel({field.dims[-2]: box}))
        series.sort(axis=0)  # NaN comes last
        count = (~np.isnan(series)).sum(axis=0)
        for number, level in enumerate(levels):
            position = level * np.maximum(count - 1, 0)
            lower = np.floor(position).astype(np.int64)
            upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
            low, high = (change(np.take_along_axis(series, rank[None], axis=0)[0]) for rank in (lower, upper))
            found[number, box] = low + (high - low) * (position - lower)
    return found


def _read(field: xr.DataArray) -> np.ndarray:
    """Return a part of a lazy field, read block by block, so that whole maps are never held for all steps."""
    read = np.empty(field.shape, dtype=field.dtype)
    start = 0
    for block in blocks(field):
        read[start : start + block.shape[0]] = block
        start += block.shape[0]
    return read
