"""Bringing fields to the grids of an experiment: weights of two engines, remapping, coarsening of predictands."""

from dl4ds_core.regrid.apply import outside_count, to_grid
from dl4ds_core.regrid.entries import coarse_predictand, fine_grid, fine_predictand, open_entry, units_of
from dl4ds_core.regrid.methods import default_method, is_finer
from dl4ds_core.regrid.predictands import cells_left_out, cut_to_blocks, missing_values, on_grid
from dl4ds_core.regrid.static import derived_field, is_land, static_field, without_time
from dl4ds_core.regrid.weights import Weights, cached, make

__all__ = [
    "Weights",
    "cached",
    "cells_left_out",
    "coarse_predictand",
    "cut_to_blocks",
    "default_method",
    "derived_field",
    "fine_grid",
    "fine_predictand",
    "is_finer",
    "is_land",
    "make",
    "missing_values",
    "on_grid",
    "open_entry",
    "outside_count",
    "static_field",
    "to_grid",
    "units_of",
    "without_time",
]
