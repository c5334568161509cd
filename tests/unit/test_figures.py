"""Figures: what is drawn, in any calendar, and equal files for equal figures."""

from __future__ import annotations

from pathlib import Path

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from dl4ds_core import figures, io
from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import MISSING
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.verification import METRICS, complete_rows


def field(shape: tuple[int, int, int] = (6, 8, 12), step: float = 0.25, calendar: str = "standard") -> xr.DataArray:
    values = np.random.default_rng(0).normal(280, 5, shape)
    if calendar == "standard":
        time: object = pd.date_range("2019-03-01", periods=shape[0], freq="h")
    else:
        time = [cftime.Datetime360Day(2040 + year, 2, 30) for year in range(shape[0])]
    return xr.DataArray(
        values,
        dims=("time", "lat", "lon"),
        coords={
            "time": time,
            "lat": 50 + step * np.arange(shape[1]),
            "lon": 350 + step * np.arange(shape[2]),
        },
        name="t2m",
        attrs={"units": "degC", "long_name": "temperature $x$"},
    )


def pair(**options: object) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    truth = field(**options)  # type: ignore[arg-type]
    prediction = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    prediction[3] += 2
    coarse = truth.coarsen(lat=4, lon=4).mean().assign_attrs(truth.attrs)
    return truth, coarse, prediction.assign_attrs(truth.attrs)


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    found = [text.get_text() for text in figure.findobj(Text)]
    return "\n".join(found)


def maps(metrics: tuple[str, ...] = ("rmse", "bias", "std_ratio", "pearson")) -> xr.Dataset:
    truth = field()
    return xr.Dataset(
        {f"t2m_{metric}": truth[0].drop_vars("time").assign_attrs(units="degC") for metric in metrics}
        | {name: truth[0].drop_vars("time") for name in ("other_rmse", "t2m_max_rmse")}
        | {"t2m_count": ((), 3)}
    )


def history(epochs: int = 5) -> pd.DataFrame:
    rmse = [3.0, 1.0, 0.5, 0.7, 0.9][:epochs]
    kept = [int(value == min(rmse)) for value in rmse]
    scores = {"loss": rmse, "validation_loss": rmse, "validation_rmse": rmse}
    return pd.DataFrame({"epoch": range(1, epochs + 1), **scores, "kept": kept})


def summary() -> pd.DataFrame:
    rows = []
    for model, seed, value in (("net", 1, 0.5), ("net", 2, 0.7), ("net", 3, 0.6), ("bicubic", 0, 0.55)):
        row = pd.DataFrame({"variable": ["t2m"], "metric": "rmse", "unit": "degC", "value": value})
        row = row.assign(lower=value - 0.1, upper=value + 0.1)
        rows.append(complete_rows(row, model=model, seed=seed, split="test"))
    return pd.concat(rows)


