"""The scores: adding one is a function in the form of its neighbours and a line of `METRICS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from dl4ds_core.verification import moments
from dl4ds_core.verification.deterministic import bias, mae, pearson, rmse, spearman, std_ratio
from dl4ds_core.verification.spatial import ssim

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """One line of the table of scores.

    Attributes
    ----------
    name : str
        Lower case, as in the files.
    long_name : str
        As in figures and the attributes of maps.
    unit : {'same', '1'}
        That of the predictand, or dimensionless.
    perfect : float
        Value of a perfect prediction: a model is better the nearer it is to this.
    function : callable
        For series: ``function(forecast, observation, *, reduce_dims) -> DataArray``, called with the whole
        record of some cells. For fields: ``function(forecast, observation, *, data_range) -> DataArray(time,
        lat, lon)``, called with the whole domain at some time steps; its mean over time is the map.
    needs : {'series', 'fields'}
        Which of the two the function takes.
    domain : {'pooled', 'cells'}
        The domain's value: pooled over cells and steps, or the mean of the cells' values. Both weight cells
        by area.
    moments : Moments or None
        The same score as a function of temporal means, for the domain's value (pooled) and its interval; not
        for fields. Without it a score by cells has no interval.
    """

    name: str
    long_name: str
    unit: Literal["same", "1"]
    perfect: float
    function: Callable[..., xr.DataArray]
    needs: Literal["series", "fields"]
    domain: Literal["pooled", "cells"]
    moments: moments.Moments | None = None

    def __post_init__(self) -> None:
        """Check that the domain's value can be had."""
        if self.needs == "series" and self.domain == "pooled" and self.moments is None:
            raise TypeError(f"METRICS: the score {self.name}, pooled from series, needs its moments")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("bias", "bias", "same", 0, bias, "series", "pooled", moments.BIAS),
        Metric("mae", "mean absolute error", "same", 0, mae, "series", "pooled", moments.MAE),
        Metric("rmse", "RMSE", "same", 0, rmse, "series", "pooled", moments.RMSE),
        Metric("pearson", "Pearson correlation", "1", 1, pearson, "series", "cells", moments.PEARSON),
        Metric("spearman", "Spearman correlation", "1", 1, spearman, "series", "cells", moments.SPEARMAN),
        Metric("std_ratio", "standard deviation ratio", "1", 1, std_ratio, "series", "cells", moments.STD_RATIO),
        Metric("ssim", "structural similarity", "1", 1, ssim, "fields", "pooled"),
    )
}
"""The scores, by name, in the order of tables and figures."""
