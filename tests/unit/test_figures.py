"""Figures: what is drawn, in any calendar, and equal files for equal figures."""

from __future__ import annotations

from pathlib import Path

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from dl4ds_core import figures
from dl4ds_core.errors import DataError
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
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)


def maps(metrics: tuple[str, ...] = ("rmse", "bias", "std_ratio", "pearson")) -> xr.Dataset:
    truth = field()
    return xr.Dataset(
        {f"t2m_{metric}": truth[0].drop_vars("time").assign_attrs(units="degC") for metric in metrics}
        | {"other_rmse": truth[0].drop_vars("time"), "t2m_count": ((), 3)}
    )


def history(epochs: int = 5) -> pd.DataFrame:
    rmse = [3.0, 1.0, 0.5, 0.7, 0.9][:epochs]
    return pd.DataFrame({"epoch": range(1, epochs + 1), "loss": rmse, "validation_loss": rmse, "validation_rmse": rmse})


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


@pytest.mark.parametrize("shape", [(2, 24, 8), (2, 16, 16), (2, 16, 48)])
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


def test_longitudes_beyond_180_are_west() -> None:
    truth, coarse, prediction = pair(step=1.0)
    text = texts(figures.example_maps(truth, coarse, prediction, truth.time.values[0]))
    assert "8°W" in text
    assert "4°E" in text
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
    assert "best: epoch 3, 0.500" in texts(figures.training_curve(history(), units="degC"))
    assert "RMSE on validation (K)" in texts(figures.training_curve(history(1), units="degC"))


def test_training_curve_of_a_failed_training_has_no_best_epoch() -> None:
    assert "best" not in texts(figures.training_curve(history().assign(validation_rmse=np.nan)))


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
    first, second = (path.read_bytes() for path in sorted((tmp_path / "deep").iterdir()))
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
