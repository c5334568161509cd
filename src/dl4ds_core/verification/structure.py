"""Scores of the structure of fields: spectra, neighbourhoods, patterns, and what coarsening gives back.

Each of them is a function of temporal means, so that its interval is had by weighting the steps: one function gives
the terms of some whole fields, another one the score from the means of those terms over any steps. Steps where a term
is NaN don't count for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "COARSE",
    "FRACTIONS",
    "LENGTH",
    "PATTERN",
    "PERFECT_PSNR",
    "POWER_RATIO",
    "PSNR",
    "SHORT_DISTANCE",
    "SPECTRAL_DISTANCE",
    "Setting",
    "Structure",
    "largest_box",
    "power_ratio",
    "short_spectral_distance",
    "spectral_distance",
    "spectral_terms",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Terms = dict[str, FloatArray]

WINDOWS = (1, 3, 9, 27)
"""Widths in cells of the neighbourhoods of the fractions skill score; those wider than the domain are left out."""

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Distances in cells that the correlation of a field with itself is had at; those of up to half the domain."""

PERFECT_PSNR = 120.0
"""In dB: without errors the ratio would be infinite, so errors below a millionth of the range count as this."""

COARSE_CELLS = 4
"""Waves shorter than so many coarse cells are the detail that a network adds."""


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
        values = _departures(values, values.mean(axis=(1, 2))) * (taper / np.sqrt((taper**2).mean()))
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


@dataclass(frozen=True)
class Structure:
    """How a score of fields is had from temporal means.

    Attributes
    ----------
    terms : callable
        ``terms(forecast, observation, setting)`` of fields ``(time, Y, X)``, NaN where the observation is missing, in
        both: a dict of arrays ``(time, ...)``, NaN at steps without that term.
    score : callable
        ``score(means, setting)``: an array of the score's values, one for each of `labels`.
    labels : callable
        ``labels(setting)``: threshold and scale of each value; NaN where there is none.
    centred : bool
        Whether resampled values are moved so that their median is the value: distances are larger in resamples.
    """

    terms: Callable[[FloatArray, FloatArray, Setting], Terms]
    score: Callable[[Mapping[str, FloatArray], Setting], FloatArray]
    labels: Callable[[Setting], list[tuple[float, float]]] = lambda _: [(np.nan, np.nan)]
    centred: bool = False


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


def _by_area(values: npt.NDArray[Any], area: FloatArray) -> FloatArray:
    """Return the sum ``(time,)`` over cells of fields ``(time, Y, X)`` times the areas."""
    return np.asarray(values.reshape(len(values), -1) @ area.ravel())


def _departures(values: FloatArray, mean: FloatArray, valid: BoolArray | None = None) -> FloatArray:
    """Fields less their means ``(time,)``; 0 where they are not valid, and where only rounding is left.

    That is all that is left of a constant field.
    """
    departures = values - mean[:, None, None]
    if valid is not None:
        departures = np.where(valid, departures, 0.0)
    largest = np.maximum(departures.max(axis=(1, 2)), -departures.min(axis=(1, 2)))
    departures[largest <= 1e-12 * np.abs(mean)] = 0.0
    return departures


def _psnr_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    valid = ~np.isnan(observation)
    squares = np.where(valid, forecast - observation, 0.0) ** 2
    total = _by_area(valid, setting.area)
    error = np.divide(_by_area(squares, setting.area), total, out=np.full_like(total, np.nan), where=total > 0)
    return {"decibel": -10 * np.log10(np.maximum(error / setting.data_range**2, 10 ** (-PERFECT_PSNR / 10)))}


def _pattern_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    area, valid = setting.area, ~np.isnan(observation)
    total = (valid * area).sum(axis=(1, 2))
    pair = []
    for field in (forecast, observation):
        values = np.where(valid, field, 0.0)
        with np.errstate(invalid="ignore"):
            # Summed pairwise, unlike a product of matrices: of a constant field nothing but rounding may be left.
            pair.append(_departures(values, (values * area).sum(axis=(1, 2)) / total, valid))
    product, first, second = (_by_area(one * other, area) for one, other in (pair, pair[:1] * 2, pair[1:] * 2))
    deviations = np.sqrt(first * second)
    return {
        "correlation": np.divide(product, deviations, out=np.full_like(product, np.nan), where=deviations > 0),
    }


def _coarse_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    valid = ~np.isnan(observation)
    weights = _blocks(setting.area * valid, setting.scale)
    error = _blocks(np.where(valid, (forecast - observation) * setting.area, 0.0), setting.scale)
    means = np.divide(error, weights, out=np.zeros_like(error), where=weights > 0)
    total = weights.sum(axis=(1, 2))
    squares = (weights * means**2).sum(axis=(1, 2))
    return {"square": np.divide(squares, total, out=np.full_like(total, np.nan), where=total > 0)}


