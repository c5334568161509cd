"""What a network needs of a grid; usable without importing Keras."""

from __future__ import annotations

from dl4ds_core.config.schema import Model


def smallest_fine_size(model: Model, scale: int, context: int = 0) -> int:
    """Return the least number of fine cells along each axis that a network can work on.

    A kernel spans three coarse cells; each level of a unet halves the fine grid, which must leave at least one cell.
    The cells of the context count as well; at least one coarse cell must be in the domain itself.
    """
    needed = 3 * scale
    needed = max(needed, 2**model.blocks) if model.backbone == "unet" else needed
    return max(needed - 2 * context * scale, scale)
