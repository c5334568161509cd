"""What a network needs of a grid; usable without importing Keras."""

from __future__ import annotations

from dl4ds_core.config.models import Model
from dl4ds_core.config.training import Denoiser

#: Cells along each axis that interpolation is between.
BETWEEN = 2


def smallest_for_denoiser(settings: Denoiser) -> int:
    """Return the least number of fine cells along each axis of which the last level of a denoiser still has two."""
    return 2 ** (settings.levels - 1) + 1


def smallest_fine_size(model: Model, scale: int, context: int = 0) -> int:
    """Return the least number of fine cells along each axis that a network can work on: a multiple of the scale.

    Interpolation is between two coarse cells, and convolutions pad the grid as far as they reach. So two coarse cells
    are enough, one of them in the domain itself; those of the context count as well.

    A unet pads what it can't halve, but each of its levels must still have two cells to make one of: on a smaller grid
    the last level would add nothing. With ``upsampling: pin`` it works on the fine grid, else on the coarse one.

    Parameters
    ----------
    model : Model
        The section ``models.<name>`` of the configuration.
    scale : int
        Fine cells per coarse cell, along each axis.
    context : int
        Coarse cells around the domain.
    """
    needed = BETWEEN
    if model.backbone == "unet":
        cells = 2 ** (model.blocks - 1) + 1
        needed = max(needed, -(-cells // scale) if model.upsampling == "pin" else cells)
    return max(needed - 2 * context, 1) * scale