def _blocks(values: FloatArray, scale: int) -> FloatArray:
    """Return sums ``(time, y, x)`` over coarse cells; fine cells beyond the last whole one are left out."""
    rows, columns = (size // scale for size in values.shape[1:])
    cut = values[:, : rows * scale, : columns * scale]
    return np.asarray(cut.reshape(-1, rows, scale, columns, scale).sum(axis=(2, 4)))


def spectral_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return the power by wavenumber of prediction and truth."""
    return {"forecast": setting.spectra(forecast), "observation": setting.spectra(observation)}


def spectral_distance(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    """Return the root mean square over wavenumbers of the difference of two spectra, dB."""
    return _distance(means, np.ones(setting.wavenumbers.shape, bool))


def short_spectral_distance(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    """Return the same over short waves alone."""
    return _distance(means, _short(setting))


def _distance(means: Mapping[str, FloatArray], chosen: BoolArray) -> FloatArray:
    if not chosen.any():
        return np.array([np.nan])
    forecast, observation = means["forecast"][chosen], means["observation"][chosen]
    known = (forecast > 0) & (observation > 0)  # a constant field has no power
    ratio = np.divide(forecast, observation, out=np.full_like(observation, np.nan), where=known)
    return np.array([np.sqrt(((10 * np.log10(ratio)) ** 2).mean())])


def power_ratio(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    """Return the ratio of the variances at short waves, of prediction and truth."""
    # A ring has as many waves as it is long.
    weights = setting.wavenumbers * _short(setting)
    below = (weights * means["observation"]).sum()
    return np.array([(weights * means["forecast"]).sum() / below if below > 0 else np.nan])


def _short(setting: Setting) -> BoolArray:
    """Which rings hold waves shorter than `COARSE_CELLS` coarse cells."""
    length = COARSE_CELLS * setting.scale * max(setting.spacing)
    return np.asarray(setting.wavenumbers * length > 1.0)


def _fraction_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return parts of the fractions skill score (Roberts and Lean 2008, doi:10.1175/2007MWR2123.1)."""
    from scipy.ndimage import uniform_filter

    distance, reference = [], []
    for threshold in setting.thresholds:
        # What is missing is no event.
        events = [(field >= threshold).astype(np.float64) for field in (forecast, observation)]
        for width in setting.windows:
            size = (1, width, width)
            predicted, observed = (uniform_filter(field, size, mode="constant") for field in events)
            distance.append(((predicted - observed) ** 2).mean(axis=(1, 2)))
            reference.append((predicted**2 + observed**2).mean(axis=(1, 2)))
    return {"distance": np.stack(distance, axis=1), "reference": np.stack(reference, axis=1)}


def _fraction_score(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    reference = means["reference"]
    share = np.divide(means["distance"], reference, out=np.full_like(reference, np.nan), where=reference > 0)
    return np.asarray(1 - share)


def _fraction_labels(setting: Setting) -> list[tuple[float, float]]:
    return [(threshold, float(width)) for threshold in setting.thresholds for width in setting.windows]


def _lag_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return mean products ``(time, lag)`` of departures from the mean field so many cells apart, by axis; lag 0 first.

    Means are over the pairs of cells that both have a value.
    """
    valid = ~np.isnan(observation)
    whole = bool(valid.all())
    # Products of the masks count the pairs; mostly, all steps have one mask.
    mask = valid[:1] if whole or (valid == valid[0]).all() else valid
    pairs = _lagged(mask.astype(np.float64), setting)
    terms = {}
    for name, field in (("forecast", forecast), ("observation", observation)):
        values = field if whole else np.where(valid, field, 0.0)
        mean = values.sum(axis=(1, 2)) / np.maximum(mask.sum(axis=(1, 2)), 1)
        departures = _departures(values, mean, None if whole else valid)
        for axis, sums in enumerate(_lagged(departures, setting)):
            count = np.broadcast_to(pairs[axis], sums.shape)
            terms[f"{name} {axis}"] = np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)
    return terms


def _lagged(values: FloatArray, setting: Setting) -> list[FloatArray]:
    """Return sums ``(time, lag)`` over cells of products with the cell so many rows or columns on, by axis."""
    sums = []
    for axis, lags in enumerate(setting.lags, 1):
        moved = np.moveaxis(values, axis, 1)
        size = moved.shape[1]
        products = [np.einsum("tij,tij->t", moved[:, : size - lag], moved[:, lag:]) for lag in (0, *lags)]
        sums.append(np.stack(products, axis=1))
    return sums


def _length_bias(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    return np.array([_length("forecast", means, setting) - _length("observation", means, setting)])


def _length(name: str, means: Mapping[str, FloatArray], setting: Setting) -> float:
    """Return the distance, km, where the correlation, averaged over both axes, first falls to 1/e; linear between lags.

    The longest distance that both axes have where it doesn't fall so far, and NaN without variance.
    """
    if not all(setting.lags):
        return math.nan
    distances = [np.array((0, *lags)) * step for lags, step in zip(setting.lags, setting.spacing, strict=True)]
    both = np.unique(np.concatenate(distances))
    both = both[both <= min(distance[-1] for distance in distances)]
    correlations = []
    for axis, distance in enumerate(distances):
        products = means[f"{name} {axis}"]
        if not products[0] > 0:
            return math.nan
        correlations.append(np.interp(both, distance, products / products[0]))
    mean = np.mean(correlations, axis=0)
    below = np.flatnonzero(mean <= 1 / math.e)
    if not below.size:
        return float(both[-1])
    after = int(below[0])
    return float(np.interp(-1 / math.e, -mean[[after - 1, after]], both[[after - 1, after]]))


def _only(term: str, finish: Callable[[FloatArray], FloatArray] = np.asarray) -> Callable[..., FloatArray]:
    """Return a score that is one mean, or a function of it."""
    return lambda means, setting: np.atleast_1d(finish(means[term]))  # noqa: ARG005


PSNR = Structure(_psnr_terms, _only("decibel"))
PATTERN = Structure(_pattern_terms, _only("correlation"))
COARSE = Structure(_coarse_terms, _only("square", np.sqrt))
SPECTRAL_DISTANCE = Structure(spectral_terms, spectral_distance, centred=True)
SHORT_DISTANCE = Structure(spectral_terms, short_spectral_distance, centred=True)
LENGTH = Structure(_lag_terms, _length_bias)
POWER_RATIO = Structure(spectral_terms, power_ratio)
FRACTIONS = Structure(_fraction_terms, _fraction_score, _fraction_labels)
