"""Verification: scores, maps of scores, intervals by block bootstrap, and the table that compares models.

To add a score, write one function in the form of its neighbours and one line of `METRICS`.
"""

from __future__ import annotations

from dl4ds_core.verification.bootstrap import (
    block_steps,
    block_weights,
    intervals,
    resampled_sums,
)
from dl4ds_core.verification.comparison import COMPARED, COMPARISON_COLUMNS, compare, read_comparison, write_comparison
from dl4ds_core.verification.deterministic import bias, mae, pearson, rmse, spearman, std_ratio
from dl4ds_core.verification.distribution import perkins, quantile_bias, wasserstein
from dl4ds_core.verification.indices import INDICES, Index
from dl4ds_core.verification.metrics import METRICS, Metric
from dl4ds_core.verification.moments import Moments
from dl4ds_core.verification.regions import cells_of_regions
from dl4ds_core.verification.spatial import ssim
from dl4ds_core.verification.structure import Structure
from dl4ds_core.verification.summary import COLUMNS, complete_rows, ranking, read_summary, write_summary
from dl4ds_core.verification.table import verify

__all__ = [
    "COLUMNS",
    "COMPARED",
    "COMPARISON_COLUMNS",
    "INDICES",
    "METRICS",
    "Index",
    "Metric",
    "Moments",
    "Structure",
    "bias",
    "block_steps",
    "block_weights",
    "cells_of_regions",
    "compare",
    "complete_rows",
    "intervals",
    "mae",
    "pearson",
    "perkins",
    "quantile_bias",
    "ranking",
    "read_comparison",
    "read_summary",
    "resampled_sums",
    "rmse",
    "spearman",
    "ssim",
    "std_ratio",
    "verify",
    "wasserstein",
    "write_comparison",
    "write_summary",
]
