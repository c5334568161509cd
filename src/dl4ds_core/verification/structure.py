"""Scores of the structure of fields: spectra, neighbourhoods, patterns, and what coarsening gives back.

Each of them is a function of temporal means, so that its interval is had by weighting the steps: one function gives
the terms of some whole fields, another one the score from the means of those terms over any steps. Steps where a term
is NaN don't count for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dl4ds_core.verification.setting import COARSE_CELLS, NYQUIST_CELLS, Setting, departures

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
    "SUBGRID_POWER_RATIO",
    "Structure",
    "one_value",
    "power_ratio",
    "short_spectral_distance",
    "spectral_distance",
    "spectral_terms",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Terms = dict[str, FloatArray]

PERFECT_PSNR = 120.0
"""In dB: without errors the ratio would be infinite, so errors below a millionth of the range count as this."""


def one_value(setting: Setting) -> list[tuple[float, float]]:  # noqa: ARG001
    """Return the labels of a score with one value, that of no threshold or scale."""
    return [(np.nan, np.nan)]


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
    labels: Callable[[Setting], list[tuple[float, float]]] = one_value
    centred: bool = False


def _by_area(values: npt.NDArray[Any], area: FloatArray) -> FloatArray:
    """Return the sum ``(time,)`` over cells of fields ``(time, Y, X)`` times the areas."""
    return np.asarray(values.reshape(len(values), -1) @ area.ravel())


def _psnr_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    squares = forecast - observation
    squares *= squares
    missing, total = np.isnan(squares), np.full(len(squares), setting.area.sum())
    if missing.any():
        squares, total = np.where(missing, 0.0, squares), _by_area(~missing, setting.area)
    error = np.divide(_by_area(squares, setting.area), total, out=np.full_like(total, np.nan), where=total > 0)
    return {"decibel": -10 * np.log10(np.maximum(error / setting.data_range**2, 10 ** (-PERFECT_PSNR / 10)))}


def _pattern_terms(forecast: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    missing = np.isnan(observation).reshape(len(observation), -1)
    valid = ~missing if missing.any() else None
    area = setting.area.ravel()
    total = np.full(len(observation), area.sum()) if valid is None else valid @ area
    pair = [_patterns(field, area, total, valid) for field in (forecast, observation)]
    (first, mean_f, square_f), (second, mean_o, square_o) = pair
    product = np.vecdot(first * area, second) - total * mean_f * mean_o
    deviations = np.sqrt(square_f * square_o)
    return {
        "correlation": np.divide(product, deviations, out=np.full_like(product, np.nan), where=deviations > 0),
    }


def _patterns(
    fields: FloatArray, area: FloatArray, total: FloatArray, valid: BoolArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return fields less about their means ``(time, cell)``, the means of that, and its sum of squares about these.

    The squares are 0 where only rounding is left of a field, that is, of a constant one.
    """
    flat = fields.reshape(len(fields), -1)
    if valid is None:
        about = flat.mean(axis=1)  # by sums in pairs: of a constant field but rounding is left
        values = flat - about[:, None]
    else:
        filled = np.where(valid, flat, 0.0)
        about = filled.sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
        values = np.where(valid, filled - about[:, None], 0.0)
    mean = np.divide(values @ area, total, out=np.zeros_like(total), where=total > 0)
    squares = np.vecdot(values * area, values) - total * mean**2
    return values, mean, np.where(squares > total * (1e-12 * about) ** 2, squares, 0.0)


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
    return _distance(means, _shorter(setting, COARSE_CELLS))


def _distance(means: Mapping[str, FloatArray], chosen: BoolArray) -> FloatArray:
    if not chosen.any():
        return np.array([np.nan])
    forecast, observation = means["forecast"][chosen], means["observation"][chosen]
    known = (forecast > 0) & (observation > 0)  # a constant field has no power
    ratio = np.divide(forecast, observation, out=np.full_like(observation, np.nan), where=known)
    return np.array([np.sqrt(((10 * np.log10(ratio)) ** 2).mean())])


def power_ratio(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    """Return the ratio of the variances at short waves, of prediction and truth."""
    return _power_ratio(means, setting, COARSE_CELLS)


def subgrid_power_ratio(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:
    """Return the same at the waves alone that the coarse grid can't hold."""
    return _power_ratio(means, setting, NYQUIST_CELLS)


def _power_ratio(means: Mapping[str, FloatArray], setting: Setting, coarse_cells: int) -> FloatArray:
    # A ring has as many waves as it is long.
    weights = setting.wavenumbers * _shorter(setting, coarse_cells)
    below = (weights * means["observation"]).sum()
    return np.array([(weights * means["forecast"]).sum() / below if below > 0 else np.nan])


def _shorter(setting: Setting, coarse_cells: int) -> BoolArray:
    """Which rings hold waves shorter than so many coarse cells."""
    length = coarse_cells * setting.scale * max(setting.spacing)
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
        less = departures(values, mean, None if whole else valid)
        for axis, sums in enumerate(_lagged(less, setting)):
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
SUBGRID_POWER_RATIO = Structure(spectral_terms, subgrid_power_ratio)
FRACTIONS = Structure(_fraction_terms, _fraction_score, _fraction_labels)
