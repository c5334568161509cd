"""Weights by ESMF, through xesmf."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse

from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import vectors
from dl4ds_core.regrid.cdo import goes_round

_METHODS = {"conservative": "conservative", "bilinear": "bilinear", "bicubic": "patch", "nearest": "nearest_s2d"}

#: Corners that neighbouring cells share may differ by this much, radians (about 60 m).
_SLACK = 1e-5


def matrix(source: Grid, target: Grid, method: str, valid: np.ndarray | None) -> sparse.csr_matrix:
    """Return the weights between two grids; shape (target cells, source cells).

    The sides of all cells are great circles, those of latitude-longitude cells too.

    Raises
    ------
    RegridError
        If xesmf or esmpy is missing or fails, or neighbouring cells of a curvilinear grid don't share their corners.

    References
    ----------
    Zhuang, J. et al. xESMF: Universal regridder for geospatial data. doi:10.5281/zenodo.4294774
    """
    xesmf = _library()
    corners = method == "conservative"
    described = _described(source, corners), _described(target, corners)
    if valid is not None:
        described[0]["mask"] = (("y", "x"), valid.astype(np.int32))
    try:
        with warnings.catch_warnings():
            # Arrays are small here: their order in memory is no concern.
            warnings.filterwarnings("ignore", message=".*F_CONTIGUOUS.*")
            made = xesmf.Regridder(*described, _METHODS[method], periodic=goes_round(source), unmapped_to_nan=False)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        what = f"{source.describe()} to {target.describe()}"
        raise RegridError(f"xesmf could not make {method} weights from {what}: {error}") from error
    links = made.weights.data
    return sparse.csr_matrix((links.data, tuple(links.coords)), shape=links.shape)


def _library() -> Any:
    try:
        import_module("esmpy")  # xesmf's own message names neither the reason nor a way out
        return import_module("xesmf")
    except (ImportError, OSError) as error:
        raise RegridError(
            f"the regridding engine xesmf is not available ({error}): it needs esmpy, which is on conda-forge only "
            "(conda install -c conda-forge xesmf); or choose `engine: cdo`"
        ) from error


def _described(grid: Grid, corners: bool) -> xr.Dataset:
    centres = {"lat": (("y", "x"), grid.lat), "lon": (("y", "x"), grid.lon)}
    if corners:
        lat, lon = _mesh(grid)
        centres |= {"lat_b": (("y_b", "x_b"), lat), "lon_b": (("y_b", "x_b"), lon)}
    return xr.Dataset(coords=centres)


def _mesh(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners as points that cells share; shapes (Y + 1, X + 1)."""
    lat, lon = grid.corners
    points = vectors(lat, lon)
    # The first corner is that of lowest Y and X; whether the next is along X or along Y depends on the grid.
    right, above = (1, 3) if np.abs(points[0, 0, 1] - points[0, 1, 0]).max() < _SLACK else (3, 1)
    pairs = ((points[:, :-1, right], points[:, 1:, 0]), (points[:-1, :, above], points[1:, :, 0]))
    if any(np.abs(one - other).max(initial=0.0) > _SLACK for one, other in pairs):
        raise RegridError(
            f"{grid.describe()}: neighbouring cells don't share their corners, which conservative weights of xesmf "
            "need: choose `engine: cdo`, or another method"
        )
    return _joined(lat, right, above), _joined(lon, right, above)


def _joined(part: np.ndarray, right: int, above: int) -> np.ndarray:
    lower = np.concatenate([part[..., 0], part[:, -1:, right]], axis=1)
    upper = np.concatenate([part[-1:, :, above], part[-1:, -1:, 2]], axis=1)
    return np.concatenate([lower, upper], axis=0)