def test_times_are_the_largest_error_and_one_that_all_models_share() -> None:
    truth, _, prediction = pair()
    chosen = figures.choose_times(truth, prediction)
    assert chosen["largest-error"] == truth.time.values[3]
    assert chosen["largest-value"] == truth.time.values[np.argmax(truth.max(("lat", "lon")).values)]
    assert chosen["random"] == figures.choose_times(truth, prediction + 1)["random"]
    assert len({figures.choose_times(truth, prediction, seed=seed)["random"] for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("options", "time"),
    [({}, "2019-03-01 03:00"), ({"calendar": "360_day", "step": 2.0}, "2043-02-30 (360_day calendar)")],
)
def test_example_maps_have_one_scale_for_the_fields_and_a_symmetric_one_for_the_error(
    options: dict[str, object], time: str
) -> None:
    truth, coarse, prediction = pair(**options)
    figure = figures.example_maps(truth, coarse, prediction, truth.time.values[3])
    text = texts(figure)
    assert time in text
    assert "Temperature $x$ (°C)" in text
    assert "Error (K); RMSE" in text
    meshes = [axes.collections[0] for axes in figure.axes[:4]]
    assert len({mesh.get_clim() for mesh in meshes[:3]}) == 1
    low, high = meshes[3].get_clim()
    assert low == -high
    np.testing.assert_allclose(meshes[3].get_array(), prediction[3] - truth[3])


@pytest.mark.parametrize("shape", [(2, 24, 8), pytest.param((2, 16, 16), marks=pytest.mark.full), (2, 16, 48)])
def test_nothing_lies_outside_the_figure(shape: tuple[int, int, int]) -> None:
    truth, coarse, prediction = pair(shape=(4, *shape[1:]))
    scores = xr.Dataset(
        {f"t2m_{name}": truth[0].drop_vars("time") for name in ("bias", "mae", "rmse", "ssim", "pearson")}
    )
    for figure in (
        figures.example_maps(truth, coarse, prediction, truth.time.values[0]),
        figures.score_maps(scores, "t2m"),
        figures.ranking(summary(), "t2m", networks=["net"]),
        figures.training_curve(history(), units="K"),
    ):
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert box.x0 > -0.01
        assert box.y0 > -0.01
        assert box.x1 < width + 0.01
        assert box.y1 < height + 0.01


@pytest.mark.parametrize("with_coarse", [True, False])
@pytest.mark.parametrize("units", [pytest.param("degC", marks=pytest.mark.full), "mm d-1"])  # the longer one
@pytest.mark.parametrize(
    "shape", [(16, 16), *(pytest.param(shape, marks=pytest.mark.full) for shape in ((24, 32), (28, 24))), (16, 48)]
)
def test_titles_do_not_lie_over_each_other(shape: tuple[int, int], units: str, with_coarse: bool) -> None:
    truth, coarse, prediction = pair(shape=(4, *shape))
    for field in (truth, coarse, prediction):
        field.attrs["units"] = units
    figure = figures.example_maps(truth, coarse if with_coarse else None, prediction, truth.time.values[0])
    figure.draw_without_rendering()
    assert figure._suptitle is not None
    lowest = figure._suptitle.get_window_extent().y0
    assert all(axis.title.get_window_extent().y1 < lowest for axis in figure.axes if axis.get_title())


def test_longitudes_beyond_180_are_west() -> None:
    truth, coarse, prediction = pair(step=1.0)
    text = texts(figures.example_maps(truth, coarse, prediction, truth.time.values[0]))
    assert "9°W" in text
    assert "3°E" in text
    assert "50°N" in text


def test_score_maps_show_each_score_of_the_predictand_with_the_limits_given() -> None:
    figure = figures.score_maps(maps(), "t2m", limits={"rmse": (0.0, 3.0)})
    panels = {axes.get_title(): axes.collections[0] for axes in figure.axes if axes.get_title()}
    names = [METRICS[metric].long_name for metric in ("bias", "rmse", "pearson", "std_ratio")]
    assert [title.lower() for title in panels] == [f"{name} (k)".lower() for name in names]
    assert panels["RMSE (K)"].get_clim() == (0.0, 3.0)
    low, high = panels["Bias (K)"].get_clim()
    assert low == -high


def test_limits_suit_all_models() -> None:
    own, other = maps(("rmse",)), maps(("rmse", "mae")) + 100
    limits = figures.score_limits([own, other], "t2m")
    assert set(limits) == {"rmse", "mae"}
    assert limits["rmse"][0] < 300 < limits["rmse"][1]


def test_fields_without_range_or_values_can_be_drawn() -> None:
    truth, coarse, _ = pair()
    constant = truth * 0 + 1
    figure = figures.example_maps(constant, coarse * 0 + 1, constant.where(constant.lon < 351), truth.time.values[0])
    low, high = figure.axes[0].collections[0].get_clim()
    assert low < 1 < high


def test_training_curve_marks_the_best_epoch() -> None:
    assert "kept: epoch 3, 0.500" in texts(figures.training_curve(history(), units="degC"))
    assert "RMSE on validation (K)" in texts(figures.training_curve(history(1), units="degC"))


def test_training_curve_of_a_failed_training_has_no_best_epoch() -> None:
    assert "kept" not in texts(figures.training_curve(history().assign(validation_rmse=np.nan, kept=0)))


def test_training_curve_is_broken_where_another_network_joins() -> None:
    joined = history().assign(denoising_loss=[np.nan, np.nan, *history()["loss"][2:]])
    figure = figures.training_curve(joined)
    left, right = figure.axes
    assert "the network alone until here" in texts(figure)
    assert {tuple(line.get_xdata()) for line in right.lines[:2]} == {(1, 2), tuple(history()["epoch"][2:])}
    assert [list(line.get_xdata()) for line in left.lines if len(set(line.get_xdata())) == 1] == [[2.5, 2.5]]
    assert "alone" not in texts(figures.training_curve(history()))


def test_training_curve_marks_the_epoch_that_was_kept_by_another_metric() -> None:
    kept = history().assign(kept=[0, 0, 0, 1, 0])
    assert "kept: epoch 4, 0.700" in texts(figures.training_curve(kept, units="degC"))


def test_ranking_has_the_best_median_on_top_and_a_dot_per_seed() -> None:
    figure = figures.ranking(summary(), "t2m", networks=["net"], confidence=0.8)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bicubic", "net"]
    assert any(len(line.get_xdata()) == 3 for line in axes.get_lines())
    text = texts(figure)
    assert "80% interval" in text
    assert "RMSE of t2m on test (K)" in text


def test_equal_figures_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        figures.save(figures.training_curve(history()), tmp_path / "deep" / name)
    for kind in ("png", "pdf"):
        first, second = ((tmp_path / "deep" / f"{name}.{kind}").read_bytes() for name in "ab")
        assert first == second
        assert b"matplotlib" not in first.lower()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.choose_times(field(), field()[1:]), "same shape and times"),
        (lambda: figures.choose_times(field(), field() * np.nan), "no cell in common"),
        (lambda: figures.example_maps(*pair(), np.datetime64("2031-01-01", "ns")), "none at that time"),
        (lambda: figures.score_maps(maps(), "pr"), "expected maps named pr_<metric>"),
        (lambda: figures.training_curve(history().drop(columns="loss")), "expected columns epoch, loss"),
        (lambda: figures.training_curve(history()[:0]), "0 epochs"),
        (lambda: figures.ranking(summary(), "pr", networks=[]), "of pr on test"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]


