"""Scores of the members of an ensemble, in the forms of those of fields; an ensemble has two members or more.

All but the CRPS are a `Structure`: terms of whole fields by step, and the score from means of those terms. The terms of
a mean over cells are sums by area, and the score is a ratio of their means, so that all valid cells of all steps count
by their area whatever is missing when.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.ensembles import MEMBER
from dl4ds_core.verification.moments import ratio
from dl4ds_core.verification.setting import Setting
from dl4ds_core.verification.structure import (
    Structure,
    Terms,
    power_ratio,
    short_spectral_distance,
    spectral_distance,
)

__all__ = [
    "BRIER",
    "ENERGY",
    "MOST_BINS",
    "POWER_RATIO",
    "RANKS",
    "RELIABILITY",
    "SHORT_DISTANCE",
    "SPECTRAL_DISTANCE",
    "SPREAD_SKILL",
    "crps",
    "member_spectral_terms",
    "rank_terms",
    "reliability_terms",
]

FloatArray = npt.NDArray[np.float64]

MOST_BINS = 11
"""The forecast probabilities of larger ensembles are put together in so many bins."""

_FIELD = ("time", "Y", "X")


def crps(forecast: xr.DataArray, observation: xr.DataArray, *, data_range: float) -> xr.DataArray:  # noqa: ARG001
    r"""Fair continuous ranked probability score of each cell and step.

    .. math::
        \frac{1}{m} \sum_i |x_i - o| - \frac{1}{2 m (m - 1)} \sum_{i,j} |x_i - x_j|

    Its expectation doesn't depend on the number *m* of members, if they are drawn from one distribution. Of one value
    it would be the absolute error.

    Parameters
    ----------
    forecast : xarray.DataArray
        Members ``(member, time, Y, X)``, two or more; NaN where the observation is missing.
    observation : xarray.DataArray
        Fields ``(time, Y, X)`` in the same units; may be NaN.
    data_range : float
        Not used; scores of fields are all called with it.

    Returns
    -------
    xarray.DataArray
        ``(time, Y, X)``, in the units of the fields; NaN where the observation is missing. 0 is perfect; a single value
        may be negative.

    References
    ----------
    Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. Quarterly Journal of the Royal Meteorological Society,
    140, 1917-1923. doi:10.1002/qj.2270
    """
    from scores.probability import crps_for_ensemble

    valid = observation.notnull()
    known = forecast.where(valid, 0.0), observation.where(valid, 0.0)
    local = crps_for_ensemble(*known, MEMBER, method="fair", preserve_dims="all")
    return local.where(valid).transpose(*observation.dims)


def _area(observation: FloatArray, setting: Setting) -> FloatArray:
    """Share of the domain's area of each valid cell ``(time, Y, X)``; 0 where the observation is missing."""
    return setting.area / setting.area.sum() * ~np.isnan(observation)


