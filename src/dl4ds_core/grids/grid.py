"""The grid of a field: its cells, whatever their kind, and their exact areas."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import axes, conventions, projections, sphere

Kind = Literal["latlon", "rotated", "projected", "curvilinear"]
Placed = TypeVar("Placed", xr.DataArray, xr.Dataset)


def horizontal(field: xr.DataArray) -> tuple[str, str]:
    """Return the names of the two horizontal dimensions, Y and X, which are the last two."""
    if field.ndim < 2:
        raise DataError(f"{field.name}: expected two horizontal dimensions, found {field.dims}")
    return str(field.dims[-2]), str(field.dims[-1])


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Cells in rows and columns on the sphere; one-dimensional axes are ascending.

    Make one with ``Grid.of``.

    Attributes
    ----------
    kind : {"latlon", "rotated", "projected", "curvilinear"}
        What the axes are: latitude and longitude, those of a rotated pole, those of a map projection, or none.
    dims : tuple of str
        Names of Y and X.
    y, x : numpy.ndarray or None
        Cell centres along the axes, degrees or (projected) metres, shapes (Y,) and (X,); None for curvilinear grids.
    y_bounds, x_bounds : numpy.ndarray or None
        Cell edges, shapes (Y + 1,) and (X + 1,); None for curvilinear grids.
    mapping : dict
        CF attributes of the grid mapping of a rotated or projected grid.
    points : tuple of numpy.ndarray or None
        Latitude and longitude of the centres of a curvilinear grid, degrees, shapes (Y, X).
    vertices : tuple of numpy.ndarray or None
        Latitude and longitude of the corners of a curvilinear grid, degrees, shapes (Y, X, 4), in the order lower
        left, lower right, upper right, upper left with respect to Y and X as they are counted.
    """

    kind: Kind
    dims: tuple[str, str]
    y: np.ndarray | None = None
    x: np.ndarray | None = None
    y_bounds: np.ndarray | None = None
    x_bounds: np.ndarray | None = None
    mapping: dict[str, Any] = field(default_factory=dict)
    points: tuple[np.ndarray, np.ndarray] | None = None
    vertices: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, field: xr.DataArray | xr.Dataset) -> Grid:
        """Return the grid of a field in canonical form, or of a dataset with such coordinates.

        Edges and corners are taken from bounds where there are any, else lie half way between centres.
        Where a grid mapping doesn't reproduce the latitudes and longitudes that are there too (because it is wrong, or
        doesn't say the shape of the earth), these are believed, and the grid is a curvilinear one.

        Raises
        ------
        DataError
            If a coordinate is missing, has fewer than two cells, isn't finite or isn't strictly ascending, or the
            grid mapping can't be used.
        """
        return cls(**conventions.geometry(field))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of cells along Y and X."""
        if self.points is not None:
            return self.points[0].shape[0], self.points[0].shape[1]
        return self.edges[0].size - 1, self.edges[1].size - 1

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges along Y and X.

        Raises
        ------
        DataError
            For a curvilinear grid, which has no axes.
        """
        if self.y_bounds is None or self.x_bounds is None:
            raise DataError("a curvilinear grid has no one-dimensional axes")
        return self.y_bounds, self.x_bounds

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres along Y and X, for grids with axes.

        Raises
        ------
        DataError
            For a curvilinear grid, which has no axes.
        """
        if self.y is None or self.x is None:
            raise DataError("a curvilinear grid has no one-dimensional axes")
        return self.y, self.x

    @property
    def lat(self) -> np.ndarray:
        """Latitude of the centres, degrees north, shape (Y, X)."""
        return self._places[0]

    @property
    def lon(self) -> np.ndarray:
        """Longitude of the centres, degrees east, shape (Y, X)."""
        return self._places[1]

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        if self.points is not None:
            return self.points
        y, x = self.centres
        return self._geographic(y[:, np.newaxis], x[np.newaxis, :])

    def _geographic(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.kind == "latlon":
            lat, lon = np.broadcast_arrays(y, x)
            return lat, lon
        return projections.geographic(self.mapping, y, x)

    @cached_property
    def _corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitude and longitude of corners in the order of Y and X as they are counted, shapes (Y, X, 4)."""
        if self.vertices is not None:
            return self.vertices
        y, x = self.edges
        lat, lon = self._geographic(y[:, np.newaxis], x[np.newaxis, :])
        lat, lon = sphere.grid_corners(lat), sphere.grid_corners(lon)
        return lat, lon if self.kind == "latlon" else sphere.near_centres(lon, self.lon)

    @cached_property
    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitude and longitude of the four corners of each cell, counter-clockwise, degrees, shapes (Y, X, 4).

        The first is the one with the lowest Y and X. Longitudes lie within 180 degrees of that of the centre.
        """
        lat, lon = self._corners
        order = sphere.counter_clockwise(sphere.vectors(lat, lon))
        return lat[..., order], lon[..., order]

    @cached_property
    def cell_areas(self) -> np.ndarray:
        """Area of each cell on the unit sphere, steradians, shape (Y, X)."""
        if self.kind in ("latlon", "rotated"):
            y, x = self.edges
            return np.outer(np.diff(np.sin(np.deg2rad(y))), np.deg2rad(np.diff(x)))
        if self.mapping.get("grid_mapping_name") in projections.EQUAL_AREA:
            y, x = self.edges
            return np.outer(np.diff(y), np.diff(x)) / projections.authalic_radius(self.mapping) ** 2
        return np.abs(sphere.signed_areas(sphere.vectors(*self._corners)))

    @property
    def area(self) -> xr.DataArray:
        """Area of each cell on the unit sphere, steradians, shape (Y, X).

        Exact for latitude-longitude and rotated grids (difference of the sines of the bounds) and for equal-area
        projections (sides over the square of the authalic radius); elsewhere that of the spherical polygon of the
        corners, whose sides are great circles.
        """
        coordinates = {} if self.y is None or self.x is None else dict(zip(self.dims, self.centres, strict=True))
        attributes = {"standard_name": "cell_area", "long_name": "cell area on the unit sphere", "units": "sr"}
        return xr.DataArray(self.cell_areas, coordinates, self.dims, "cell_area", attributes)

    def coarsened(self, scale: int) -> Grid:
        """Return the grid whose cells are blocks of ``scale`` by ``scale`` cells.

        Raises
        ------
        DataError
            If ``scale`` doesn't divide the grid.
        """
        if any(size % scale for size in self.shape):
            raise DataError(f"a grid of {self.shape[0]} x {self.shape[1]} cells can't be coarsened by {scale}")
        if self.points is None:
            y_bounds, x_bounds = (bounds[::scale] for bounds in self.edges)
            y, x = axes.middles(y_bounds), axes.middles(x_bounds)
            return replace(self, y=y, x=x, y_bounds=y_bounds, x_bounds=x_bounds)
        rows, columns = self.shape[0] // scale, self.shape[1] // scale
        blocks = sphere.vectors(*self.points).reshape(rows, scale, columns, scale, 3)
        lat, lon = sphere.degrees(blocks.sum(axis=(1, 3)))
        # The convention of the fine grid is kept: 0 to 360 or -180 to 180.
        lon = axes.near(lon, self.points[1][::scale, ::scale])
        lat_vertices, lon_vertices = (_outer_corners(part, scale) for part in self._corners)
        return replace(self, points=(lat, lon), vertices=(lat_vertices, sphere.near_centres(lon_vertices, lon)))

    def extended(self, context: int) -> Grid:
        """Return the grid with ``context`` more cells on each side, as wide as the outermost ones.

        Raises
        ------
        DataError
            If cells would lie beyond a pole or outside the projection, or the grid is curvilinear.
        """
        if context == 0:
            return self
        if self.kind == "curvilinear":
            raise DataError(
                f"data.context is {context}, but a curvilinear grid can't be continued beyond its edges: set it to 0, "
                "or bring the predictands to another grid with data.grid"
            )
        y_bounds, x_bounds = (axes.extended(bounds, context) for bounds in self.edges)
        if self.kind != "projected" and max(-y_bounds[0], y_bounds[-1]) > 90.0 + 1e-9:
            raise DataError(
                f"data.context: {context} more cells would go beyond a pole: latitudes {y_bounds[0]:g} to "
                f"{y_bounds[-1]:g}; choose a smaller data.domain or data.context"
            )
        y, x = (
            np.concatenate([axes.middles(bounds[: context + 1]), centres, axes.middles(bounds[-context - 1 :])])
            for bounds, centres in zip((y_bounds, x_bounds), self.centres, strict=True)
        )
        larger = replace(self, y=y, x=x, y_bounds=y_bounds, x_bounds=x_bounds)
        larger._geographic(y_bounds[[0, -1, 0, -1]], x_bounds[[0, 0, -1, -1]])  # refuses what can't be shown
        return larger

    def subset(self, rows: slice, columns: slice) -> Grid:
        """Return the grid of some adjoining rows and columns, given by slices without step.

        Raises
        ------
        DataError
            If no cell is left.
        """
        parts = []
        for part, size in zip((rows, columns), self.shape, strict=True):
            start, stop, step = part.indices(size)
            if step != 1 or stop <= start:
                raise DataError(f"expected some of {size} adjoining rows or columns, found {part}")
            parts.append((slice(start, stop), slice(start, stop + 1)))
        (y, y_edges), (x, x_edges) = parts
        if self.points is not None and self.vertices is not None:
            points = self.points[0][y, x], self.points[1][y, x]
            return replace(self, points=points, vertices=(self.vertices[0][y, x], self.vertices[1][y, x]))
        return replace(
            self,
            y=self.centres[0][y],
            x=self.centres[1][x],
            y_bounds=self.edges[0][y_edges],
            x_bounds=self.edges[1][x_edges],
        )

    def same(self, other: Grid) -> bool:
        """Tell whether both have the same cells in the same places, to 1e-5 degrees and float32 rounding.

        Centres are compared: of two files with one grid, often only one has bounds.
        """
        if self.dims != other.dims or self.shape != other.shape:
            return False
        if self.kind == other.kind == "latlon":
            (y, x), (other_y, other_x) = self.centres, other.centres
            shifted = axes.near(other_x, x)
            return bool(
                np.allclose(y, other_y, rtol=1e-7, atol=1e-5)
                and np.allclose(x, shifted, rtol=0, atol=1e-5 + 1e-7 * np.abs(other_x).max())
            )
        distance = np.abs(sphere.vectors(self.lat, self.lon) - sphere.vectors(other.lat, other.lon)).max()
        return bool(distance <= np.deg2rad(4e-5))

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the geometry: equal for equal cells, on any machine."""
        hashed = hashlib.sha256(json.dumps([self.kind, self.shape, self.mapping], sort_keys=True).encode())
        parts = (self.y, self.x, self.y_bounds, self.x_bounds, *(self.points or ()), *(self.vertices or ()))
        for part in parts:
            if part is not None:
                # Rounding, and a sum that turns -0 into 0, so that equal numbers are equal bytes.
                hashed.update((np.round(part, 9) + 0.0).astype("<f8").tobytes())
        return hashed.hexdigest()[:12]

    def coordinates(self) -> dict[str, xr.DataArray]:
        """Return CF coordinates with bounds, and the grid mapping, for a dataset on this grid.

        ``Grid.of`` gives the same grid back from them.
        """
        return conventions.coordinates(self)

    def attributes(self) -> dict[str, str]:
        """Return the attributes that each data variable on this grid needs, as CF wants it."""
        attributes = {} if self.kind == "latlon" else {"coordinates": "lat lon"}
        return attributes | ({"grid_mapping": conventions.MAPPING} if self.mapping else {})

    def placed(self, field: Placed) -> Placed:
        """Return a field or dataset, whose last two dimensions are this grid's, with this grid's coordinates.

        Raises
        ------
        DataError
            If it has another number of cells.
        """
        return conventions.placed(self, field)

    def describe(self) -> str:
        """Return number, kind and size of the cells, as one short text."""
        return conventions.describe(self)

    def cdo_description(self) -> str:
        """Return the grid as text that cdo reads, with the corners of the cells."""
        return conventions.cdo_description(self)


def _outer_corners(corners: np.ndarray, scale: int) -> np.ndarray:
    """Return the corners of blocks of cells, of the corners of cells in the order of ``sphere.grid_corners``."""
    last = scale - 1
    parts = [
        corners[::scale, ::scale, 0],
        corners[::scale, last::scale, 1],
        corners[last::scale, last::scale, 2],
        corners[last::scale, ::scale, 3],
    ]
    return np.stack(parts, axis=-1)