def on_grid(kind: str) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Truth with missing cells, coarse field, and a prediction that is absurd where the truth is missing."""
    truth = field_on(kind, steps=4)
    gaps = np.zeros(truth.shape, dtype=bool)
    gaps[:, :5, :4] = True
    gaps[1, 10, 10] = True
    truth = truth.where(~gaps)
    prediction = (truth + 1).fillna(1e9).assign_attrs(truth.attrs)
    coarse, _ = coarsen(truth, Grid.of(truth), 4)
    return truth, coarse, prediction


def limits_of(axes: Axes) -> tuple[float, float, float, float]:
    return (*axes.get_xlim(), *axes.get_ylim())


EXTENTS = {  # half a cell beyond the first and last centres of `field_on`
    "latlon": (-5.25, 4.75, 39.875, 43.875),
    "rotated": (-12.25, -2.25, -8.25, -0.25),
    "projected": (4090.0, 4490.0, 2390.0, 2710.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_maps_on_every_kind_of_grid(kind: str) -> None:
    truth, coarse, prediction = on_grid(kind)
    figure = figures.example_maps(truth, coarse, prediction, truth.time.values[1])
    text = texts(figure)
    for axes in figure.axes[:4]:
        if kind == "curvilinear":
            # The projected grid with false origin: 20 by 16 cells of 20 km, turned by some degrees, around its middle.
            left, right, bottom, top = limits_of(axes)
            assert 400 < right - left < 460
            assert 320 < top - bottom < 390
            assert left + right == pytest.approx(0, abs=10)
        else:
            np.testing.assert_allclose(limits_of(axes), EXTENTS[kind], rtol=1e-12)
    middle = {"latlon": 41.875, "rotated": -4.25}.get(kind)
    expected = 1.0 if middle is None else 1 / np.cos(np.deg2rad(middle))
    assert figure.axes[0].get_aspect() == pytest.approx(expected)
    names = {
        "latlon": ["3°W", "42°N"],
        "rotated": ["rotated longitude (°)", "rotated latitude (°)", "46°N", "5°E"],
        "projected": ["x (km)", "y (km)", "45°N", "8°E"],
        "curvilinear": ["east of the middle (km)", "north of the middle (km)", "45°N", "8°E"],
    }
    assert all(name in text for name in names[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_missing_cells_are_grey_and_count_in_no_scale(kind: str) -> None:
    truth, coarse, prediction = on_grid(kind)
    assert set(figures.choose_times(truth, prediction)) == {"largest-error", "largest-value", "random"}
    figure = figures.example_maps(truth, coarse, prediction, truth.time.values[1])
    meshes = [axes.collections[0] for axes in figure.axes[:4]]
    missing = truth[1].isnull().values
    for mesh in (meshes[0], meshes[2], meshes[3]):
        np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()).reshape(missing.shape), missing)
        assert tuple(mesh.cmap.get_bad()) == to_rgba(MISSING)
    assert meshes[1].get_array().mask.any()
    assert meshes[0].get_clim()[1] == pytest.approx(float(truth[1].max()) + 1)
    assert meshes[3].get_clim() == pytest.approx((-1, 1))
    assert "RMSE 1.00 K" in texts(figure)


def test_cells_of_a_curvilinear_grid_lie_where_the_projection_has_them() -> None:
    """Truth, drawn from latitudes and longitudes alone, has the distances of the projection that it was made with."""
    truth, coarse, prediction = on_grid("curvilinear")
    figure = figures.example_maps(truth, coarse, prediction, truth.time.values[1])
    for axes, cells, size in ((figure.axes[0], (16, 20), 20.0), (figure.axes[1], (4, 5), 80.0)):
        points = axes.collections[0].get_coordinates()
        assert points.shape == (cells[0] + 1, cells[1] + 1, 2)
        for axis in (0, 1):
            sides = np.linalg.norm(np.diff(points, axis=axis), axis=-1)
            np.testing.assert_allclose(sides, size, rtol=0.02)


def test_a_step_without_truth_is_not_chosen() -> None:
    truth, _, prediction = on_grid("latlon")
    truth[[0, 2, 3]] = np.nan
    chosen = figures.choose_times(truth, prediction, seed=3)
    assert set(chosen.values()) == {truth.time.values[1]}


def test_errors_are_weighted_by_area_over_valid_cells() -> None:
    truth, coarse, prediction = on_grid("latlon")
    prediction = prediction + (truth["lat"] - 40)
    figure = figures.example_maps(truth, coarse, prediction, truth.time.values[1])
    error = np.ma.masked_invalid((prediction[1] - truth[1]).values)
    edges = np.deg2rad(np.append(truth["lat"] - 0.125, truth["lat"][-1] + 0.125))
    weights = np.broadcast_to(np.diff(np.sin(edges))[:, None], error.shape)
    assert f"RMSE {np.sqrt(np.ma.average(error**2, weights=weights)):#.3g} K" in texts(figure)


@pytest.mark.parametrize("shape", [(16, 20), (16, 40)])
def test_without_a_coarse_field_there_are_three_maps(shape: tuple[int, int]) -> None:
    truth = field_on("projected", steps=2, rows=shape[0], columns=shape[1])
    figure = figures.example_maps(truth, None, truth + 0.5, truth.time.values[0])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["Truth", "Prediction", "Error: prediction − truth"]
    figure.draw_without_rendering()
    assert figure.get_tightbbox().x1 < figure.get_size_inches()[0] + 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_score_maps_on_every_kind_of_grid(kind: str) -> None:
    truth, _, _ = on_grid(kind)
    fields = {f"tas_{name}": truth[1].drop_vars("time") for name in ("rmse", "bias", "ssim", "mae", "pearson")}
    figure = figures.score_maps(Grid.of(truth).placed(xr.Dataset(fields)), "tas")
    maps_drawn = [axes for axes in figure.axes if axes.get_title()]
    assert len(maps_drawn) == 5
    if kind in EXTENTS:
        np.testing.assert_allclose(limits_of(maps_drawn[0]), EXTENTS[kind], rtol=1e-12)
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x1 < width + 0.01
    assert box.y1 < height + 0.01


def test_a_domain_with_the_pole_and_one_across_the_date_line(tmp_path: Path) -> None:
    """Both curvilinear: no cell is torn apart, and meridians have their names."""
    x, y = np.meshgrid(np.linspace(-2e6, 2.2e6, 22), np.linspace(-1.5e6, 1.6e6, 18))
    angle, distance = np.rad2deg(np.arctan2(x, -y)), np.rad2deg(np.hypot(x, y) / 6.371e6)
    pole = {"lat": (("y", "x"), 90 - distance), "lon": (("y", "x"), angle)}
    rows, columns = np.meshgrid(np.arange(18.0), np.arange(22.0), indexing="ij")
    line = {"lat": (("y", "x"), -20 + rows), "lon": (("y", "x"), (170 + columns + 180) % 360 - 180)}
    for coordinates, longest, meridian in ((pole, 220, "60°E"), (line, 130, "180°")):
        field = xr.DataArray(rows + columns, coordinates, ("y", "x"), attrs={"units": "1"})
        figure = figures.score_maps(xr.Dataset({"tas_rmse": field}), "tas")
        points = figure.axes[0].collections[0].get_coordinates()
        for axis in (0, 1):
            assert np.linalg.norm(np.diff(points, axis=axis), axis=-1).max() < longest
        assert meridian in texts(figure)
        figures.save(figure, tmp_path / "map.png")


REAL = {
    "climate4r-iberia/cordex_eur44_racmo22e_historical_djf_1983-1992.nc": "tas",
    "eobs-iberia/eobs_pr_0.25deg_djf_1990-2000.nc": "pr",
    "po-basin-5km/ta6_5km_6hourly_1951-01.nc": "ta6",
    "quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc": "tasmax",
}


# One on a projection, one with a rotated pole and another calendar; latitudes and longitudes are in all tests above.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if "crcm5" in path or "po-basin" in path else pytest.mark.full) for path in REAL],
)
def test_real_fields(path: str, data_dir: Path, tmp_path: Path) -> None:
    truth = io.open_variable(data_dir / path, REAL[path]).isel(time=slice(0, 3))
    prediction = truth * 1.001
    prediction.attrs = truth.attrs
    chosen = figures.choose_times(truth, prediction)
    figures.save(figures.example_maps(truth, None, prediction, chosen["random"]), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_change_maps_on_any_grid(kind: str) -> None:
    field = field_on(kind, 2)
    field[:, :4, :4] = np.nan
    later, coarse = field[0].drop_vars("time"), field[1].drop_vars("time").fillna(0.0)
    changes = {
        "tas_change": (later - 10).assign_attrs(units="K"),
        "tas_coarse_change": (coarse - 10).assign_attrs(units="K"),
        "tas_true_change": (later - 9).assign_attrs(units="K"),
    }
    dataset = Grid.of(field).placed(xr.Dataset(changes))
    figure = figures.change_maps(dataset, "tas")
    text = texts(figure)
    assert "Change of the mean (K)" in text
    panels = {axes.get_title(): axes.collections[0] for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["Predicted", "Truth", "Coarse inputs"]
    assert len({mesh.get_clim() for mesh in panels.values()}) == 1
    low, high = panels["Predicted"].get_clim()
    assert low == -high
    for title, name in (("Predicted", "tas_change"), ("Coarse inputs", "tas_coarse_change")):
        shown = np.ma.getmaskarray(panels[title].get_array()).reshape(later.shape)
        assert shown[:4, :4].all(), "no change is shown where none is predicted"
        assert not shown[4:, 4:].any()
        drawn = np.ma.compressed(panels[title].get_array())
        np.testing.assert_allclose(np.sort(drawn), np.sort(changes[name].values[~np.isnan(later.values)]))


def test_changes_of_one_sign_have_one_colour_and_the_unit_of_a_difference() -> None:
    field = field_on("latlon", 1)[0].drop_vars("time")
    change = (abs(field) + 1).assign_attrs(units="K")
    dataset = Grid.of(field).placed(xr.Dataset({"tas_change": change}))
    figure = figures.change_maps(dataset, "tas")
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["Predicted"]
    low, high = figure.axes[0].collections[0].get_clim()
    assert 0 <= low < high
