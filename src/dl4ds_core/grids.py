"""Grids of rectangular cells in latitude and longitude: bounds, exact areas, coarsening."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular or Gaussian latitude-longitude grid, both coordinates ascending.

    Attributes
    ----------
    lat, lon : numpy.ndarray
        Cell centres, degrees; shapes (lat,) and (lon,).
    lat_bounds, lon_bounds : numpy.ndarray
        Cell edges, degrees; shapes (lat + 1,) and (lon + 1,).
    """

    lat: np.ndarray
    lon: np.ndarray
    lat_bounds: np.ndarray
    lon_bounds: np.ndarray

    @classmethod
    def of(cls, field: xr.DataArray | xr.Dataset) -> Grid:
        """Return the grid of a field with coordinates ``lat`` and ``lon``.

        Edges are taken from ``lat_bnds`` and ``lon_bnds`` where the field has them, else lie half way between centres.

        Raises
        ------
        DataError
            If a coordinate has fewer than two cells, isn't strictly ascending or isn't finite.
        """
        edges = {axis: _edges(field, axis) for axis in ("lat", "lon")}
        edges["lat"] = np.clip(edges["lat"], -90.0, 90.0)
        return cls(
            lat=np.asarray(field["lat"], dtype=np.float64),
            lon=np.asarray(field["lon"], dtype=np.float64),
            lat_bounds=edges["lat"],
            lon_bounds=edges["lon"],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along latitude and longitude."""
        return self.lat.size, self.lon.size

    @cached_property
    def lat_weights(self) -> np.ndarray:
        """Difference of the sines of the bounds: proportional to the exact area of a cell; shape (lat,)."""
        return np.diff(np.sin(np.deg2rad(self.lat_bounds)))

    @property
    def area(self) -> xr.DataArray:
        """Exact area of each cell on the unit sphere, steradians; shape (lat, lon)."""
        widths = np.deg2rad(np.diff(self.lon_bounds))
        return xr.DataArray(
            np.outer(self.lat_weights, widths),
            dims=("lat", "lon"),
            coords={"lat": self.lat, "lon": self.lon},
            name="cell_area",
            attrs={"standard_name": "cell_area", "units": "sr"},
        )

    def coarsened(self, scale: int) -> Grid:
        """Return the grid whose cells are blocks of ``scale`` by ``scale`` cells.

        Raises
        ------
        DataError
            If ``scale`` doesn't divide the grid.
        """
        if any(size % scale for size in self.shape):
            raise DataError(f"a grid of {self.shape[0]} x {self.shape[1]} cells can't be coarsened by {scale}")
        lat_bounds, lon_bounds = self.lat_bounds[::scale], self.lon_bounds[::scale]
        return Grid(_middles(lat_bounds), _middles(lon_bounds), lat_bounds, lon_bounds)

    def coordinates(self) -> dict[str, xr.DataArray]:
        """Return CF coordinates with bounds, for a dataset on this grid."""
        described = {
            "lat": {
                "standard_name": "latitude",
                "long_name": "latitude",
                "units": "degrees_north",
                "axis": "Y",
            },
            "lon": {
                "standard_name": "longitude",
                "long_name": "longitude",
                "units": "degrees_east",
                "axis": "X",
            },
        }
        coordinates: dict[str, xr.DataArray] = {}
        for axis, attributes in described.items():
            edges = getattr(self, f"{axis}_bounds")
            pairs = np.stack([edges[:-1], edges[1:]], axis=1)
            coordinates[axis] = xr.DataArray(
                getattr(self, axis), dims=axis, attrs=attributes | {"bounds": f"{axis}_bnds"}
            )
            coordinates[f"{axis}_bnds"] = xr.DataArray(pairs, dims=(axis, "bnds"))
        return coordinates


def coarsen(field: xr.DataArray, grid: Grid, scale: int) -> xr.DataArray:
    """Return area-weighted block means.

    Weights are the exact areas of latitude-longitude cells, so that the area-weighted mean of the field is conserved.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (..., lat, lon), any unit, on ``grid``.
    scale : int
        Cells per block, along each axis.

    Returns
    -------
    xarray.DataArray
        Shape (..., lat / scale, lon / scale), the unit of ``field``, float64, on ``grid.coarsened(scale)``.

    Raises
    ------
    DataError
        If ``scale`` doesn't divide the grid.
    """
    coarse = grid.coarsened(scale)
    blocks = {"lat": scale, "lon": scale}
    weights = grid.area.assign_coords(lat=field["lat"], lon=field["lon"])
    total = (field.astype(np.float64) * weights).coarsen(blocks).reduce(np.sum)
    mean = total / weights.coarsen(blocks).sum().values
    mean = mean.drop_vars(["lat", "lon", "lat_bnds", "lon_bnds"], errors="ignore")
    mean = mean.transpose(*field.dims).assign_coords(lat=coarse.lat, lon=coarse.lon)
    mean.attrs = dict(field.attrs)
    return mean.rename(field.name)


def whole_blocks(shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Return the largest numbers of cells along both axes that ``scale`` divides."""
    return shape[0] // scale * scale, shape[1] // scale * scale


def _middles(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[:-1] + edges[1:])


def _edges(field: xr.DataArray | xr.Dataset, axis: str) -> np.ndarray:
    centres = np.asarray(field[axis], dtype=np.float64)
    if centres.ndim != 1 or centres.size < 2:
        raise DataError(f"expected at least two cells along {axis}, found {centres.size}")
    if not np.all(np.isfinite(centres)) or np.any(np.diff(centres) <= 0):
        raise DataError(f"expected finite, ascending values of {axis}")
    if f"{axis}_bnds" in field.coords:
        pairs = np.asarray(field[f"{axis}_bnds"], dtype=np.float64)
        return np.append(pairs[:, 0], pairs[-1, 1])
    middles = _middles(centres)
    return np.concatenate(
        [[centres[0] - (middles[0] - centres[0])], middles, [centres[-1] + (centres[-1] - middles[-1])]]
    )
