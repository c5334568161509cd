"""Figures that compare models: what a reader sees of scores, distributions, coasts and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cftime
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawn import lines, require_readable, spectrum, text_of, texts
from grid_kinds import KINDS, field_on
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from PIL import Image

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.figures.looks import TRUTH, looks
from dl4ds_core.figures.sampling import valid_values
from dl4ds_core.grids import Grid
from dl4ds_core.time import spread_steps
from dl4ds_core.verification import METRICS

NETWORKS = [f"local_neighbourhood-{number}" for number in range(1, 8)]
BASELINES = ["climatology", "bilinear", "bicubic", "bilinear-corrected", "regression"]
MODELS = [*NETWORKS, *BASELINES]


def segments(axes: Axes) -> list[np.ndarray]:
    return [
        np.asarray(segment)
        for collection in axes.collections
        if type(collection) is LineCollection
        for segment in collection.get_segments()
    ]


def bias_rows(models: list[str] = MODELS, seeds: int = 1) -> pd.DataFrame:
    rows = [
        {"model": model, "metric": "quantile_bias", "threshold": percentile, "value": value, "seed": seed}
        | {"lower": value - 0.25, "upper": value + 0.5}
        for place, model in enumerate(models)
        for seed in range(seeds)
        for percentile in (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
        for value in [place + percentile / 100 + seed**2]
    ]
    return pd.DataFrame(rows)


def part_rows(column: str, parts: list[str], models: list[str] = MODELS) -> pd.DataFrame:
    rows = [
        {"model": model, "metric": "rmse", column: part, "value": value, "lower": value - 0.25, "upper": value + 0.5}
        for place, model in enumerate(models)
        for number, part in enumerate(parts)
        for value in [1 + place / 10 + number]
    ]
    return pd.DataFrame(rows)


def series(time: object, value: float = 1.0) -> xr.DataArray:
    steps = len(time)  # type: ignore[arg-type]
    values = value + np.random.default_rng(3).random(steps)
    return xr.DataArray(values, {"time": time}, ["time"], attrs={"long_name": "RMSE of temperature"})


def fields(steps: int = 30, rows: int = 6, columns: int = 8) -> tuple[xr.DataArray, xr.DataArray]:
    truth = field_on("latlon", steps, rows, columns)
    prediction = (0.5 * truth + 5 + np.random.default_rng(2).normal(size=truth.shape)).assign_attrs(truth.attrs)
    truth[:, 0, :2] = np.nan
    prediction[:, 1, 1] = np.nan
    return truth, prediction


def taylor_rows(models: list[str] = MODELS, *, close: bool = False) -> dict[str, tuple[float, float]]:
    far = 0.1 if close else 1.0
    return {model: (1 - far * 0.05 * place, 1 - far * 0.06 * (1 + place)) for place, model in enumerate(models)}


class TestLooks:
    def test_a_model_looks_the_same_whatever_else_is_shown(self) -> None:
        everything = looks(reversed(MODELS), NETWORKS)
        assert list(everything)[: len(NETWORKS)] == NETWORKS
        for model in MODELS:
            assert looks([model], NETWORKS)[model] == everything[model]

    def test_networks_and_baselines_differ_and_no_two_models_look_alike(self) -> None:
        shown = looks(MODELS, NETWORKS)
        assert len({(look.colour, look.marker) for look in shown.values()}) == len(MODELS)
        cool, warm = ({shown[name].colour for name in names} for names in (NETWORKS, BASELINES))
        assert not cool & warm
        for name, look in shown.items():
            assert (look.line["linestyle"] == "-") == (name in NETWORKS)
            assert (look.dot["markerfacecolor"] == "white") == (name in BASELINES)

    def test_a_set_of_networks_is_ordered_by_name(self) -> None:
        assert looks(MODELS, set(NETWORKS)) == looks(MODELS, NETWORKS)


MAKERS: dict[str, Callable[[list[str]], Figure]] = {
    "spectra": lambda models: figures.spectra(
        {model: spectrum(0.9**place) for place, model in enumerate(models)},
        spectrum(),
        networks=NETWORKS,
        units="kg m-2 s-1",
        coarse_km=100.0,
    ),
    "quantile biases": lambda models: figures.quantile_biases(bias_rows(models), networks=NETWORKS, unit="K"),
    "taylor": lambda models: figures.taylor(taylor_rows(models), networks=NETWORKS),
    "taylor, close": lambda models: figures.taylor(taylor_rows(models, close=True), networks=NETWORKS),
    "taylor, negative": lambda models: figures.taylor(
        {model: (1.2, -0.05 * place) for place, model in enumerate(models, 1)}, networks=NETWORKS
    ),
    "in time": lambda models: figures.errors_in_time(
        {model: series(pd.date_range("2000-01-01", periods=400)) for model in models}, networks=NETWORKS, units="degC"
    ),
    "seasons": lambda models: figures.by_part(
        part_rows("season", ["", "DJF", "JJA"], models), networks=NETWORKS, unit="K", column="season"
    ),
    "regions": lambda models: figures.by_part(
        part_rows("region", ["mountains_above_1000m", "coast"], models), networks=NETWORKS, unit="K", column="region"
    ),
    "quantiles": lambda models: figures.quantile_quantile(
        fields()[0], {model: fields()[1] for model in models}, units="degC", networks=NETWORKS
    ),
}


@pytest.mark.parametrize("models", [MODELS, NETWORKS[:1]], ids=["12", "1"])
@pytest.mark.parametrize("kind", list(MAKERS))
def test_text_can_be_read(kind: str, models: list[str]) -> None:
    figure = MAKERS[kind](models)
    require_readable(figure)
    assert set(models) <= {text.get_text() for text in figure.legends[0].get_texts()}


class TestSpectra:
    def figure(self) -> Figure:
        models = {"net": spectrum(0.5), "bilinear": spectrum(0.125)}
        return figures.spectra(models, spectrum(), networks=["net"], units="degC", coarse_km=80.0)

    def test_powers_and_ratios_by_wavenumber(self) -> None:
        above, below = self.figure().axes
        for axes, net, simple in ((above, spectrum(0.5), spectrum(0.125)), (below, 0.5, 0.125)):
            drawn = lines(axes)
            for name, expected in (("net", net), ("bilinear", simple)):
                np.testing.assert_allclose(drawn[name].get_xdata(), spectrum()["wavenumber"])
                np.testing.assert_allclose(drawn[name].get_ydata(), np.broadcast_to(expected, 32))
            assert axes.get_xscale() == axes.get_yscale() == "log"
        low, high = below.get_ylim()
        assert low < 0.125
        assert high > 1

    def test_the_truth_is_black_and_thick(self) -> None:
        figure = self.figure()
        truth = lines(figure.axes[0])["truth"]
        np.testing.assert_allclose(truth.get_ydata(), spectrum())
        assert truth.get_color() == TRUTH
        assert truth.get_linewidth() > 2 * max(
            lines(figure.axes[0])[name].get_linewidth() for name in ("net", "bilinear")
        )

    def test_units_wavelengths_and_the_shortest_coarse_wave(self) -> None:
        figure = self.figure()
        text = text_of(figure).split("\n")
        assert {"power (K²)", "wavenumber (km⁻¹)", "wavelength (km)", "shortest coarse wave, 80 km"} <= set(text)
        assert {"500", "200", "100", "50"} <= set(text)
        assert not any("$" in part for part in text)
        lengths = figure.axes[0].child_axes[0]
        for length in (50.0, 500.0):
            place = lengths.transData.transform((length, 0.5))[0]
            assert place == pytest.approx(figure.axes[0].transData.transform((1 / length, 1.0))[0])
        for axes in figure.axes:
            assert any(np.allclose(line.get_xdata(), 1 / 80) for line in axes.get_lines())

    def test_without_coarse_waves_and_with_undefined_powers(self) -> None:
        dead = spectrum().where(spectrum()["wavenumber"] < 0.02, 0.0)
        figure = figures.spectra({"net": dead}, spectrum(), networks=["net"], units="mm d-1")
        assert "power ((mm d⁻¹)²)" in text_of(figure)
        drawn = np.asarray(lines(figure.axes[1])["net"].get_ydata())
        np.testing.assert_array_equal(np.isnan(drawn), spectrum()["wavenumber"] >= 0.02)


class TestRows:
    def test_biases_are_medians_over_seeds_with_whiskers(self) -> None:
        figure = figures.quantile_biases(bias_rows(["net", "bilinear"], seeds=3), networks=["net"], unit="degC")
        axes, drawn = figure.axes[0], lines(figure.axes[0])
        percentiles = np.array([1, 5, 25, 50, 75, 95, 99])
        np.testing.assert_allclose(drawn["net"].get_ydata(), 1 + percentiles / 100)
        np.testing.assert_allclose(drawn["bilinear"].get_ydata(), 2 + percentiles / 100)
        np.testing.assert_allclose(np.round(np.asarray(drawn["net"].get_xdata(), dtype=float)), np.arange(7))
        ends = np.array([segment[:, 1] for segment in segments(axes)])
        np.testing.assert_allclose(ends[:7], np.stack([0.75 + percentiles / 100, 1.5 + percentiles / 100], axis=1))
        assert [label.get_text() for label in axes.get_xticklabels()] == [str(value) for value in percentiles]
        text = text_of(figure)
        assert "bias of the percentile (K)" in text
        assert "percentile (%)" in text
        assert "90% interval" in text

    def test_without_intervals_there_are_only_lines(self) -> None:
        rows = bias_rows(["net"]).assign(lower=np.nan, upper=np.nan)
        assert "interval" not in text_of(figures.quantile_biases(rows, networks=["net"]))

    def test_seasons_have_a_dot_per_model_the_whole_year_first(self) -> None:
        rows = part_rows("season", ["SON", "DJF", "", "JJA"], ["net", "bilinear"]).assign(region="")
        inner = rows.assign(region="coast", value=99.0)
        figure = figures.by_part(pd.concat([rows, inner]), networks=["net"], unit="degC", column="season")
        axes, drawn = figure.axes[0], lines(figure.axes[0])
        assert [label.get_text() for label in axes.get_yticklabels()] == ["whole year", "DJF", "JJA", "SON"]
        np.testing.assert_allclose(drawn["net"].get_xdata(), [3, 2, 4, 1])
        np.testing.assert_allclose(drawn["bilinear"].get_xdata(), [3.1, 2.1, 4.1, 1.1])
        for name in ("net", "bilinear"):
            np.testing.assert_allclose(np.round(np.asarray(drawn[name].get_ydata(), dtype=float)), np.arange(4))
        assert drawn["net"].get_ydata()[0] < drawn["bilinear"].get_ydata()[0]
        np.testing.assert_allclose(
            [segment[:, 0] for segment in segments(axes)][:4], [[v - 0.25, v + 0.5] for v in (3, 2, 4, 1)]
        )
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        assert axes.get_xlabel() == "RMSE (K)"

    def test_regions_keep_their_order(self) -> None:
        figure = figures.by_part(part_rows("region", ["plains", "coast"]), networks=NETWORKS, column="region")
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plains", "coast"]


class TestTaylor:
    def test_radius_is_the_ratio_and_the_angle_that_of_the_correlation(self) -> None:
        figure = figures.taylor({"net": (0.8, 0.5), "bilinear": (0.4, 0.2)}, networks=["net"])
        axes = figure.axes[0]
        assert axes.name == "polar"
        assert len(figure.axes) == 1
        drawn = lines(axes)
        for name, ratio, correlation in (("net", 0.8, 0.5), ("bilinear", 0.4, 0.2), ("truth", 1.0, 1.0)):
            np.testing.assert_allclose(drawn[name].get_ydata(), [ratio])
            np.testing.assert_allclose(np.cos(drawn[name].get_xdata()), [correlation])
        assert axes.get_thetamax() == pytest.approx(90)  # type: ignore[attr-defined]
        assert {"0", "0.2", "0.4", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99", "1"} <= {
            text for text, _ in texts(figure)
        }

    def test_contours_are_the_centred_error(self) -> None:
        contours = next(
            part
            for part in figures.taylor({"net": (0.8, 0.5)}, networks=["net"]).axes[0].collections
            if isinstance(part, QuadContourSet)
        )
        drawn = 0
        for level, path in zip(contours.levels, contours.get_paths(), strict=True):
            if len(path.vertices):
                angle, ratio = np.asarray(path.vertices).T
                np.testing.assert_allclose(abs(ratio * np.exp(1j * angle) - 1), level, atol=0.01)
                drawn += 1
        assert drawn > 3

    def test_models_near_the_truth_are_shown_enlarged(self) -> None:
        figure = figures.taylor({"net": (0.98, 0.995), "bilinear": (0.9, 0.95)}, networks=["net"])
        enlarged = figure.axes[1]
        left, right = enlarged.get_xlim()
        assert 0.7 < left < 0.85
        assert 1 < right < 1.2
        assert right - left == pytest.approx(enlarged.get_ylim()[1])
        for name, ratio, correlation in (("net", 0.98, 0.995), ("bilinear", 0.9, 0.95)):
            place = complex(lines(enlarged)[name].get_xdata()[0], lines(enlarged)[name].get_ydata()[0])
            assert abs(place) == pytest.approx(ratio)
            assert np.cos(np.angle(place)) == pytest.approx(correlation)

    def test_negative_correlations_and_undefined_models(self) -> None:
        figure = figures.taylor({"net": (0.8, -0.5), "climatology": (0.0, np.nan)}, networks=["net"])
        assert figure.axes[0].get_thetamax() == pytest.approx(180)  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.cos(lines(figure.axes[0])["net"].get_xdata()), [-0.5])
        assert "climatology: undefined" in text_of(figure)


def winters(calendar: str, years: int = 6) -> list[Any]:
    days = xr.date_range("2001-01-01", periods=360 * years, calendar=calendar, use_cftime=calendar != "standard")
    return [day for day in days.values if pd.Timestamp(str(day)[:7] + "-01").month in (1, 2)]


class TestInTime:
    @pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
    def test_no_line_crosses_a_gap(self, calendar: str) -> None:
        score = series(winters(calendar))
        figure = figures.errors_in_time({"net": score}, networks=["net"], units="degC")
        faint, mean = figure.axes[0].get_lines()[:2]
        for line in (faint, mean):
            x, y = (np.asarray(values, dtype=float) for values in line.get_data())
            through = np.isfinite(y[1:]) & np.isfinite(y[:-1])
            assert np.diff(x)[through].max() == 1
            assert np.isnan(y).sum() == 5
        y = np.asarray(faint.get_ydata(), dtype=float)
        np.testing.assert_allclose(y[np.isfinite(y)], score)
        assert faint.get_alpha() < 0.5
        common = calendar == "standard"
        assert figure.axes[0].get_xlabel() == ("time" if common else f"time ({calendar} calendar)")
        assert "2003" in text_of(figure).split("\n")

    def test_a_long_record_has_running_means(self) -> None:
        score = series(pd.date_range("2000-01-01", periods=500))
        figure = figures.errors_in_time({"net": score}, networks=["net"])
        mean = np.asarray(figure.axes[0].get_lines()[1].get_ydata(), dtype=float)
        expected = np.convolve(score, np.full(10, 0.1), "valid")
        np.testing.assert_allclose(mean[5:-4], expected)
        assert "running mean of 10 steps" in text_of(figure)

    def test_a_short_record_has_none_and_lone_steps_are_dots(self) -> None:
        times = [*pd.date_range("2000-01-01", periods=20), pd.Timestamp("2000-02-10"), pd.Timestamp("2000-03-01")]
        score = series(times)
        score[5] = np.nan
        figure = figures.errors_in_time({"net": score}, networks=["net"], units="degC")
        line, lone = figure.axes[0].get_lines()
        assert line.get_alpha() is None
        assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).sum() == 3
        np.testing.assert_allclose(lone.get_ydata(), score[-2:])
        text = text_of(figure)
        assert "running" not in text
        assert "RMSE of temperature (K)" in text

    def test_many_models_are_told_apart_by_markers(self) -> None:
        figure = figures.errors_in_time(
            {name: series(pd.date_range("2000", periods=400)) for name in MODELS}, networks=NETWORKS
        )
        assert set(MODELS) <= set(lines(figure.axes[0]))

    def test_dates_lie_where_they_belong(self) -> None:
        times = [cftime.Datetime360Day(2040, 1 + day // 30, 1 + day % 30) for day in range(90)]
        figure = figures.errors_in_time({"net": series(times)}, networks=["net"])
        axes = figure.axes[0]
        names = dict(zip([label.get_text() for label in axes.get_xticklabels()], axes.get_xticks(), strict=True))
        assert list(names) == ["2040-01", "2040-02", "2040-03"]
        drawn = np.asarray(axes.get_lines()[0].get_xdata(), dtype=float)
        np.testing.assert_allclose(list(names.values()), drawn[[0, 30, 60]])

    @pytest.mark.parametrize(("periods", "freq"), [(1, "D"), (2, "30min"), (30, "h"), (12, "MS"), (300, "YS")])
    def test_dates_of_any_record_can_be_read(self, periods: int, freq: str) -> None:
        time = xr.date_range("1850-01-01", periods=periods, freq=freq, calendar="noleap", use_cftime=True)
        figure = figures.errors_in_time({"net": series(time.values)}, networks=["net"])
        require_readable(figure)
        assert 1 <= len(figure.axes[0].get_xticks()) <= 9


class TestDistributions:
    def test_steps_are_spread_evenly_and_over_all_times_of_the_day(self) -> None:
        np.testing.assert_array_equal(spread_steps(7, 500), np.arange(7))
        assert len(set(spread_steps(600, 500))) == len(set(spread_steps(1000, 500))) == 500
        steps = spread_steps(24 * 500, 500)
        np.testing.assert_array_equal(steps // 24, np.arange(500))
        assert set(steps % 24) == set(range(24))

    def test_density_counts_each_pair_of_valid_values(self) -> None:
        truth, prediction = fields()
        figure = figures.scatter_density(truth, prediction, units="degC")
        axes = figure.axes[0]
        counts = np.ma.filled(axes.collections[0].get_array(), 0).reshape(120, 120)
        valid = (truth.notnull() & prediction.notnull()).values
        pairs = prediction.values[valid], truth.values[valid]
        edges = np.linspace(min(each.min() for each in pairs), max(each.max() for each in pairs), 121)
        expected = np.histogram2d(*pairs, bins=[edges, edges])[0]
        assert counts.sum() == valid.sum()
        assert abs(counts - expected).sum() <= 4  # values on an edge, in float32
        line = axes.get_lines()[0]
        np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
        assert axes.get_xlim() == axes.get_ylim()
        text = text_of(figure).split("\n")
        assert {"truth (°C)", "prediction (°C)", "values per bin"} <= set(text)
        assert f"{valid.sum():,} values of all 30 steps".replace(",", " ") in text
        require_readable(figure)

    def test_no_more_than_500_steps_count_and_each_chunk_is_read_once_for_each_purpose(self) -> None:
        read: list[int] = []

        def block(block_info: Any = None) -> np.ndarray:
            first, last = block_info[None]["array-location"][0]
            read.append(first)
            return np.broadcast_to(np.arange(first, last, dtype=float)[:, None, None], (last - first, 2, 3))

        data = dask.array.map_blocks(block, chunks=((60,) * 40, (2,), (3,)), dtype=float, meta=np.zeros((0, 0, 0)))
        truth = xr.DataArray(
            data,
            {"time": pd.date_range("2000-01-01", periods=2400), "lat": [1.0, 2.0], "lon": [1.0, 2.0, 3.0]},
            ["time", "lat", "lon"],
            "tas",
        )
        figure = figures.scatter_density(truth, truth.copy())
        assert sorted(read) == sorted(2 * [60 * number for number in range(40)])
        assert figure.axes[0].collections[0].get_array().sum() == 500 * 6
        assert "500 of 2400 steps" in text_of(figure)
        np.testing.assert_allclose(
            [fields[0][0] for fields in valid_values(truth, [truth], np.array([70, 3, 5]))], [70, 3, 5]
        )

    def test_constant_fields_have_a_density(self) -> None:
        truth, _ = fields()
        figure = figures.scatter_density(truth * 0 + 3, truth * 0 + 3)
        assert figure.axes[0].collections[0].get_array().sum() == truth.notnull().sum()

    def test_quantiles_of_pooled_values_end_at_the_extremes(self) -> None:
        truth, prediction = fields(steps=400)
        prediction[7, 3, 3] = 99.0
        figure = figures.quantile_quantile(
            truth, {"net": prediction, "bilinear": truth.fillna(0.0)}, units="degC", networks=["net"]
        )
        left, right = figure.axes
        valid = (truth.notnull() & prediction.notnull()).values
        x, y = (np.asarray(values, dtype=float) for values in lines(left)["net"].get_data())
        assert (x[0], x[-1]) == pytest.approx((truth.values[valid].min(), truth.values[valid].max()))
        assert y[-1] == 99.0
        for level in (5, 50, 95):
            at = np.abs(x - np.percentile(truth.values[valid], level)).argmin()
            assert x[at] == pytest.approx(np.percentile(truth.values[valid], level), rel=1e-4)
            assert y[at] == pytest.approx(np.percentile(prediction.values[valid], level), rel=1e-4)
        np.testing.assert_allclose(lines(right)["net"].get_ydata(), y - x, atol=1e-5)
        np.testing.assert_allclose(lines(right)["bilinear"].get_ydata(), 0.0, atol=1e-6)
        assert lines(left)["net"].get_markevery() == [0, -1]
        text = text_of(figure)
        assert "quantile of the truth (°C)" in text
        assert "model − truth (K)" in text
        assert "smallest, largest value" in text

    def test_extremes_are_those_of_all_values_where_only_some_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dl4ds_core.figures.distributions._MOST_VALUES", 500)
        truth, prediction = fields(steps=100)
        prediction[31, 4, 5] = -70.0
        figure = figures.quantile_quantile(truth, {"net": prediction}, networks=["net"])
        y = np.asarray(lines(figure.axes[0])["net"].get_ydata())
        assert y[0] == -70.0
        assert 5 < len(y) < 102


def coasts(axes: Axes) -> list[np.ndarray]:
    """Vertices of the dark thin lines of a map, which are not those of latitude and longitude."""
    return [
        np.asarray(path.vertices)
        for part in axes.collections
        if isinstance(part, QuadContourSet) and tuple(part.levels) == (0.5,)
        for path in part.get_paths()
    ]


class TestCoast:
    def land(self, field: xr.DataArray) -> xr.DataArray:
        """Sea in the west; the coast lies a quarter of a cell beyond the centres of the 8th column."""
        values = np.clip(0.5 + (np.arange(field.shape[2]) - 7.25) / 4, 0, 1)
        return field[0].drop_vars("time").copy(data=np.broadcast_to(values, field.shape[1:]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_lies_where_half_of_a_cell_is_land(self, kind: str) -> None:
        truth = field_on(kind, steps=2)
        canvas = Canvas(Grid.of(truth))
        x, y = canvas._centres()
        expected_x, expected_y = (part[:, 7] + 0.25 * (part[:, 8] - part[:, 7]) for part in (x, y))
        figure = figures.example_maps(truth, None, truth + 1, truth.time.values[0], land=self.land(truth))
        for axes in figure.axes[:3]:
            (line,) = coasts(axes)
            order = np.argsort(line[:, 1])
            across = np.interp(line[order, 1], expected_y, expected_x)
            tolerance = 0.3 if kind == "curvilinear" else 1e-9
            np.testing.assert_allclose(across, line[order, 0], rtol=1e-3, atol=tolerance)
            assert np.ptp(line[:, 1]) == pytest.approx(np.ptp(expected_y), rel=0.01)
        scores = Grid.of(truth).placed(xr.Dataset({"tas_rmse": truth[0].drop_vars("time")}))
        assert len(coasts(figures.score_maps(scores, "tas", land=self.land(truth)).axes[0])) == 1

    def test_degrees_along_lines_do_not_lie_over_each_other(self) -> None:
        truth = field_on("rotated", steps=2, rows=48, columns=60)
        require_readable(figures.example_maps(truth, None, truth + 1, truth.time.values[0]))

    def test_it_is_thin_and_dark_and_on_the_coarse_map_too(self) -> None:
        truth = field_on("latlon", steps=2)
        coarse = truth.coarsen(lat=4, lon=4).mean().assign_attrs(truth.attrs)
        figure = figures.example_maps(truth, coarse, truth + 1, truth.time.values[0], land=self.land(truth))
        assert [len(coasts(axes)) for axes in figure.axes[:4]] == [1, 1, 1, 1]
        line = next(part for part in figure.axes[1].collections if isinstance(part, QuadContourSet))
        assert line.get_linewidth()[0] < 1
        assert max(line.get_edgecolor()[0][:3]) < 0.2

    def test_none_is_drawn_where_the_sea_is_grey_or_there_is_no_sea(self) -> None:
        truth = field_on("latlon", steps=2)
        land = self.land(truth)
        masked = truth.where(land >= 0.5)
        for field, fractions in ((masked, land), (truth, land * 0 + 1), (truth, None)):
            figure = figures.example_maps(field, None, truth + 1, truth.time.values[0], land=fractions)
            assert not any(coasts(axes) for axes in figure.axes)


class TestMaps:
    def scores(self) -> xr.Dataset:
        field = field_on("latlon", steps=1, rows=16, columns=18)[0].drop_vars("time")
        names = [f"tas_{name}" for name in METRICS]
        return xr.Dataset({name: (field - 12).assign_attrs(units="degC") for name in names})

    def test_titles_of_all_scores_can_be_read(self) -> None:
        figure = figures.score_maps(self.scores(), "tas")
        require_readable(figure)
        assert sum(bool(axes.get_title()) for axes in figure.axes) == len(METRICS)

    def test_scores_that_are_good_at_zero_but_have_a_sign_are_diverging(self) -> None:
        meshes = {
            axes.get_title().replace("\n", " "): axes.collections[0]
            for axes in figures.score_maps(self.scores(), "tas").axes
            if axes.get_title()
        }
        for name in ("Bias (K)", "Bias of the autocorrelation (K)"):
            low, high = meshes[name].get_clim()
            assert low == -high
            assert meshes[name].get_cmap().name == "RdBu_r"
        assert meshes["RMSE (K)"].get_cmap().name == "cividis"

    def test_changes_have_one_scale(self) -> None:
        field = field_on("projected", steps=2)
        changes = {f"tas_{name}": field[0].drop_vars("time") - 9 for name in ("change", "true_change")}
        figure = figures.change_maps(Grid.of(field).placed(xr.Dataset(changes)), "tas")
        assert [axes.get_title() for axes in figure.axes[:2]] == ["Predicted", "Truth"]
        assert len({axes.collections[0].get_clim() for axes in figure.axes[:2]}) == 1
        require_readable(figure)


class TestAnimation:
    def frames(self, path: Path) -> Iterator[tuple[np.ndarray, int]]:
        with Image.open(path) as picture:
            for number in range(picture.n_frames):
                picture.seek(number)
                yield np.asarray(picture.convert("RGB")), picture.info["duration"]

    def test_one_frame_per_step_of_the_same_size_and_duration(self, tmp_path: Path) -> None:
        truth, prediction = fields(steps=6)
        figures.animation(truth, prediction, tmp_path / "deep" / "a.gif", steps=slice(1, 5), seconds_per_step=0.3)
        figures.animation(truth, prediction, tmp_path / "b.gif", steps=[1, 2, 3, 4], seconds_per_step=0.3)
        found = list(self.frames(tmp_path / "b.gif"))
        assert [duration for _, duration in found] == [300] * 4
        assert len({picture.shape for picture, _ in found}) == 1
        assert len({picture.tobytes() for picture, _ in found}) == 4
        assert (tmp_path / "deep" / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.gif", "deep"]
        assert tuple(found[0][0][0, 0]) == (255, 255, 255)
        # Only fields and title change.
        changed = np.any([found[0][0] != picture for picture, _ in found[1:]], axis=(0, 3))
        assert changed[: changed.shape[0] // 10].any()
        assert not changed[-changed.shape[0] // 5 :].any()

    def test_truth_and_prediction_have_one_scale_and_the_title_the_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[str, list[Any]]] = []

        def record(figure: Figure, palette: np.ndarray) -> Image.Image:
            figure.draw_without_rendering()
            assert figure._suptitle is not None
            seen.append((figure._suptitle.get_text(), [axes.collections[0] for axes in figure.axes[:2]]))
            require_readable(figure)
            values[len(seen)] = [np.ma.filled(mesh.get_array(), np.nan).copy() for mesh in seen[-1][1]]
            return Image.new("P", (4, 4), len(seen))

        values: dict[int, list[np.ndarray]] = {}
        monkeypatch.setattr("dl4ds_core.figures.moving._picture", record)
        truth, prediction = fields(steps=6)
        figures.animation(truth, prediction, tmp_path / "a.gif", steps=[4, 2], seconds_per_step=0.3)
        assert [title for title, _ in seen] == ["Temperature, 2001-01-05", "Temperature, 2001-01-03"]
        assert len({mesh.get_clim() for _, meshes in seen for mesh in meshes}) == 1
        for number, step in ((1, 4), (2, 2)):
            np.testing.assert_allclose(values[number][0].reshape(6, 8), truth[step])
            np.testing.assert_allclose(values[number][1].reshape(6, 8), prediction[step].where(truth[step].notnull()))

    def test_a_failure_leaves_no_file(self, tmp_path: Path) -> None:
        truth, prediction = fields(steps=6)

        def broken(block: np.ndarray, block_info: Any = None) -> np.ndarray:
            if block_info and block_info[0]["array-location"][0][0] == 4:
                read.append(4)
                if len(read) > 1:
                    raise OSError("disk")
            return block

        read: list[int] = []
        lazy = prediction.copy(data=dask.array.from_array(prediction.values, (1, 6, 8)).map_blocks(broken, dtype=float))
        with pytest.raises(OSError, match="disk"):
            figures.animation(truth, lazy, tmp_path / "a.gif", steps=slice(None), seconds_per_step=0.1)
        assert not list(tmp_path.iterdir())


NAN = spectrum() * np.nan


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.spectra({}, spectrum(), networks=[]), "at least one model"),
        (lambda: figures.spectra({"net": spectrum()[:9]}, spectrum(), networks=[]), "expected 32 powers"),
        (
            lambda: figures.spectra({"net": spectrum()}, spectrum(units="m-1"), networks=[]),
            "expected wavenumbers in km-1",
        ),
        (
            lambda: figures.spectra({"net": spectrum()}, spectrum()[::-1], networks=[]),
            "positive, ascending wavenumbers",
        ),
        (lambda: figures.spectra({"net": spectrum()}, NAN, networks=[]), "expected positive powers"),
        (
            lambda: figures.spectra({"net": spectrum()}, spectrum(), networks=[], coarse_km=0.0),
            "length of a wave in km",
        ),
        (
            lambda: figures.spectra(
                {"net": spectrum().assign_coords(wavenumber=2 * spectrum()["wavenumber"])}, spectrum(), networks=[]
            ),
            "the truth's wavenumbers",
        ),
        (lambda: figures.quantile_biases(bias_rows().drop(columns="lower"), networks=[]), "expected the columns"),
        (lambda: figures.quantile_biases(bias_rows()[:0], networks=[]), "found none; verify the models again"),
        (lambda: figures.quantile_biases(bias_rows().assign(metric="fss"), networks=[]), "quantile_bias, found fss"),
        (
            lambda: figures.quantile_biases(
                pd.concat([bias_rows().assign(split=split) for split in ("test", "validation")]), networks=[]
            ),
            "expected one split, found 'test', 'validation'",
        ),
        (
            lambda: figures.by_part(part_rows("season", [""]), networks=[], column="season"),
            "expected rows with a season",
        ),
        (lambda: figures.by_part(part_rows("season", ["DJF"]), networks=[], column="region"), "expected the columns"),
        (lambda: figures.by_part(part_rows("season", ["DJF"]), networks=[], column="scale"), "season or region"),  # type: ignore[arg-type]
        (lambda: figures.taylor({"net": (-0.1, 0.5)}, networks=[]), "net: expected a ratio"),
        (lambda: figures.taylor({"net": (1.0, 1.1)}, networks=[]), "net: expected a ratio"),
        (lambda: figures.taylor({"net": (1.0, np.nan)}, networks=[]), "constant predictions have none"),
        (lambda: figures.taylor({}, networks=[]), "at least one model"),
        (lambda: figures.errors_in_time({"net": fields()[0]}, networks=[]), "each step along time"),
        (
            lambda: figures.errors_in_time({"net": series(pd.date_range("2000", periods=3)) * np.nan}, networks=[]),
            "found none; verify",
        ),
        (
            lambda: figures.errors_in_time({"net": series(pd.date_range("2000", periods=3)[::-1])}, networks=[]),
            "strictly ascending times",
        ),
        (
            lambda: figures.errors_in_time(
                {name: series(winters(name)) for name in ("noleap", "360_day")}, networks=[]
            ),
            "expected one calendar, found 360_day, noleap",
        ),
        (lambda: figures.scatter_density(fields()[0], fields()[1][1:]), "same shape and times"),
        (lambda: figures.scatter_density(fields()[0], fields()[1] * np.nan), "found none in the steps"),
        (lambda: figures.quantile_quantile(fields()[0], {"net": fields()[1] * np.nan}), "found none in the steps"),
        (lambda: figures.quantile_quantile(fields()[0], {}), "at least one model"),
        (lambda: figures.animation(*fields(), "a.gif", steps=slice(0, 0)), "found 0; choose others"),
        (lambda: figures.animation(*fields(), "a.gif", steps=[0] * 241), "from 1 to 240 time steps, found 241"),
        (lambda: figures.animation(*fields(), "a.gif", steps=[30]), "from 0 to 29, found 30"),
        (lambda: figures.animation(*fields(), "a.gif", steps=[1], seconds_per_step=0.0), "0.02 to 60 seconds"),
        (lambda: coast(lambda land: land[:5]), "give it on the grid of the map"),
        (lambda: coast(lambda land: 100 * land), "fractions from 0 to 1, found 0 to 100"),
        (lambda: coast(lambda land: land * np.nan), "found no values"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
    assert not Path("a.gif").exists()


def coast(change: Callable[[xr.DataArray], xr.DataArray]) -> Figure:
    truth = field_on("latlon", steps=2)
    return figures.example_maps(truth, None, truth, truth.time.values[0], land=change(TestCoast().land(truth)))
