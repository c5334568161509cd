"""Where the cells of a grid lie on paper: axes, proportions, and lines of latitude and longitude."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.coastline import coastline
from dl4ds_core.grids import Grid, horizontal, projections
from dl4ds_core.grids.projections import library
from dl4ds_core.grids.sphere import EARTH_RADIUS

MISSING = "#DDDDDD"
"""Colour of missing cells: a light grey that no colour scale has."""

_GRATICULE, _COAST = "#333333", "#111111"
_HALO: list[AbstractPathEffect] = [withStroke(linewidth=1.3, foreground="white", alpha=0.6)]
_SHORE: dict[str, Any] = {"colors": _COAST, "linewidths": 0.55, "path_effects": _HALO}
_LAND = ("land_area_fraction", "land_binary_mask")
_MASKED = 0.95  # of the cells of the sea: where these are missing, their grey shows the coast
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 45, 60)  # degrees between two lines of latitude or longitude
_LINES = 5
_MARGIN = 0.1  # of the map, which the text of a line keeps from its edges
_APART = 0.12  # of the map, between two such texts

Mesh = tuple[np.ndarray, np.ndarray]

Coast = np.ndarray | Literal["natural earth"] | None
"""Fractions of land (Y, X), at whose 0.5 the coast is drawn; the coastline of Natural Earth; or none."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """The frame of a map: the cells of one grid, on which fields of other grids of that kind can be drawn too.

    Latitude-longitude, rotated and projected grids are drawn along their own axes. A curvilinear grid has none: it is
    drawn in the equal-area projection around its middle (kilometres, north up), so it may hold a pole or the date line.

    Attributes
    ----------
    grid : Grid
        Its outermost edges are those of the map.
    """

    grid: Grid

    @cached_property
    def edges(self) -> Mesh:
        """Edges of the cells along x and y, in the unit of the map."""
        return self._mesh(self.grid)

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """Lowest and highest x, lowest and highest y."""
        x, y = self.edges
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    @property
    def aspect(self) -> float:
        """Length of a unit of y in units of x: degrees of longitude are shorter than those of latitude."""
        if self.grid.kind not in ("latlon", "rotated"):
            return 1.0
        middle = 0.5 * (self.extent[2] + self.extent[3])
        return 1.0 / max(float(np.cos(np.deg2rad(middle))), 0.1)

    @property
    def ratio(self) -> float:
        """Width of the map over its height, on paper."""
        left, right, bottom, top = self.extent
        return (right - left) / (top - bottom) / self.aspect

    def draw(
        self,
        axes: Axes,
        field: xr.DataArray,
        colours: str,
        limits: tuple[float, float],
        coast: Coast = None,
    ) -> QuadMesh:
        """Draw a field ``(Y, X)`` on any grid of the kind of this one; missing cells are grey.

        The coast, as `coast_of` gives it, is drawn over it; fractions of land are those of this grid's own cells.
        """
        grid = self.grid if field.shape == self.grid.shape else Grid.of(field)
        x, y = self.edges if grid is self.grid else self._mesh(grid)
        values = np.ma.masked_invalid(field.transpose(*horizontal(field)).values)
        shades = matplotlib.colormaps[colours].with_extremes(bad=MISSING)
        mesh = axes.pcolormesh(x, y, values, cmap=shades, vmin=limits[0], vmax=limits[1], rasterized=True)
        if isinstance(coast, str):
            axes.add_collection(LineCollection(self._shore, **_SHORE), autolim=False)
        elif coast is not None:
            self._draw_coast(axes, coast)
        return mesh

    def place(self, lat: float, lon: float, y: float, x: float) -> tuple[float, float]:
        """Return where a point is drawn; ``y`` and ``x``, in the units of the axes, count where the grid has such."""
        if self.grid.vertices is not None:
            across, up = self._on_paper(np.asarray(lat), np.asarray(lon))
            return float(across), float(up)
        return (x / 1000, y / 1000) if self.grid.kind == "projected" else (x, y)

    def centre(self, cell: tuple[int, int]) -> tuple[float, float]:
        """Return where the middle of a cell (row, column) is drawn."""
        x, y = self._centres()
        return float(x[cell]), float(y[cell])

    def frame(self, axes: Axes, title: str) -> None:
        """Set title, extent, proportions and the numbers along the axes."""
        left, right, bottom, top = self.extent
        axes.set_title(title)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_aspect(self.aspect)
        for axis, name, sides in ((axes.xaxis, "x", "EW"), (axes.yaxis, "y", "NS")):
            axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 1.5, 2, 3, 5, 10]))
            if self.grid.kind == "latlon":
                axis.set_major_formatter(FuncFormatter(lambda value, _, sides=sides: degrees(value, sides)))
            else:
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
                axis.set_label_text(self._label(name))
        if self.grid.kind != "latlon":
            self._draw_graticule(axes)

    def _mesh(self, grid: Grid) -> Mesh:
        if grid.vertices is not None:
            return self._on_paper(*(_joined(part) for part in grid.vertices))
        y, x = grid.edges
        return (x / 1000, y / 1000) if grid.kind == "projected" else (x, y)

    @cached_property
    def _projection(self) -> Any:
        lat, lon = np.deg2rad(self.grid.lat), np.deg2rad(self.grid.lon)
        x, y, z = (np.cos(lat) * np.cos(lon)).mean(), (np.cos(lat) * np.sin(lon)).mean(), np.sin(lat).mean()
        middle = {"lat_0": np.rad2deg(np.arctan2(z, np.hypot(x, y))), "lon_0": np.rad2deg(np.arctan2(y, x))}
        return library().Proj(proj="laea", R=EARTH_RADIUS, **middle)

    def _on_paper(self, lat: np.ndarray, lon: np.ndarray) -> Mesh:
        x, y = self._projection(lon, lat)
        return np.asarray(x), np.asarray(y)

    def _label(self, name: str) -> str:
        if self.grid.kind == "rotated":
            return f"rotated {'longitude' if name == 'x' else 'latitude'} (°)"
        if self.grid.kind == "projected":
            return f"{name} (km)"
        return f"{'east' if name == 'x' else 'north'} of the middle (km)"

    def _centres(self) -> Mesh:
        if self.grid.y is None or self.grid.x is None:
            return self._on_paper(self.grid.lat, self.grid.lon)
        factor = 1e-3 if self.grid.kind == "projected" else 1.0
        x, y = np.meshgrid(self.grid.x * factor, self.grid.y * factor)
        return x, y

    def _draw_coast(self, axes: Axes, coast: np.ndarray) -> None:
        if not np.nanmin(coast) < 0.5 < np.nanmax(coast):
            return
        line = axes.contour(*self._centres(), np.ma.masked_invalid(coast), levels=[0.5], colors=_COAST, linewidths=0.55)
        line.set_path_effects(_HALO)

    @cached_property
    def _shore(self) -> list[np.ndarray]:
        """Pieces ``(point, 2)`` of the coastline of Natural Earth, x and y of the map."""
        pieces = []
        for lat, lon in (line.T for line in coastline(self.grid.lat, self.grid.lon)):
            x, y = self._drawn(lat, lon)
            known = np.isfinite(x) & np.isfinite(y)
            points = np.column_stack([x, y])[known]
            # A line that leaves the map on one side and comes back on the other one is two.
            width = self.extent[1] - self.extent[0]
            pieces += np.split(points, np.flatnonzero(np.abs(np.diff(points[:, 0])) > width / 2) + 1)
        return [piece for piece in pieces if len(piece) > 1]

    def _drawn(self, lat: np.ndarray, lon: np.ndarray) -> Mesh:
        """Return where points in degrees are drawn."""
        if self.grid.vertices is not None:
            return self._on_paper(lat, lon)
        if self.grid.kind == "latlon":
            middle = 0.5 * (self.extent[0] + self.extent[1])
            return (lon - middle + 180) % 360 - 180 + middle, lat
        y, x = projections.projected(self.grid.mapping, lat, lon)
        return (x / 1000, y / 1000) if self.grid.kind == "projected" else (x, y)

    def _draw_graticule(self, axes: Axes) -> None:
        """Draw lines of equal latitude and longitude, with their degrees."""
        lat, lon = self.grid.lat, self.grid.lon
        named: list[np.ndarray] = []
        for parallel in _lines(float(lat.min()), float(lat.max())):
            self._draw_line(axes, lat - parallel, degrees(parallel, "NS"), named, along=0)
        middle = float(lon[lon.shape[0] // 2, lon.shape[1] // 2])
        around = (lon - middle + 180) % 360 - 180
        for meridian in _lines(middle + float(around.min()), middle + float(around.max())):
            # Longitudes jump by 360 degrees on the other side of the earth, where there is no line to draw.
            distance = (lon - meridian + 180) % 360 - 180
            distance = np.ma.masked_where(np.abs(distance) > 90, distance)
            self._draw_line(axes, distance, degrees(meridian, "EW"), named, along=1)

    def _draw_line(self, axes: Axes, distance: np.ndarray, text: str, named: list[np.ndarray], *, along: int) -> None:
        """Draw the line where this is 0; its text stands near the left (along 0) or lower (along 1) edge.

        It keeps away from the places of others, as shares of the map; a line without room for it has none.
        """
        if not distance.min() < 0 < distance.max():
            return
        x, y = self._centres()
        line = axes.contour(x, y, distance, levels=[0.0], colors=_GRATICULE, linewidths=0.35)
        line.set_path_effects([withStroke(linewidth=0.9, foreground="white", alpha=0.5)])
        left, right, bottom, top = self.extent
        points = np.asarray(line.get_paths()[0].vertices)
        share = (points - [left, bottom]) / [right - left, top - bottom]
        free = (np.abs(share - 0.5) < 0.5 - _MARGIN).all(axis=1)
        for other in named:
            free &= np.hypot(*(share - other).T) > _APART
        if not free.any():
            return
        points, share = points[free], share[free]
        first = np.argmin(share[:, along])
        place = points[first]
        named.append(share[first])
        label = axes.text(
            place[0], place[1], text, fontsize=5, color=_GRATICULE, ha="center", va="center", clip_on=True
        )
        label.set_path_effects([withStroke(linewidth=1.2, foreground="white", alpha=0.8)])
        label.set_in_layout(False)  # it lies within the map


def land_of(static: xr.Dataset) -> xr.DataArray | None:
    """Return the static field (Y, X) that says which part of a cell is land, by its standard name; None without one."""
    for field in static.data_vars.values():
        if field.attrs.get("standard_name") in _LAND and field.ndim == 2:
            return field.load().clip(0, 1)
    return None


def coast_of(land: xr.DataArray | None, field: xr.DataArray) -> Coast:
    """Return what the coast on the map of a field (Y, X) is drawn by; None where no line is needed.

    That is the fractions of land, or, without such a field, Natural Earth. No line is needed where the field is missing
    over the sea, which is grey then.

    Raises
    ------
    DataError
        If the field of land has other cells than the field, no values, or values beyond 0 and 1.
    """
    if land is None:
        return "natural earth"
    if land.shape != field.shape:
        raise DataError(
            f"field of land: expected a field {dict(field.sizes)} as the map has, found {dict(land.sizes)}; give it "
            "on the grid of the map"
        )
    values = np.asarray(land.values, dtype=np.float64)
    known = values[np.isfinite(values)]
    if not known.size or known.min() < -0.01 or known.max() > 1.01:
        found = f"{known.min():g} to {known.max():g}" if known.size else "no values"
        raise DataError(f"field of land: expected fractions from 0 to 1, found {found}; give it as a fraction")
    sea = values < 0.5
    masked = sea.any() and np.isnan(field.values[sea]).mean() >= _MASKED
    return None if masked else values


def degrees(value: float, sides: str) -> str:
    """Return an angle as a reader expects it: 225 degrees east is 135°W."""
    value = round(value, 6)
    if sides == "EW":
        value = (value + 180) % 360 - 180
    if value in (0, -180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{sides[0] if value > 0 else sides[1]}"


def _lines(low: float, high: float) -> list[float]:
    """Round numbers of degrees between two, five or so."""
    step = next((step for step in _STEPS if (high - low) / step <= _LINES), _STEPS[-1])
    lines = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
    whole = high - low > 359  # 0 and 360 degrees are one line
    return [float(line) for line in lines if not (whole and line >= lines[0] + 360)]


def _joined(corners: np.ndarray) -> np.ndarray:
    """Return the corners of rows of cells, shape (Y + 1, X + 1), from those of each cell, shape (Y, X, 4)."""
    rows, columns, _ = corners.shape
    joined = np.empty((rows + 1, columns + 1))
    joined[:-1, :-1] = corners[..., 0]
    joined[:-1, -1] = corners[:, -1, 1]
    joined[-1, -1] = corners[-1, -1, 2]
    joined[-1, :-1] = corners[-1, :, 3]
    return joined