def _labelled(ensemble: FloatArray, observation: FloatArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return members and observation as the packages take them; 0 where the observation is missing, in both."""
    valid = ~np.isnan(observation)
    return (
        xr.DataArray(np.where(valid, ensemble, 0.0), dims=(MEMBER, *_FIELD)),
        xr.DataArray(np.where(valid, observation, 0.0), dims=_FIELD),
    )


def spread_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    r"""Return sums by area of the variance of the members, as much larger as it must be, and of the squared error.

    The error of the mean of *m* members has a variance of its own: for members and a truth of one distribution with
    variance :math:`\sigma^2`, its square is :math:`\sigma^2 (m + 1) / m` on average.
    """
    area, members = _area(observation, setting), len(ensemble)
    variance = ensemble.var(axis=0, ddof=1) * ((members + 1) / members)
    square = (ensemble.mean(axis=0) - observation) ** 2
    return {
        name: (area * np.where(area > 0, values, 0.0)).sum(axis=(1, 2))
        for name, values in (("variance", variance), ("square", square))
    }


def _spread_skill(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    return np.atleast_1d(np.sqrt(ratio(means["variance"], means["square"])))


def rank_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return the area ``(time, rank)`` where so many members, from none to all, are below the truth.

    Where members equal the truth, as all do where it is dry, the area is divided among the ranks that the truth could
    have (Hamill 2001, doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2, draws one of them).
    """
    from scores.probability import rank_histogram

    area = _area(observation, setting)
    fields = _labelled(ensemble, observation)
    shares = rank_histogram(*fields, MEMBER, preserve_dims="time", weights=xr.DataArray(area, dims=_FIELD))
    shares = shares.transpose("time", "rank").values
    return {"area": np.nan_to_num(shares) * area.sum(axis=(1, 2))[:, None]}


def _rank_deviation(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    area = means["area"]
    return np.array([0.5 * np.abs(ratio(area, np.full_like(area, area.sum())) - 1 / area.size).sum()])


def brier_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return sums by area ``(time, threshold)`` of fair Brier scores (Ferro 2014), and the area ``(time,)``."""
    from scores.probability import brier_score_for_ensemble

    area, sums = _area(observation, setting), []
    fields = _labelled(ensemble, observation)
    for threshold in setting.thresholds:  # one at a time, which needs less memory
        local = brier_score_for_ensemble(*fields, MEMBER, float(threshold), preserve_dims="all")
        sums.append((area * local.transpose(*_FIELD, ...).values[..., 0]).sum(axis=(1, 2)))
    return {"score": np.stack(sums, axis=1), "area": area.sum(axis=(1, 2))}


def _brier(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    return ratio(means["score"], np.full_like(means["score"], means["area"]))


def reliability_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return area, area of events, and area times probability, by threshold and bin of the probability.

    Each possible share of members with the event has a bin of its own, but of more than `MOST_BINS` shares some that
    follow each other are put together. Packages give curves or the score of a whole record; to resample, sums of each
    step are needed.
    """
    area, members = _area(observation, setting), len(ensemble)
    steps = len(observation)
    bins = min(members + 1, MOST_BINS)
    shape = (steps, len(setting.thresholds), bins)
    terms = {name: np.zeros(shape) for name in ("area", "events", "forecast")}
    first = np.arange(steps)[:, None, None] * bins
    for place, threshold in enumerate(setting.thresholds):
        count = (ensemble >= threshold).sum(axis=0)
        numbers = (first + count * bins // (members + 1)).ravel()
        event = area * (np.where(area > 0, observation, -np.inf) >= threshold)
        for name, weights in (("area", area), ("events", event), ("forecast", area * (count / members))):
            sums = np.bincount(numbers, weights.ravel(), minlength=steps * bins)
            terms[name][:, place] = sums.reshape(steps, bins)
    return terms


def _reliability(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    """Mean over all forecasts of the squared difference between probability and frequency of events, by threshold."""
    area = means["area"]
    difference = np.nan_to_num(ratio(means["forecast"], area) - ratio(means["events"], area))
    return ratio((area * difference**2).sum(axis=-1), area.sum(axis=-1))


def energy_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    r"""Return the fair energy score ``(time,)`` of whole fields; NaN at steps without a truth.

    Fields are vectors of the valid cells with the norm :math:`\sqrt{\sum_c a_c x_c^2}`, the areas adding up to 1.
    Distances between members come from their scalar products, as departures from their mean, so that few digits are
    lost: one product of matrices instead of *m* (*m* - 1) / 2 passes over the fields. No package that is there has it.
    """
    area, members = _area(observation, setting), len(ensemble)
    total = area.sum(axis=(1, 2))
    weights = np.sqrt(area / np.where(total > 0, total, 1.0)[:, None, None])
    vectors = np.where(area > 0, ensemble, 0.0)
    mean = vectors.mean(axis=0)
    vectors -= mean
    vectors *= weights
    error = np.where(area > 0, observation, 0.0) - mean
    error *= weights
    vectors = vectors.reshape(members, len(observation), -1).transpose(1, 0, 2)
    error = error.reshape(len(observation), 1, -1)
    distance = np.sqrt(((vectors - error) ** 2).sum(axis=-1)).mean(axis=1)
    products = vectors @ vectors.transpose(0, 2, 1)
    squares = np.einsum("tii->ti", products)
    apart = np.maximum(squares[:, :, None] + squares[:, None, :] - 2 * products, 0.0)
    apart[:, np.arange(members), np.arange(members)] = 0.0
    spread = np.sqrt(apart).sum(axis=(1, 2)) / (2 * members * (members - 1))
    return {"energy": np.where(total > 0, distance - spread, np.nan)}


def _energy(means: Mapping[str, FloatArray], setting: Setting) -> FloatArray:  # noqa: ARG001
    return np.atleast_1d(means["energy"])


def member_spectral_terms(ensemble: FloatArray, observation: FloatArray, setting: Setting) -> Terms:
    """Return the power by wavenumber of members, averaged over them, and of the truth."""
    observed = setting.spectra(observation)
    forecast = np.zeros_like(observed)
    for member in ensemble:
        forecast += setting.spectra(member)
    return {"forecast": forecast / len(ensemble), "observation": observed}


def _by_threshold(setting: Setting) -> list[tuple[float, float]]:
    return [(threshold, np.nan) for threshold in setting.thresholds]


SPREAD_SKILL = Structure(spread_terms, _spread_skill)
"""Fortin et al. (2014, doi:10.1175/JHM-D-14-0008.1)."""
RANKS = Structure(rank_terms, _rank_deviation, centred=True)
BRIER = Structure(brier_terms, _brier, _by_threshold)
RELIABILITY = Structure(reliability_terms, _reliability, _by_threshold, centred=True)
"""Murphy (1973, doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2)."""
ENERGY = Structure(energy_terms, _energy)
"""Gneiting and Raftery (2007, doi:10.1198/016214506000001437)."""
POWER_RATIO = Structure(member_spectral_terms, power_ratio)
SPECTRAL_DISTANCE = Structure(member_spectral_terms, spectral_distance, centred=True)
SHORT_DISTANCE = Structure(member_spectral_terms, short_spectral_distance, centred=True)
