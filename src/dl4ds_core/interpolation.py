"""Interpolation from the coarse to the fine grid as one matrix per axis.

The same matrices serve the baselines (numpy) and the networks (a Keras layer), so that "bilinear" means one thing.
Fine cells are evenly spaced within coarse cells; positions are in units of coarse cells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Parameter of Keys's kernel; -0.5 makes it exact for quadratics.
KEYS = -0.5
#: Lobes of the Lanczos window on each side.
LOBES = 3


def interpolation_matrix(method: str, size: int, scale: int, context: int = 0) -> np.ndarray:
    """Return the weights of coarse cells in fine cells, along one axis.

    Each row sums to one. Beyond the outermost centres the field is continued linearly (`nearest` and `area` excepted,
    which repeat the outermost cell), so that `bilinear` and `bicubic` reproduce a linear field up to the edge. Cells of
    context take the place of that continuation as far as they reach.

    Parameters
    ----------
    method : {"nearest", "bilinear", "bicubic", "lanczos", "area"}
        `bicubic` is cubic convolution; `lanczos` has three lobes, its weights divided by their sum; `area` gives each
        fine cell the mean of the coarse cells it covers, which with a whole number of fine cells per coarse cell is
        what `nearest` gives.
    size : int
        Coarse cells along the axis, those of the context included; at least two.
    scale : int
        Fine cells per coarse cell.
    context : int
        Coarse cells at either end that have no fine cells.

    Returns
    -------
    numpy.ndarray
        Shape ((size - 2 * context) * scale, size), float64.

    Raises
    ------
    ValueError
        For an unknown method, a size below two, or a context that leaves no cell.

    References
    ----------
    Keys, R. (1981). Cubic convolution interpolation for digital image processing. doi:10.1109/TASSP.1981.1163711
    Duchon, C. E. (1979). Lanczos filtering in one and two dimensions.
    doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2
    """
    if method not in _KERNELS:
        raise ValueError(f"expected one of {', '.join(_KERNELS)}, found {method!r}")
    if size < 2:
        raise ValueError(f"interpolation needs at least two coarse cells along each axis, found {size}")
    if context < 0 or size <= 2 * context:
        raise ValueError(f"a context of {context} cells at either end leaves none of {size} coarse cells")
    kernel, reach, ghosts = _KERNELS[method]
    positions = (np.arange(context * scale, (size - context) * scale) + 0.5) / scale - 0.5
    nodes = np.arange(-reach, size + reach)
    weights = kernel(positions[:, None] - nodes[None, :])
    return weights / weights.sum(axis=1, keepdims=True) @ ghosts(size, reach)


def _repeated(size: int, reach: int) -> np.ndarray:
    """Return the matrix that repeats the outermost cell ``reach`` times; shape (size + 2 * reach, size)."""
    return np.pad(np.eye(size), ((reach, reach), (0, 0)), mode="edge")


def _continued(size: int, reach: int) -> np.ndarray:
    """Return the matrix that continues the outermost two cells linearly; shape (size + 2 * reach, size)."""
    matrix = np.pad(np.eye(size), ((reach, reach), (0, 0)))
    for step in range(1, reach + 1):
        matrix[reach - step, [0, 1]] = [1 + step, -step]
        matrix[reach + size - 1 + step, [-1, -2]] = [1 + step, -step]
    return matrix


def _nearest(distance: np.ndarray) -> np.ndarray:
    return ((distance >= -0.5) & (distance < 0.5)).astype(np.float64)


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(distance: np.ndarray) -> np.ndarray:
    x = np.abs(distance)
    inner = (KEYS + 2) * x**3 - (KEYS + 3) * x**2 + 1
    outer = KEYS * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _lanczos(distance: np.ndarray) -> np.ndarray:
    return np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)


#: Kernel, cells needed beyond the border, and how they are made from those inside.
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int, Callable[[int, int], np.ndarray]]] = {
    "nearest": (_nearest, 1, _repeated),
    "bilinear": (_linear, 1, _continued),
    "bicubic": (_cubic, 2, _continued),
    "lanczos": (_lanczos, LOBES, _continued),
    "area": (_nearest, 1, _repeated),
}


def interpolated(
    values: np.ndarray,
    method: str,
    scale: int,
    context: int = 0,
    block: tuple[slice, slice] = (slice(None), slice(None)),
) -> np.ndarray:
    """Return values, shape (..., Y, X), interpolated to the fine grid or a block of its rows and columns, float64."""
    matrices = (interpolation_matrix(method, size, scale, context) for size in values.shape[-2:])
    rows, columns = (matrix[part] for matrix, part in zip(matrices, block, strict=True))
    return np.einsum("ij,...jk,lk->...il", rows, values, columns, optimize=True)
