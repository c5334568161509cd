"""The coastline of Natural Earth: from a file as it is installed to the line on a map of any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapefile
import xarray as xr
from grid_kinds import KINDS, field_on
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from dl4ds_core import figures
from dl4ds_core.figures import coastline
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.grids import Grid

BELOW = Path("shapefiles", "natural_earth", "physical")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the shapefiles, empty, and the only one that is looked into."""
    monkeypatch.setenv("CARTOPY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "none"))
    (tmp_path / BELOW).mkdir(parents=True)
    return tmp_path / BELOW


def install(folder: Path, lines: list[list[tuple[float, float]]], scale: str = "110m") -> None:
    """Write a coastline of some lines of longitude and latitude."""
    with shapefile.Writer(str(folder / f"ne_{scale}_coastline"), shapeType=shapefile.POLYLINE) as writer:
        writer.field("name", "C")
        writer.line(lines)
        writer.record("coast")


def shores(axes: Axes) -> list[np.ndarray]:
    return [
        np.asarray(path.vertices)
        for part in axes.collections
        if isinstance(part, LineCollection)
        for path in part.get_paths()
    ]


def through(field: xr.DataArray) -> list[tuple[float, float]]:
    """The centres of the fourth row of cells, as a coastline; longitudes as files have them."""
    grid = Grid.of(field)
    return [((lon + 180) % 360 - 180, lat) for lat, lon in zip(grid.lat[3], grid.lon[3], strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_lies_where_it_should_on_every_kind_of_grid(kind: str, installed: Path) -> None:
    truth = field_on(kind, steps=2)
    install(installed, [through(truth), [(170.0, -60.0), (175.0, -60.0)]])
    figure = figures.example_maps(truth, None, truth + 1, truth.time.values[0])
    x, y = Canvas(Grid.of(truth))._centres()
    for axes in figure.axes[:3]:
        (line,) = shores(axes)
        np.testing.assert_allclose(line, np.column_stack([x[3], y[3]]), rtol=1e-6, atol=1e-6)


def test_a_field_of_land_comes_first(installed: Path) -> None:
    truth = field_on("latlon", steps=2)
    install(installed, [through(truth)])
    land = (truth[0] * 0 + 1).drop_vars("time")
    land[:, :4] = 0
    figure = figures.example_maps(truth, None, truth + 1, truth.time.values[0], land=land)
    assert not shores(figure.axes[0])


def test_the_scale_suits_the_domain_or_is_the_next_one(installed: Path) -> None:
    wide, small = (np.meshgrid(np.linspace(0, size, 5), np.linspace(0, size, 5)) for size in (60.0, 4.0))
    for scale, lat in (("110m", 1.0), ("10m", 3.0)):
        install(installed, [[(0.0, lat), (2.0, lat)]], scale)
    assert coastline.coastline(*wide)[0][0, 0] == 1.0
    assert coastline.coastline(*small)[0][0, 0] == 3.0
    (installed / "ne_10m_coastline.shp").unlink()
    assert coastline.coastline(*small)[0][0, 0] == 1.0
    (installed / "ne_110m_coastline.shp").unlink()
    assert coastline.coastline(*small) == []


def test_what_is_far_away_is_left_out(installed: Path) -> None:
    near = [(float(lon), 5.0) for lon in range(0, 11)]
    install(installed, [[*near, *((float(lon), 5.0) for lon in range(11, 100))], [(-150.0, 5.0), (-149.0, 6.0)]])
    lat, lon = np.meshgrid(np.linspace(0, 10, 11), np.linspace(0, 10, 11), indexing="ij")
    (line,) = coastline.coastline(lat, lon)
    assert line[:, 1].max() < 20
    np.testing.assert_allclose(line[:11, ::-1], near)


def test_the_whole_earth_and_its_seam(installed: Path) -> None:
    """On a map from 0 to 360 degrees a line across Greenwich leaves on one side and comes back on the other."""
    install(installed, [[(-20.0, 10.0), (-10.0, 10.0), (10.0, 10.0), (20.0, 10.0)], [(0.0, -1.0), (0.0, 1.0)]])
    lat, lon = np.arange(-87.5, 90, 5.0), np.arange(2.5, 360, 5.0)
    field = xr.DataArray(
        np.random.default_rng(1).normal(size=(2, lat.size, lon.size)),
        {"time": np.array(["2001-01-01", "2001-01-02"], dtype="M8[ns]"), "lat": lat, "lon": lon},
        ("time", "lat", "lon"),
        "tas",
        {"units": "K"},
    )
    figure = figures.example_maps(field, None, field + 1, field.time.values[0])
    first, second, opposite = shores(figure.axes[0])
    np.testing.assert_allclose(opposite, [(0, -1), (0, 1)])
    np.testing.assert_allclose(first, [(340, 10), (350, 10)])
    np.testing.assert_allclose(second, [(10, 10), (20, 10)])
    assert figure.axes[0].get_xlim() == (0, 360)


@pytest.mark.parametrize("content", [b"", b"no shapefile", bytes(200), None], ids=["empty", "text", "zeros", "cut"])
def test_a_file_that_is_broken_is_no_coastline(
    content: bytes | None, installed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(installed, [[(0.0, float(lat)) for lat in range(90)]])
    path = installed / "ne_110m_coastline.shp"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    truth = field_on("latlon", steps=2)
    figure = figures.example_maps(truth, None, truth + 1, truth.time.values[0])
    assert not shores(figure.axes[0])
    assert "ne_110m_coastline.shp: expected a shapefile" in caplog.text
