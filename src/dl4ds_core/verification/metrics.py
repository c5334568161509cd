"""The scores: adding one is a function in the form of its neighbours and a line of `METRICS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from dl4ds_core.io import difference_units
from dl4ds_core.verification import ensemble, moments, structure
from dl4ds_core.verification.distribution import perkins, quantile_bias, wasserstein
from dl4ds_core.verification.indices import INDICES, Index
from dl4ds_core.verification.moments import Moments
from dl4ds_core.verification.spatial import ssim
from dl4ds_core.verification.structure import PERFECT_PSNR, Structure

__all__ = ["METRICS", "Metric", "by_moments", "functions", "structures", "terms"]


@dataclass(frozen=True)
class Metric:
    """One line of the table of scores.

    Attributes
    ----------
    name : str
        Lower case, as in the files.
    long_name : str
        As in figures and the attributes of maps.
    unit : str
        ``same`` as the predictand's, ``1``, or another one.
    perfect : float
        Value of a perfect prediction: a model is better the nearer it is to this.
    source : Moments, Structure, Index or callable
        What gives the score. `Moments`: of each cell's series, as a function of temporal means. `Structure`: of whole
        fields, likewise. `Index`: the bias of a climate index, where the predictand has it. A function of series:
        ``function(forecast, observation, *, reduce_dims) -> DataArray``, with a last dimension ``threshold`` where the
        score has several values. A function of fields: ``function(forecast, observation, *, data_range) ->
        DataArray(time, Y, X)``, whose mean over time is the map.
    domain : {'cells', 'pooled'}
        The domain's value: the mean of the cells' values, or pooled over cells and steps. Both weight cells by area.
    fields : bool
        Whether a function is one of fields.
    members : bool
        Whether the score is one of the members of an ensemble: the function, or the terms of a `Structure`, get these
        ``(member, time, Y, X)`` in place of the forecast. Predictions with fewer than two members don't have it.
    """

    name: str
    long_name: str
    unit: str
    perfect: float
    source: Moments | Structure | Index | Callable[..., xr.DataArray]
    domain: Literal["pooled", "cells"] = "cells"
    fields: bool = False
    members: bool = False

    def __post_init__(self) -> None:
        """Check that the domain's value can be had."""
        if self.domain == "pooled" and not (self.fields or isinstance(self.source, Moments | Structure)):
            raise TypeError(f"METRICS: the score {self.name}, pooled from series, needs moments")
        if self.members and not (self.fields or isinstance(self.source, Structure)):
            raise TypeError(f"METRICS: the score {self.name}, of members, needs a structure or a function of fields")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("bias", "bias", "same", 0, moments.BIAS, "pooled"),
        Metric("mae", "mean absolute error", "same", 0, moments.MAE, "pooled"),
        Metric("rmse", "RMSE", "same", 0, moments.RMSE, "pooled"),
        Metric("relative_rmse", "relative RMSE", "1", 0, moments.RELATIVE_RMSE),
        Metric("pearson", "Pearson correlation", "1", 1, moments.PEARSON),
        Metric("deseasonalised_pearson", "correlation without the mean cycles", "1", 1, moments.DESEASONALISED),
        Metric("spearman", "Spearman correlation", "1", 1, moments.SPEARMAN),
        Metric("std_ratio", "standard deviation ratio", "1", 1, moments.STD_RATIO),
        Metric("memory_bias", "bias of the autocorrelation", "1", 0, moments.MEMORY),
        Metric("high_spell_bias", "bias of the length of high or wet spells", "d", 0, moments.HIGH_SPELLS, "pooled"),
        Metric("low_spell_bias", "bias of the length of low or dry spells", "d", 0, moments.LOW_SPELLS, "pooled"),
        Metric("quantile_bias", "bias of percentiles", "same", 0, quantile_bias),
        Metric("perkins", "Perkins skill score", "1", 1, perkins),
        Metric("wasserstein", "Wasserstein distance", "same", 0, wasserstein),
        Metric("ssim", "structural similarity", "1", 1, ssim, "pooled", fields=True),
        Metric("psnr", "peak signal-to-noise ratio", "dB", PERFECT_PSNR, structure.PSNR, "pooled"),
        Metric("pattern_correlation", "correlation of patterns", "1", 1, structure.PATTERN, "pooled"),
        Metric("coarse_rmse", "RMSE of coarse means", "same", 0, structure.COARSE, "pooled"),
        Metric("spectral_distance", "distance of log spectra", "dB", 0, structure.SPECTRAL_DISTANCE, "pooled"),
        Metric(
            "short_spectral_distance",
            "distance of log spectra at short waves",
            "dB",
            0,
            structure.SHORT_DISTANCE,
            "pooled",
        ),
        Metric("power_ratio", "power of short waves", "1", 1, structure.POWER_RATIO, "pooled"),
        Metric("subgrid_power_ratio", "power of subgrid waves", "1", 1, structure.SUBGRID_POWER_RATIO, "pooled"),
        Metric("correlation_length_bias", "bias of the correlation length", "km", 0, structure.LENGTH, "pooled"),
        Metric("fss", "fractions skill score", "1", 1, structure.FRACTIONS, "pooled"),
        Metric("crps", "CRPS", "same", 0, ensemble.crps, "pooled", fields=True, members=True),
        *(
            Metric(name, long_name, unit, perfect, source, "pooled", members=True)
            for name, long_name, unit, perfect, source in (
                ("spread_skill", "spread over error", "1", 1, ensemble.SPREAD_SKILL),
                ("rank_deviation", "deviation of ranks from flat", "1", 0, ensemble.RANKS),
                ("brier", "Brier score", "1", 0, ensemble.BRIER),
                ("reliability", "reliability of the Brier score", "1", 0, ensemble.RELIABILITY),
                ("energy_score", "energy score", "same", 0, ensemble.ENERGY),
                ("member_power_ratio", "power of short waves of members", "1", 1, ensemble.POWER_RATIO),
                ("member_spectral_distance", "distance of log spectra of members", "dB", 0, ensemble.SPECTRAL_DISTANCE),
                (
                    "member_short_spectral_distance",
                    "distance of members at short waves",
                    "dB",
                    0,
                    ensemble.SHORT_DISTANCE,
                ),
            )
        ),
        *(
            Metric(f"bias_{name}", f"bias of {index.symbol}", difference_units(index.unit), 0, index)
            for name, index in INDICES.items()
        ),
    )
}
"""The scores, by name, in the order of tables and figures."""


def functions(*, fields: bool, ensemble: bool = False) -> list[tuple[Metric, Callable[..., xr.DataArray]]]:
    """Return the scores that are given by a function, of fields or of series; those of members for an ensemble only."""
    return [
        (metric, metric.source)
        for metric in METRICS.values()
        if metric.fields == fields
        and (ensemble or not metric.members)
        and not isinstance(metric.source, Moments | Structure | Index)
    ]


def structures(*, ensemble: bool) -> list[tuple[Metric, Structure]]:
    """Return the scores of the structure of fields; those of members for an ensemble only."""
    return [
        (metric, metric.source)
        for metric in METRICS.values()
        if isinstance(metric.source, Structure) and (ensemble or not metric.members)
    ]


def by_moments(domain: Literal["pooled", "cells"]) -> list[tuple[Metric, Moments]]:
    """Return the scores that are functions of temporal means, with those."""
    return [
        (metric, metric.source)
        for metric in METRICS.values()
        if metric.domain == domain and isinstance(metric.source, Moments)
    ]


def terms(domain: Literal["pooled", "cells"]) -> list[str]:
    """Return the terms that the scores with this kind of domain value are made of, each once."""
    return list(dict.fromkeys(term for _, source in by_moments(domain) for term in source.terms))
