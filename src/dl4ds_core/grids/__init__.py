"""Horizontal grids: cells and their exact areas, cutting out, coarsening; of every kind that files come on."""

from dl4ds_core.grids.boxes import needed_box
from dl4ds_core.grids.coarsening import coarsen, whole_blocks
from dl4ds_core.grids.conventions import with_bounds
from dl4ds_core.grids.cropping import crop
from dl4ds_core.grids.grid import Grid, Kind, horizontal
from dl4ds_core.grids.places import nearest_cells

__all__ = [
    "Grid",
    "Kind",
    "coarsen",
    "crop",
    "horizontal",
    "nearest_cells",
    "needed_box",
    "whole_blocks",
    "with_bounds",
]
