"""What scores of the structure of fields must know of the grid, and spectra on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["COARSE_CELLS", "NYQUIST_CELLS", "Setting", "departures", "largest_box"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

WINDOWS = (1, 3, 9, 27)
"""Widths in cells of the neighbourhoods of the fractions skill score; those wider than the domain are left out."""

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Distances in cells that the correlation of a field with itself is had at; those of up to half the domain."""

COARSE_CELLS = 4
"""Waves shorter than so many coarse cells are short: the coarse grid hardly resolves them."""

NYQUIST_CELLS = 2
"""Waves shorter than so many coarse cells are the detail that a network adds: the coarse grid can't hold them."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What scores of fields must know besides the fields.

    Attributes
    ----------
    area : numpy.ndarray
        Cell areas ``(Y, X)``, in any unit.
    spacing : tuple of float
        Distance of neighbouring rows and columns, km.
    scale : int
        Fine cells per coarse cell, along each axis.
    data_range : float
        Range of the predictand over the training period, in its units.
    thresholds : tuple of float
        Of events, in units of the predictand: an event is a value of at least so much.
    box : tuple of slice
        Rows and columns of the largest box whose cells are missing at no step that has a truth anywhere; empty slices
        where there is none.
    """

    area: FloatArray
    spacing: tuple[float, float]
    scale: int
    data_range: float
    thresholds: tuple[float, ...]
    box: tuple[slice, slice]

    @cached_property
    def windows(self) -> tuple[int, ...]:
        """Widths of neighbourhoods, in cells."""
        return tuple(width for width in WINDOWS if width <= min(self.area.shape))

    @cached_property
    def lags(self) -> tuple[tuple[int, ...], ...]:
        """Distances along rows and columns, in cells."""
        return tuple(tuple(lag for lag in LAGS if lag <= size // 2) for size in self.area.shape)

    @cached_property
    def wavenumbers(self) -> FloatArray:
        """Middle of each ring of wavenumbers ``(ring,)``, cycles per km, without the mean field."""
        return np.arange(1, self._rings.max() + 1) * self._width if self._rings.size else np.zeros(0)

    @cached_property
    def _width(self) -> float:
        shape = [part.stop - part.start for part in self.box]
        return 1.0 / max(size * step for size, step in zip(shape, self.spacing, strict=True))

    @cached_property
    def _rings(self) -> npt.NDArray[np.intp]:
        """Ring ``(Y, X)`` of each wave of the box; -1 beyond the shortest wave that both axes have."""
        shape = [part.stop - part.start for part in self.box]
        if min(shape) < 2 * COARSE_CELLS:
            return np.zeros((0, 0), dtype=np.intp)
        rows, columns = (np.fft.fftfreq(size, step) for size, step in zip(shape, self.spacing, strict=True))
        length = np.hypot(rows[:, None], columns)
        rings = np.rint(length / self._width).astype(np.intp)
        return np.where(length <= 0.5 / max(self.spacing), rings, -1)

    def spectra(self, fields: FloatArray) -> FloatArray:
        """Power by wavenumber ``(time, ring)`` of fields, averaged over directions.

        The field in the box, less its mean, is tapered by a Hann window along both axes, whose loss of variance is
        made up for. Denis et al. (2002, doi:10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2) discuss alternatives.
        """
        from scipy.fft import rfft2

        if not (self._rings >= 0).any():
            return np.full((fields.shape[0], 0), np.nan)
        values = fields[:, *self.box]
        taper = np.outer(*(np.hanning(size + 2)[1:-1] for size in values.shape[1:]))
        values = departures(values, values.mean(axis=(1, 2))) * (taper / np.sqrt((taper**2).mean()))
        waves = rfft2(values)
        power = (waves.real**2 + waves.imag**2) / taper.size**2
        # Of two opposite waves, which have equal power, the transform of real fields has one.
        inside = self._rings[:, : power.shape[-1]] >= 0
        numbers = self._rings[:, : power.shape[-1]][inside]
        doubled = np.full(power.shape[-1], 2.0)
        doubled[0] = 1.0
        doubled[-1] = 2.0 if values.shape[-1] % 2 else 1.0
        weights = np.broadcast_to(doubled, inside.shape)[inside]
        count = np.bincount(numbers, weights)
        sums = np.stack([np.bincount(numbers, step[inside] * weights) for step in power])
        return np.asarray((sums / count)[:, 1:])


def largest_box(missing: BoolArray) -> tuple[slice, slice]:
    """Return rows and columns of the largest rectangle of cells ``(Y, X)`` of which none is missing.

    Of equal ones the first; empty slices where all are missing. Each row is the base of a histogram of the cells above
    it that are not missing; a stack finds the largest rectangle of a histogram in time proportional to its length.
    """
    if not missing.any():
        return slice(0, missing.shape[0]), slice(0, missing.shape[1])
    best, found = 0, (slice(0, 0), slice(0, 0))
    heights = np.zeros(missing.shape[1], dtype=np.intp)
    for row, gaps in enumerate(missing):
        heights = np.where(gaps, 0, heights + 1)
        stack: list[tuple[int, int]] = []  # first column and height of rectangles that may go on
        for column, height in enumerate([*heights.tolist(), 0]):
            first = column
            while stack and stack[-1][1] >= height:
                first, tall = stack.pop()
                if tall * (column - first) > best:
                    best = tall * (column - first)
                    found = slice(row - tall + 1, row + 1), slice(first, column)
            stack.append((first, height))
    return found


def departures(values: FloatArray, mean: FloatArray, valid: BoolArray | None = None) -> FloatArray:
    """Fields less their means ``(time,)``; 0 where they are not valid, and where only rounding is left.

    That is all that is left of a constant field.
    """
    less = values - mean[:, None, None]
    if valid is not None:
        less = np.where(valid, less, 0.0)
    largest = np.maximum(less.max(axis=(1, 2)), -less.min(axis=(1, 2)))
    less[largest <= 1e-12 * np.abs(mean)] = 0.0
    return less
