"""Figures of fields, scores and trainings.

Each function returns a ``Figure``, which `save` writes; `animation` and `draw_overview` write their own files.
"""

from dl4ds_core.figures.canvas import land_of
from dl4ds_core.figures.comparison import by_part, quantile_biases
from dl4ds_core.figures.curves import ranking, training_curve
from dl4ds_core.figures.diagram import taylor
from dl4ds_core.figures.distributions import quantile_quantile, scatter_density
from dl4ds_core.figures.domain import domain_map
from dl4ds_core.figures.ensembles import rank_histogram, reliability
from dl4ds_core.figures.explaining import importance, saliency
from dl4ds_core.figures.maps import change_maps, choose_times, example_maps, score_limits, score_maps
from dl4ds_core.figures.moving import animation
from dl4ds_core.figures.overview import STEPS, Moving, Study, draw_overview
from dl4ds_core.figures.places import series_at_places, typical_cells
from dl4ds_core.figures.series import errors_in_time
from dl4ds_core.figures.spectral import spectra
from dl4ds_core.figures.style import save

__all__ = [
    "STEPS",
    "Moving",
    "Study",
    "animation",
    "by_part",
    "change_maps",
    "choose_times",
    "domain_map",
    "draw_overview",
    "errors_in_time",
    "example_maps",
    "importance",
    "land_of",
    "quantile_biases",
    "quantile_quantile",
    "rank_histogram",
    "ranking",
    "reliability",
    "saliency",
    "save",
    "scatter_density",
    "score_limits",
    "score_maps",
    "series_at_places",
    "spectra",
    "taylor",
    "training_curve",
    "typical_cells",
]
