"""What a network needs of a grid; usable without importing Keras."""

from __future__ import annotations

from dl4ds_core.config.schema import Model


def smallest_fine_size(model: Model, scale: int) -> int:
    """Return the least number of fine cells along each axis that a network can work on.

    A kernel spans three coarse cells; each level of a unet halves the fine grid, which must leave at least one cell.
    """
    needed = 3 * scale
    return max(needed, 2**model.blocks) if model.backbone == "unet" else needed
