"""Figures of fields, scores and trainings. Each function returns a ``Figure``; `save` writes it."""

from dl4ds_core.figures.curves import ranking, training_curve
from dl4ds_core.figures.maps import change_maps, choose_times, example_maps, score_limits, score_maps
from dl4ds_core.figures.style import save

__all__ = [
    "change_maps",
    "choose_times",
    "example_maps",
    "ranking",
    "save",
    "score_limits",
    "score_maps",
    "training_curve",
]
