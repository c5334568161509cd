"""Figures of fields, scores and trainings.

Each function returns a ``Figure``, which `save` writes; `animation` writes its own file.
"""

from dl4ds_core.figures.comparison import by_part, quantile_biases
from dl4ds_core.figures.curves import ranking, training_curve
from dl4ds_core.figures.diagram import taylor
from dl4ds_core.figures.distributions import quantile_quantile, scatter_density
from dl4ds_core.figures.maps import change_maps, choose_times, example_maps, score_limits, score_maps
from dl4ds_core.figures.moving import animation
from dl4ds_core.figures.series import errors_in_time
from dl4ds_core.figures.spectral import spectra
from dl4ds_core.figures.style import save

__all__ = [
    "animation",
    "by_part",
    "change_maps",
    "choose_times",
    "errors_in_time",
    "example_maps",
    "quantile_biases",
    "quantile_quantile",
    "ranking",
    "save",
    "scatter_density",
    "score_limits",
    "score_maps",
    "spectra",
    "taylor",
    "training_curve",
]
