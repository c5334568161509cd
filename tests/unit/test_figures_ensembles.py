"""Figures of the members of ensembles, and which ensembles they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawn import lines, require_readable, spectrum, text_of
from matplotlib.figure import Figure

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.report.scores import leading

NETWORKS = [f"net-{number}" for number in range(1, 5)]
MODELS = [*NETWORKS, "climatological-ensemble", "net-1-seeds"]


def shares(members: int, ends: float = 1.0) -> xr.DataArray:
    values = np.ones(members + 1)
    values[[0, -1]] = ends
    return xr.DataArray(values / values.sum(), {"rank": np.arange(members + 1)}, ["rank"])


def diagram(members: int, thresholds: tuple[float, ...] = (0.5, 20.0)) -> xr.Dataset:
    forecast = np.linspace(0, 1, members + 1)
    fields = {
        "forecast": forecast,
        "frequency": 0.2 + 0.6 * forecast,
        "count": 3.0 * 10.0 ** -np.arange(1, members + 2),
    }
    dims = ("threshold", "bin")
    wide = {name: (dims, np.tile(values, (len(thresholds), 1))) for name, values in fields.items()}
    return xr.Dataset(wide, {"threshold": list(thresholds)})


@pytest.mark.parametrize("count", [*(pytest.param(count, marks=pytest.mark.full) for count in (1, 2, 4)), 6])
def test_text_can_be_read(count: int) -> None:
    models = MODELS[-count:]
    ranks = figures.rank_histogram({name: shares(20) for name in models}, networks=NETWORKS)
    require_readable(ranks)
    assert all(f"{name}, 20 members" in text_of(ranks) for name in models)
    reliability = figures.reliability({name: diagram(4) for name in models}, networks=NETWORKS, units="mm d-1")
    require_readable(reliability)
    assert "event: at least 20 mm/d" in text_of(reliability).replace(" d⁻¹", "/d")
    spectra = figures.spectra(
        {name: spectrum(0.5) for name in models},
        spectrum(),
        networks=NETWORKS,
        members={name: spectrum(0.9) for name in models},
    )
    require_readable(spectra)


def test_bars_are_relative_to_a_flat_histogram() -> None:
    figure = figures.rank_histogram({"net-1": shares(4, ends=3.0), "net-2": shares(9)}, networks=NETWORKS)
    first, second = (axes for axes in figure.axes if axes.get_visible())
    np.testing.assert_allclose([bar.get_height() for bar in first.patches], 5 * np.array([3, 1, 1, 1, 3]) / 9)
    np.testing.assert_allclose([bar.get_height() for bar in second.patches], 1)
    assert first.get_ylim() == second.get_ylim()
    for axes in (first, second):
        (flat,) = axes.get_lines()
        np.testing.assert_array_equal(flat.get_ydata(), 1)


def test_bars_beyond_the_axis_say_how_high_they_are() -> None:
    figure = figures.rank_histogram({"net-1": shares(30, ends=50.0)}, networks=NETWORKS)
    assert figure.axes[0].get_ylim()[1] == 4
    assert text_of(figure).count("12") >= 2


def test_frequencies_by_probability_and_the_rare_ones_left_out() -> None:
    figure = figures.reliability({"net-1": diagram(9)}, networks=NETWORKS)
    above, below = figure.axes[0], figure.axes[2]
    drawn = lines(above)["net-1"]
    np.testing.assert_allclose(drawn.get_xdata(), np.arange(5) / 9)  # of 1e-5 of the forecasts and more
    np.testing.assert_allclose(drawn.get_ydata(), 0.2 + 0.6 * np.arange(5) / 9)
    np.testing.assert_allclose(lines(below)["net-1"].get_ydata(), 3 * 10.0 ** -np.arange(1, 6))
    assert below.get_yscale() == "log"


def test_spectra_of_members_and_of_their_mean() -> None:
    powers = {"net-1": spectrum(0.5), "net-2": spectrum(0.4)}
    figure = figures.spectra(powers, spectrum(), networks=NETWORKS, members={"net-1": spectrum(0.9)})
    above, below = figure.axes[:2]
    for axes, factor in ((above, spectrum()), (below, xr.ones_like(spectrum()))):
        drawn = lines(axes)
        for name, share in (("net-1, members", 0.9), ("net-1, mean", 0.5), ("net-2", 0.4)):
            np.testing.assert_allclose(drawn[name].get_ydata(), share * factor)
    assert lines(above)["net-1, mean"].get_linestyle() != "-"
    plain = figures.spectra(powers, spectrum(), networks=NETWORKS)
    assert "members" not in text_of(plain)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.rank_histogram({}, networks=[]), "at least one model"),
        (lambda: figures.rank_histogram({"net": 2 * shares(3)}, networks=[]), "net: expected shares of ranks"),
        (
            lambda: figures.reliability({"net": diagram(3), "other": diagram(3, (1.0, 2.0))}, networks=[]),
            "expected the thresholds",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(make: Callable[[], Figure], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def summary(crps: Mapping[str, float]) -> pd.DataFrame:
    rows = [
        {"model": model, "seed": 0, "metric": metric, "split": "validation", "value": value}
        for metric in ("rmse", "crps")
        for model, value in crps.items()
        if metric == "rmse" or value < 9
    ]
    empty = dict.fromkeys(("lower", "upper", "threshold", "scale"), np.nan) | dict.fromkeys(("season", "region"), "")
    return pd.DataFrame(rows).assign(variable="t", unit="K", scenario="", **empty)


def test_a_study_shows_the_ensembles_of_lowest_crps_and_no_ensemble_is_chosen(tmp_path: Path) -> None:
    crps = {f"net-{number}": 1.0 + number for number in range(8)} | {"net-0-seeds": 0.5, "bicubic": 9.0}
    files = {}
    for name, value in crps.items():
        fields = {"t_rank_histogram": shares(3), "t_spectrum_members": spectrum()} if value < 9 else {}
        xr.Dataset(fields or {"t_spectrum_truth": spectrum()}).to_netcdf(tmp_path / f"{name}.nc")
        files[name, 0] = str(tmp_path / f"{name}.nc")
    networks = [f"net-{number}" for number in range(8)]
    study = figures.Study(
        "t",
        summary(crps),
        xr.DataArray(0.0),
        scores=files,
        predictions={},
        networks=networks,
        ensembles=["net-0-seeds"],
        scale=2,
        confidence=0.9,
        places={},
    )
    assert list(study.of_members("rank_histogram")) == ["net-0-seeds", *networks[:5]]
    assert study.of_members("nothing") == {}
    assert study.shown == [*networks[:5], "net-0-seeds", "bicubic"]
    assert leading(summary(crps), "t", networks, ensembles=["net-0-seeds"])[0] == "net-0"
