"""Simple methods that a network must beat: interpolation, bare or corrected by what the training period shows.

Each method is fitted on the training period only and then applied to coarse fields. Missing coarse cells are filled as
for the networks; steps at which a fine cell is missing don't count for that cell.
"""

from __future__ import annotations

from dl4ds_core.baselines.cells import Predict
from dl4ds_core.baselines.climatology import share_members
from dl4ds_core.baselines.fitting import NEEDS_PREDICTAND, fit_baseline
from dl4ds_core.baselines.quantiles import QUANTILES, Correction, quantile_mapping

__all__ = [
    "NEEDS_PREDICTAND",
    "QUANTILES",
    "Correction",
    "Predict",
    "fit_baseline",
    "quantile_mapping",
    "share_members",
]
