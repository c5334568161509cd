"""The report: complete, self-contained, safe against markup in names, and honest about who is best."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from reporting import NASTY, TEMPLATE, config, history

from dl4ds_core import figures, provenance
from dl4ds_core.config import Config
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.report import by_run, describe_samples, runs, write_report
from dl4ds_core.report.meanings import _MEANINGS, meaning
from dl4ds_core.report.scenarios import scenario_tables
from dl4ds_core.report.scores import typical_seeds
from dl4ds_core.report.scoring import score_table
from dl4ds_core.report.tables import cost_table, data_tables, settings_table
from dl4ds_core.report.text import difference_unit_text, duration, fixed, number, place_text, size, unit_text
from dl4ds_core.report.words import model_in_words, pairs_in_words, regions_in_words, summary_in_words
from dl4ds_core.report.worst import worst_in_words
from dl4ds_core.verification import COMPARISON_COLUMNS, METRICS, complete_rows


class Page(HTMLParser):
    """Collects what a page holds: addresses it loads, text, tags that stay open, and table rows."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [
            value for key, value in attrs if key in ("src", "href", "action", "data", "poster") and value
        ]
        if tag == "img":
            self.images.append(values)
        if tag == "script":
            self.scripts += 1
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
            if any(tag in self.open for tag in ("td", "th")):
                self.rows[-1][-1] += data


def rows(model: str, seed: int, split: str, rmse: float, variable: str = "t2m", width: float = 0.1) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "variable": variable,
            "metric": ["rmse", "bias", "pearson"],
            "unit": ["degC", "degC", "1"],
            "value": [rmse, -rmse / 10, 1 - rmse / 10],
            "lower": [rmse - width, np.nan, 0.1],
            "upper": [rmse + width, np.nan, 0.2],
        }
    )
    return complete_rows(table, model=model, seed=seed, split=split)


def summary(
    net: float = 0.3, other: float = 0.4, splits: Iterable[str] = ("validation", "test"), **options: Any
) -> pd.DataFrame:
    parts = []
    for split in splits:
        for seed in (1, 2, 3):
            parts += [
                rows("net", seed, split, net + 0.01 * seed, **options),
                rows("other", seed, split, other, **options),
            ]
        parts += [rows("bicubic", 0, split, 0.6, **options), rows("nearest", 0, split, 0.9, **options)]
    return pd.concat(parts)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "training.png"
    scores = {"loss": 1.0, "validation_loss": 1.0, "validation_rmse": [1.0, 2.0]}
    curve = pd.DataFrame({"epoch": [1, 2], **scores, "kept": [1, 0]})
    figures.save(figures.training_curve(curve), path)
    return path


def written(
    tmp_path: Path, settings: Config | None = None, table: pd.DataFrame | None = None, **options: Any
) -> tuple[str, Page]:
    settings = settings or config()
    record = options.pop("record", None) or provenance.collect(settings, [])
    write_report(
        tmp_path / "report.html",
        config=settings,
        summary=summary() if table is None else table,
        provenance=record,
        template=TEMPLATE,
        **options,
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_whole_report(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"abc")
    record = provenance.collect(config(), [tmp_path / "a.nc"]) | {"git": {"commit": "c0ffee", "dirty": True}}
    spent = {"jobs": 2, "attempts": 5, "elapsed_hours": 1.5, "cpu_hours": 48.25, "gpu_hours": 6.0}
    record["cost"] = [{"stage": stage, **spent, "peak_memory_mib": 512.4} for stage in ("train", "total")]
    compared = [tmp_path / f"{kind}-t2m.png" for kind in ("domain", "spectra", "ranking")]
    for path in [*compared, tmp_path / "ranking-other.png"]:
        shutil.copy(picture, path)
    runs_with_figures = {("net", 1): [picture], ("net", 2): [picture], ("nearest", 0): [picture]}
    text, page = written(
        tmp_path,
        record=record,
        figures=runs_with_figures,
        overview=[*compared, tmp_path / "ranking-other.png"],
        histories={("net", 1): history(), ("net", 2): history(3)},
        command="snakemake --profile profiles/local",
        samples={
            "splits": [
                {
                    "name": "test",
                    "steps": 366,
                    "first": "2004-01-01",
                    "last": "2004-12-31",
                    "calendar": "noleap",
                }
            ],
            "variables": {"t2m": {"long_name": "2 metre temperature", "units": "degC", "cells": 1400}},
            "grids": [
                {
                    "name": "fine",
                    "shape": [32, 48],
                    "description": "32 x 48 latlon 0.25 x 0.25 deg",
                    "south": -10.0,
                    "north": 50,
                    "west": 1,
                    "east": 2,
                }
            ],
        },
    )
    assert page.open == []
    assert ["train", "2", "5", "1.50", "48.25", "6.00", "512"] in page.rows
    assert "GPU time (h)" in page.text
    for expected in (
        "A trial",
        "2 metre temperature: of 2 networks, net has the lowest RMSE on the validation period (0.320 K).",
        "32 × 48; predicted: 1400",
        "latlon 0.25 × 0.25 deg",
        "366",
        "Somebody (2020)",
        "CC-BY 4.0",
        "c0ffee",
        "not committed",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "In a checkout of the workflow",
        "The code had changes that are in no commit",
        "git checkout c0ffee\nmake setup\n",
        "snakemake --profile profiles/local",
        "Figures of seed 2",
    ):
        assert expected in page.text
    assert text.index('alt="Mean of the truth') < text.index('<section id="ranking">'), "among the data"
    # Map, ranking and spectra of the one predictand; the typical seed of net, and nearest, which is closed.
    assert len(page.images) == 5
    for image, caption in zip(
        page.images, ("Mean of the truth", "RMSE on the test period", "Power spectra"), strict=False
    ):
        assert image["alt"].startswith(caption)
    assert all(image["alt"] and image["width"] == "1080" for image in page.images)
    assert text.count("<details id") == 2
    assert text.count(" open>") == 1


def test_costs_of_a_small_experiment_are_in_minutes() -> None:
    small = {"stage": "train", "jobs": 1, "attempts": 1, "elapsed_hours": 0.01, "cpu_hours": 0.02, "gpu_hours": 0.0}
    table = cost_table([small | {"peak_memory_mib": 10.0}, small | {"stage": "total", "peak_memory_mib": 10.0}])
    assert (table["unit"], table["total"]["elapsed"], table["rows"][0]["cpu"]) == ("min", "0.60", "1.20")
    assert len(table["rows"]) == 1


def test_loads_nothing_from_elsewhere(tmp_path: Path, picture: Path) -> None:
    text, page = written(tmp_path, figures={("net", 1): [picture]})
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(", text)
    for anchor in (address[1:] for address in page.addresses if address.startswith("#")):
        assert f'id="{anchor}"' in text


def test_all_models_are_in_the_tables_with_every_metric(tmp_path: Path) -> None:
    """Errors of both periods, the other scores of the test period."""
    _, page = written(tmp_path)
    heads = [row for row in page.rows if row[:2] == ["Model", "Seeds"]]
    errors, series = ["Model", "Seeds", "Bias (K)", "RMSE (K)"], ["Model", "Seeds", "Pearson corr."]
    assert heads == [errors, errors, series]
    models = [row[0].split()[0] for row in page.rows if row and row[0].split()[-1] in ("network", "baseline")]
    assert models == ["net", "other", "bicubic", "nearest"] * 3
    of_net = [row for row in page.rows if row and row[0].split() == ["net", "network"]]
    assert of_net[0][1:] == of_net[1][1:] == ["3", "−0.032", "0.320 0.220 to 0.420"]
    assert of_net[2][1:] == ["3", "0.968 0.100 to 0.200"]


def comparison(**significant: bool) -> pd.DataFrame:
    """Models that are worse than net by 0.1 K each, significantly or not."""
    table = pd.DataFrame({"model": list(significant), "significant": list(significant.values())})
    about = {"variable": "t2m", "metric": "rmse", "reference": "net", "unit": "degC"}
    table = table.assign(**about, difference=0.1, lower=0.05, upper=0.15, p=0.002)
    table["p_adjusted"] = table["p"].where(table["significant"], 0.4)
    return table.reindex(columns=list(COMPARISON_COLUMNS))


def test_differences_and_whether_they_may_be_chance(tmp_path: Path) -> None:
    text, page = written(tmp_path, comparison=comparison(other=False, bicubic=True))
    assert "Difference from net" in page.text
    rows = {row[0].split()[0]: row[1] for row in page.rows if row and "; p " in row[-1]}
    assert rows == {"other": "+0.100 0.050 to 0.150; p 0.4", "bicubic": "+0.100 0.050 to 0.150; p 0.002"}
    assert text.count('class="number soft"') == 1
    assert (
        "bicubic (0.600 K, 90% interval 0.500 to 0.700 K); the difference is significant at the 10% level (adjusted "
        "p 0.002)" in page.text
    )
    assert "Not significantly different from net: other." in page.text
    _, page = written(tmp_path, comparison=comparison(other=True, bicubic=True))
    assert "The other network is significantly worse than net." in page.text


def test_scores_by_season_region_and_threshold(tmp_path: Path) -> None:
    parts = []
    for model, value in (("net", 0.3), ("bicubic", 0.6)):
        table = pd.DataFrame(
            {
                "variable": "t2m",
                "metric": ["rmse", "rmse", "rmse", "quantile_bias", "fss", "fss"],
                "unit": ["degC"] * 4 + ["1"] * 2,
                "season": ["DJF", "JJA", None, None, None, None],
                "region": [None, None, "coast", None, None, None],
                "threshold": [np.nan, np.nan, np.nan, 99.0, 26.6001, 26.6001],
                "scale": [np.nan] * 4 + [1.0, 9.0],
                "value": [value, 2 * value, 3 * value, -value, 1 - value, 0.9],
                "lower": [value - 0.1] * 5 + [np.nan],
                "upper": [value + 0.1] * 5 + [np.nan],
            }
        )
        parts.append(complete_rows(table, model=model, seed=1 if model == "net" else 0, split="test"))
    samples = {"variables": {"t2m": {"units": "degC"}}}
    _, page = written(tmp_path, table=pd.concat([summary(), *parts]), samples=samples)
    heads = [row[1:] for row in page.rows if row[:1] == ["Model"] and "Seeds" not in row]
    assert heads == [["DJF", "JJA"], ["coast"], ["99"], ["26.6, 1", "26.6, 9"]]
    rows = [row[1:] for row in page.rows if row and row[0].split() == ["net", "network"]][3:]
    assert rows == [
        ["0.300 0.200 to 0.400", "0.600 0.200 to 0.400"],
        ["0.900 0.200 to 0.400"],
        ["−0.300 0.200 to 0.400"],
        ["0.700 0.200 to 0.400", "0.900"],
    ]
    assert "by threshold (°C, the 90th and the 99th percentile of the truth) and width" in page.text
    assert "Percentile of a cell's series less that of the truth" in page.text
    chosen = config(verification={"thresholds": {"t2m": [26.6001]}})
    page = written(tmp_path, chosen, pd.concat([summary(), *parts]), samples=samples)[1]
    assert "by threshold (°C) and width" in page.text


def test_scores_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(_MEANINGS) <= set(METRICS)
    for name in METRICS:
        assert meaning(name).endswith(f"A perfect prediction has {METRICS[name].perfect:g}.")
    assert meaning("relative_rmse").startswith("RMSE over the standard deviation of the truth")
    monkeypatch.setitem(METRICS, "new", dataclasses.replace(METRICS["mae"], name="new", long_name="new score"))
    assert meaning("new") == "New score. A perfect prediction has 0."
    assert meaning("bias_txx").startswith("Highest maximum (TXx), less that of the truth")


def test_the_summary_says_where_and_when_the_network_is_bad() -> None:
    parts = pd.DataFrame(
        {
            "variable": "t2m",
            "metric": ["rmse", "rmse", "rmse", "rmse", "bias"],
            "unit": "degC",
            "season": ["DJF", "JJA", None, None, None],
            "region": [None, None, "coast", "hills", None],
            "value": [0.31, 0.27, 0.25, 0.42, -0.05],
            "lower": [np.nan] * 4 + [-0.08],
            "upper": [np.nan] * 4 + [-0.02],
        }
    )
    scores = summary()
    scores = scores[scores["metric"] != "bias"]
    table = pd.concat([scores, complete_rows(parts, model="net", seed=1, split="test")])
    text = " ".join(summary_in_words(table, "t2m", networks=["net", "other"], confidence=0.9))
    assert "largest in DJF (0.310 K; least in JJA, 0.270) and in hills (0.420 K; least in coast, 0.250)." in text
    assert "On average it is 0.0500 K too low. " in f"{text} "
    table.loc[table["metric"] == "bias", "upper"] = 0.01
    text = " ".join(summary_in_words(table, "t2m", networks=["net", "other"], confidence=0.9))
    assert "too low, which may be chance." in text


def test_networks_and_regions_are_described(tmp_path: Path) -> None:
    regions = {"hills": {"field": "orog", "min": 300.0}, "south": {"lat": [-10.0, 5.0], "field": "orog", "below": 50.0}}
    verification = {"baselines": ["bicubic"], "regions": regions}
    static = {"orog": {"source": "src", "variable": "orog"}}
    data = {"predictands": {"t2m": {"source": "src", "variable": "t2m"}}, "scale": 4, "static": static}
    settings = config(verification=verification, data=data)
    assert regions_in_words(settings) == {
        "hills": "orog from 300",
        "south": "latitude −10° to 5°, orog below 50",
    }
    assert model_in_words(settings, "other") == (
        "Unet with pin, 4 levels, 7 filters; localized layer: affine; loss: mae."
    )
    assert (
        "Unet with pin, 4 levels, 7 filters" in written(tmp_path, settings, histories={("other", 1): history()})[1].text
    )


def test_the_summary_says_whether_detail_is_added() -> None:
    cases = (
        (0.5, 0.12, "can't hold, it has 50% of the truth's variance (bicubic 12%): it is too smooth."),
        (0.97, 0.0004, "97% of the truth's variance (bicubic less than 1%): as much as there should be."),
        (1.3, np.nan, "130% of the truth's variance: it is too rough."),
    )
    for ratio, of_bicubic, expected in cases:
        table = summary()
        for model, value in (("net", ratio), ("bicubic", of_bicubic)):
            power = pd.DataFrame({"variable": ["t2m"], "metric": "subgrid_power_ratio", "unit": "1", "value": value})
            table = pd.concat([table, complete_rows(power, model=model, seed=1, split="test")])
        sentences = summary_in_words(table, "t2m", networks=["net", "other"], confidence=0.9)
        assert expected in sentences[-1]


def errors(path: Path, growth: float = 0.5, cells: float = 1.0) -> Path:
    """Maps of scores of a rotated grid and of ten days, one of them without a truth; errors grow but for the last."""
    template = field_on("rotated", steps=10)
    rmse = template[0].drop_vars("time") * 0 + cells
    rmse[3, 2], rmse[5, 5] = 4 * cells, np.nan
    steps = xr.DataArray(0.2 + growth * np.arange(10.0) / 9, {"time": template["time"]}, ("time",))
    steps[4], steps[7] = np.nan, 2.5
    fields = {"t2m_rmse": rmse, "t2m_rmse_by_step": steps}
    for field in fields.values():
        field.attrs = {"units": "K"}
    Grid.of(template).placed(xr.Dataset(fields)).to_netcdf(path)
    return path


def test_the_summary_says_in_which_cell_and_at_which_step_errors_are_largest(tmp_path: Path) -> None:
    text = worst_in_words(errors(tmp_path / "scores.nc"), "t2m")
    grid = Grid.of(field_on("rotated", steps=1))
    place = place_text(float(grid.lat[3, 2]), float(grid.lon[3, 2]))
    assert f"largest at {place} (4.00 K; the median cell has 1.00)." in text
    when = field_on("rotated", steps=10)["time"][7].dt.strftime("%Y-%m-%d").item()
    assert f"Of single steps, it is largest on {when}" in text
    assert "(2.50 K); from the first to the last third of the period it grows from 0.260 to 1.54." in text
    assert worst_in_words(tmp_path / "scores.nc", "pr") == ""
    (tmp_path / "broken.nc").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken.nc: expected a netCDF file of scores"):
        worst_in_words(tmp_path / "broken.nc", "t2m")


def test_errors_are_those_of_the_typical_seed_of_the_chosen_network(tmp_path: Path) -> None:
    files = {
        run: errors(tmp_path / f"{number}.nc", cells=10.0 + number)
        for number, run in enumerate([("net", 1), ("net", 2), ("other", 1), ("bicubic", 0)])
    }
    assert "(44.0 K; the median cell has 11.0)" in written(tmp_path, scores=files)[1].text


def test_the_summary_warns_of_a_single_seed() -> None:
    def words(table: pd.DataFrame) -> str:
        return " ".join(summary_in_words(table, "t2m", networks=["net", "other"], confidence=0.9))

    table = summary()
    assert "one seed" not in words(table)
    assert "trained with one seed: how much another training differs is not known." in words(table[table["seed"] < 2])


def test_markup_in_names_shows_as_text(tmp_path: Path) -> None:
    settings = config(title=NASTY, sources={"src": {"paths": [NASTY], "citation": NASTY, "licence": NASTY}})
    table = pd.concat([summary(), rows(NASTY, 0, "test", 0.5)])
    text, page = written(
        tmp_path,
        settings,
        table,
        samples={"variables": {"t2m": {"long_name": NASTY, "units": NASTY}}, "splits": [], "grids": []},
        command=NASTY,
    )
    assert "<script>alert" not in text
    assert page.scripts == 1
    assert page.open == []
    assert page.text.count(NASTY) >= 8


def test_parts_that_are_missing_are_left_out(tmp_path: Path) -> None:
    text, page = written(tmp_path, table=summary(splits=["test"]))
    assert page.images == []
    assert 'id="models"' not in text
    assert 'id="cost"' not in text
    assert "Validation period" not in page.text
    assert "No network has been scored on the validation period" in page.text
    assert "Commit" not in page.text


def test_a_score_that_one_model_lacks(tmp_path: Path) -> None:
    table = summary()
    table = table[~((table["model"] == "nearest") & (table["metric"] == "rmse"))]
    _, page = written(tmp_path, table=table)
    row = next(row for row in page.rows if row and row[0].startswith("nearest"))
    assert row[3] == "–"


def test_several_predictands_have_their_own_sections(tmp_path: Path, picture: Path) -> None:
    both = {name: {"source": "src", "variable": name} for name in ("t2m", "pr")}
    settings = config(data={"predictands": both, "scale": 4})
    figure = tmp_path / "scores-pr.png"
    figure.write_bytes(picture.read_bytes())
    table = pd.concat([summary(), summary(net=0.7, variable="pr")])
    _, page = written(tmp_path, settings, table, figures={("net", 2): [figure]})
    assert "t2m: of 2 networks" in page.text
    assert "pr: of 2 networks, other has the lowest" in page.text
    assert "pr: Scores per cell" in page.text


def test_rows_of_seasons_and_regions_are_not_mixed_in(tmp_path: Path) -> None:
    winter = summary(net=0.01).assign(season="DJF")
    _, page = written(tmp_path, table=pd.concat([summary(), winter]))
    assert "(0.320 K)" in page.text


def test_settings_stand_side_by_side(tmp_path: Path) -> None:
    text, page = written(tmp_path)
    rows_of_settings = {row[0]: row[1:] for row in page.rows if row}
    assert rows_of_settings["network.filters"] == ["32", "7"]
    assert "training.loss.mae" not in rows_of_settings
    assert re.search(r'<dt class="mono">training.loss.mae</dt>\s*<dd>1</dd>', text)
    assert text.count(">network.filters<") == 1


def test_settings_come_in_the_order_of_the_models() -> None:
    table = settings_table(config(), ["other", "net"])
    assert table["models"] == ["other", "net"]
    assert {"key": "network.filters", "values": ["7", "32"]} in table["rows"]
    one = config(models={"net": {"backbone": "resnet", "upsampling": "spc"}})
    assert settings_table(one)["rows"] == []
    assert {"key": "network.upsampling", "value": "spc"} in settings_table(one)["alike"]


@pytest.mark.parametrize(
    ("net", "width", "expected"),
    [
        (0.3, 0.01, "47% lower than the best baseline on the test period, bicubic"),
        (0.3, 0.01, "the two intervals do not overlap"),
        (0.56, 0.1, "the two intervals overlap, so this may be chance"),
        (0.3, 0.01, "All 2 networks have a lower test RMSE than every baseline."),
        (
            0.3,
            0.01,
            "0.320 K, 90% interval 0.310 to 0.330 K (median of 3 seeds, which range from 0.310 to 0.330)",
        ),
    ],
)
def test_summary_in_words(net: float, width: float, expected: str) -> None:
    table = summary(net=net, other=net + 0.02, width=width)
    assert expected in " ".join(summary_in_words(table, "t2m", networks=["net", "other"], confidence=0.9))


def test_summary_says_when_a_network_does_not_beat_a_baseline() -> None:
    def words(net: float, other: float) -> str:
        return " ".join(summary_in_words(summary(net, other), "t2m", networks=["net", "other"], confidence=0.9))

    worse = words(0.88, 0.95)
    assert "net has the lowest RMSE on the validation period" in worse
    assert "It does not beat the best baseline on the test period, bicubic" in worse
    assert "its RMSE is 50% higher" in worse
    assert "None of the 2 networks has a lower test RMSE than bicubic." in worse
    assert "both are equal" in words(0.58, 0.7)
    assert "1 of 2 networks have a lower test RMSE than bicubic: net." in words(0.3, 0.9)


def of_members(model: str, split: str, **values: float) -> pd.DataFrame:
    units = {"crps": "degC", "mae": "degC"}
    table = pd.DataFrame(
        {
            "variable": "t2m",
            "metric": list(values),
            "unit": [units.get(name, "1") for name in values],
            "value": list(values.values()),
            "lower": [0.9 * value for value in values.values()],
            "upper": [1.1 * value for value in values.values()],
        }
    )
    return complete_rows(table, model=model, seed=0, split=split)


def with_members() -> pd.DataFrame:
    parts = [summary()]
    for split in ("validation", "test"):
        parts += [
            rows("net-seeds", 0, split, 0.2),
            of_members("net-seeds", split, crps=0.15, mae=0.19, spread_skill=0.6, rank_deviation=0.25),
            of_members("climatological-ensemble", split, crps=0.5, mae=0.7, spread_skill=1.0, rank_deviation=0.02),
            of_members("bicubic", split, mae=0.3),
        ]
    return pd.concat(parts)


def test_the_summary_says_what_the_best_ensemble_is_worth() -> None:
    def words(table: pd.DataFrame) -> str:
        options: dict[str, Any] = {"networks": ["net", "other"], "ensembles": ["net-seeds"], "confidence": 0.9}
        return " ".join(summary_in_words(table, "t2m", **options))

    text = words(with_members())
    assert "of 2 networks, net has the lowest RMSE" in text  # of the ensemble it is lower
    assert "the best baseline on the test period, bicubic" in text
    assert (
        "Of 2 models with members, net-seeds has the lowest CRPS on validation; on the test period its CRPS is "
        "0.150 K, 90% interval 0.135 to 0.165 K, 50% lower than the lowest MAE of the models without members (0.300 K "
        "of bicubic; of one value the CRPS is the MAE). Its spread is too small (0.60 of the error of its mean); 25% "
        "of the truth has a rank among the members that it should not have."
    ) in text
    table = with_members()
    other = words(table[table["model"] != "net-seeds"])
    assert "One model has members, climatological-ensemble; on the test period" in other
    assert "67% higher than the lowest MAE" in other
    assert "Its spread is as large as it should be" in other
    assert words(summary()) == " ".join(summary_in_words(summary(), "t2m", networks=["net", "other"], confidence=0.9))


def test_ensembles_stand_in_the_page(tmp_path: Path) -> None:
    settings = config(prediction={"seed_ensemble": True})
    assert {("net-seeds", 0), ("other-seeds", 0)} <= set(runs(settings))
    text, page = written(tmp_path, settings, with_members())
    assert "Ensembles, test period" in page.text
    assert re.search(r'net-seeds <span class="under">\s*<span class="kind network">ensemble</span>', text)
    row = next(row for row in page.rows if row and row[0].startswith("net-seeds"))
    assert row[1] == ""  # seeds
    plain = written(tmp_path, config(), summary())[0]
    assert "ensemble" not in plain.lower()
    assert "Models with members" not in plain


def test_summary_with_less_to_say() -> None:
    def words(table: pd.DataFrame) -> list[str]:
        return summary_in_words(table, "t2m", networks=["net"], confidence=0.9)

    only_validation = words(rows("net", 1, "validation", 0.3))
    assert only_validation == ["t2m: the network net has a validation RMSE of 0.300 K."]
    both = [rows("net", 1, split, 0.3, width=np.nan) for split in ("validation", "test")]
    assert words(pd.concat(both))[1:2] == ["On the test period the RMSE of net is 0.300 K."]
    perfect = pd.concat([*both, rows("bicubic", 0, "test", 0.0)])
    assert "leaves nothing to gain" in " ".join(words(perfect))


def test_typical_seed_is_that_of_the_median() -> None:
    table = pd.concat(
        [rows("net", seed, "validation", value) for seed, value in ((1, 0.9), (2, 0.1), (3, 0.5), (4, 0.6))]
    )
    assert typical_seeds(table, "t2m", ["net", "unknown"]) == {"net": 3}


def test_samples_are_described_from_their_files(tmp_path: Path) -> None:
    time = [cftime.Datetime360Day(2040 + year, 2, 30) for year in range(5)]
    values = np.zeros((5, 8, 12))
    values[:, :2] = np.nan
    values[3, 1, 5] = 1.0  # once only
    fine = xr.Dataset(
        {
            "tas": (("time", "lat", "lon"), values, {"units": "K", "standard_name": "air_temperature"}),
            "pr": (("time", "lat", "lon"), np.zeros((5, 8, 12)), {"units": "mm"}),
        },
        coords={"time": time, "lat": np.arange(8.0), "lon": 160 + 2.5 * np.arange(12.0)},
    )
    fine.to_netcdf(tmp_path / "fine.nc")
    fine.coarsen(lat=4, lon=4).mean().to_netcdf(tmp_path / "coarse.nc")
    described = describe_samples({"test": tmp_path / "fine.nc"}, tmp_path / "coarse.nc")
    assert described["splits"] == [
        {"name": "test", "steps": 5, "first": "2040-02-30", "last": "2044-02-30", "calendar": "360_day"}
    ]
    assert described["variables"] == {
        "tas": {"long_name": "air temperature", "units": "K", "cells": 73},
        "pr": {"long_name": "", "units": "mm", "cells": 96},
    }
    limits = {"south": 0.0, "north": 7.0, "west": 160.0, "east": -172.5}
    assert described["grids"][0] == {
        "name": "fine",
        "shape": [8, 12],
        "description": "8 x 12 latlon 1 x 2.5 deg",
        **limits,
    }
    assert (described["grids"][1]["name"], described["grids"][1]["shape"]) == ("coarse", [2, 3])
    (tmp_path / "bad.nc").write_bytes(b"no netCDF")
    with pytest.raises(DataError, match="expected a netCDF file of samples"):
        describe_samples({"test": tmp_path / "bad.nc"})


@pytest.mark.parametrize("kind", KINDS)
def test_samples_on_any_grid(kind: str, tmp_path: Path) -> None:
    truth = field_on(kind, steps=3)
    truth.to_dataset().to_netcdf(tmp_path / "fine.nc")
    described = describe_samples({"train": tmp_path / "fine.nc", "test": tmp_path / "fine.nc"})
    grid = described["grids"][0]
    assert grid["description"].startswith(f"{truth.shape[1]} x {truth.shape[2]} {kind}")
    assert grid["north"] == pytest.approx(float(truth["lat"].max()), abs=1e-6)
    assert described["variables"]["tas"]["cells"] == truth[0].size
    assert [split["name"] for split in described["splits"]] == ["train", "test"]


def test_predicted_cells_of_several_predictands() -> None:
    both = {name: {"source": "src", "variable": name} for name in ("tas", "pr")}
    grid = {"name": "fine", "shape": [4, 5], "description": "4 x 5 projected 5 x 5 km"}
    grid |= {"south": 1.0, "north": 2.0, "west": 3.0, "east": 4.0}

    def cells(tas: int, pr: int) -> str:
        samples = {"variables": {"tas": {"cells": tas}, "pr": {"cells": pr}}, "grids": [grid]}
        return str(data_tables(config(data={"predictands": both, "scale": 4}), samples)["grids"][0]["cells"])

    assert cells(20, 20) == "4 × 5"
    assert cells(12, 12) == "4 × 5; predicted: 12"
    assert cells(12, 20) == "4 × 5; predicted: 12 (tas), 20 (pr)"


def test_inputs_of_every_origin_are_listed() -> None:
    data = {
        "predictands": {"tas": {"source": "src", "variable": "t"}},
        "coarse": {"from": "src", "variables": {"tas": "ta"}},
        "predictors": {"z500": {"source": "src", "variable": "z", "level": 500, "units": "m"}},
        "static": {"north": {"derived": "latitude"}},
        "scale": 4,
    }
    rows = data_tables(config(data=data), {})["variables"]
    found = [(row["name"], row["role"], row["source"], row["variable"], row["units"]) for row in rows]
    assert found == [
        ("tas", "predictand", "src", "t", ""),
        ("tas", "coarse input", "src", "ta", ""),
        ("z500", "predictor", "src", "z", "m"),
        ("north", "static field", "derived from the grid", "latitude", ""),
    ]


@pytest.mark.parametrize(
    ("coarse", "expected"),
    [
        ({"from": "src", "variables": {"tas": "ta"}}, "The coarse fields come from another data set, src; predictors"),
        (
            {"from": "predictands"},
            "The coarse input is each predictand itself, coarsened by 4 with area-weighted means;",
        ),
        ({"from": "none"}, "There are no coarse fields of the predictands; predictors are z500. Inputs reach 1 coarse"),
    ],
)
def test_pairs_in_words(coarse: dict[str, Any], expected: str) -> None:
    data = {
        "predictands": {"tas": {"source": "src", "variable": "t"}},
        "coarse": coarse,
        "predictors": {"z500": {"source": "src", "variable": "z", "level": 500}},
        "scale": 4,
        "context": 1,
    }
    settings = config(data=data, verification={"baselines": ["climatology"]})
    assert pairs_in_words(settings).startswith(expected)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"train": ["2001", "2002"], "validation": ["2003", "2003"], "test": ["2004", "2004"]}, ["2004", "2004"]),
        ({"method": "years", "train": [2001], "validation": [2002], "test": [2003, 2005]}, ["2003, 2005"]),
        ({"method": "years", "fractions": {}, "seed": 4}, ["years drawn at random, seed 4"]),
        ({"method": "blocks"}, ["blocks drawn at random, seed 1"]),
        ({"method": "kfold", "folds": 4}, ["years in 4 folds"]),
    ],
)
def test_splits_of_every_method(split: dict[str, Any], expected: list[str]) -> None:
    assert data_tables(config(split=split), {})["periods"][2]["configured"] == expected


def test_no_model_is_best_where_a_score_is_undefined() -> None:
    table = summary()
    table.loc[table["metric"] == "pearson", ["value", "lower", "upper"]] = np.nan
    shown = score_table(table, "t2m", "test", ["net", "other"])
    column = [entry["metric"] for entry in shown["columns"]].index("pearson")
    cells = [row["cells"][column] for row in shown["rows"]]
    assert {(cell["value"], cell["best"], cell["sort"]) for cell in cells} == {("–", False, "")}


def test_files_are_sorted_by_run() -> None:
    settings = config(seeds=[1])
    assert runs(settings) == [("net", 1), ("other", 1), ("bicubic", 0), ("nearest", 0)]
    files = [
        "r/net/seed1/figures/a.png",
        "r/net/seed1/figures/b.png",
        "r/nearest/seed0/c.png",
        "r/old/seed1/d.png",
    ]
    found = by_run(settings, "r", files)
    assert {run: [file.name for file in chosen] for run, chosen in found.items()} == {
        ("net", 1): ["a.png", "b.png"],
        ("nearest", 0): ["c.png"],
    }


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    options = {
        "config": config(),
        "summary": summary(),
        "provenance": provenance.collect(config(), []),
        "template": TEMPLATE,
    }
    (tmp_path / "taylor-t2m.png").write_text("no picture")
    for changed, message in (
        ({"summary": summary()[:0]}, "expected scores over the whole domain"),
        ({"template": tmp_path / "none.j2"}, "expected the template"),
        ({"overview": [tmp_path / "ranking-t2m.png"]}, "can't read it"),
        ({"overview": [tmp_path / "taylor-t2m.png"]}, "expected a PNG or GIF file"),
    ):
        with pytest.raises(DataError, match=message):
            write_report(tmp_path / "report.html", **(options | changed))  # type: ignore[arg-type]
    assert not (tmp_path / "report.html").exists()


def test_units_numbers_durations_and_sizes() -> None:
    expected = {"degC": "°C", "1": "", "m s**-1": "m s⁻¹", "kg m-2 s-1": "kg m⁻² s⁻¹", "W m^2": "W m²"}
    assert {unit: unit_text(unit) for unit in expected} == expected
    assert unit_text(None) == ""
    assert [difference_unit_text(unit) for unit in ("degC", "K", "mm")] == ["K", "K", "mm"]
    assert [number(value) for value in (0.35971, 1234.6, -0.5, float("nan"), 12.0)] == [
        "0.360",
        "1235",
        "−0.500",
        "–",
        "12.0",
    ]
    assert [fixed(-0.0004, 3), fixed(-1.26, 1), fixed(float("nan"), 2)] == ["0.000", "−1.3", "–"]
    assert [duration(value) for value in (4.24, 200, 7300)] == ["4.2 s", "3 min 20 s", "2 h 1 min"]
    assert [size(value) for value in (812, 1.86e6, 5e15)] == ["812 B", "1.9 MB", "5000.0 TB"]


def changing(model: str, seed: int, scenario: str, **values: float) -> pd.DataFrame:
    """Rows of a scenario: its metrics by name."""
    units = ["1" if name == "change_pearson" else "degC" if name in ("rmse", "bias") else "K" for name in values]
    table = pd.DataFrame({"variable": "t2m", "metric": list(values), "unit": units, "value": list(values.values())})
    return complete_rows(table, model=model, seed=seed, split="", scenario=scenario)


def with_scenarios() -> tuple[Config, pd.DataFrame, dict[str, pd.DataFrame]]:
    """A past with truth, a future with a reference, and one of which nothing is known."""
    scenarios = {
        "past": {"sources": {"src": "gcm"}, "reference": "past", "harmonise": "mean-variance"},
        "future": {"sources": {"src": "gcm"}, "reference": "past", "harmonise": "mean-variance"},
        "unknown": {"sources": {"src": "gcm"}},
    }
    sources = {name: {"paths": [f"data/{name}.nc"]} for name in ("src", "gcm")}
    settings = config(prediction={"scenarios": scenarios}, sources=sources)
    parts = [summary()]
    for seed, change in ((1, 2.0), (2, 2.5), (3, 9.0)):
        keys = {"change": change, "coarse_change": 2.25, "change_rmse": change / 10}
        parts.append(changing("net", seed, "future", **keys))
        parts.append(changing("other", seed, "future", **keys | {"change_rmse": 0.1, "change_pearson": np.nan}))
        parts.append(changing("net", seed, "past", rmse=0.5 + seed, bias=-0.25))
    parts.append(changing("bicubic", 0, "future", change=1.5, coarse_change=2.25, change_rmse=0.01))
    outside = pd.DataFrame({"variable": ["t2m", "z_500"], "below": [0.0, 0.0125], "above": [0.345, 0.0]})
    return settings, pd.concat(parts), {"future": outside}


def test_scenarios_have_a_table_each() -> None:
    past, future, unknown = scenario_tables(*with_scenarios())
    assert (future["scenario"], future["reference"], future["harmonise"]) == ("future", "past", "mean-variance")
    assert future["columns"] == [
        "Predicted change (K)",
        "Change of the inputs (K)",
        "RMSE of the change (K)",
        "Pattern correlation",
    ]
    # Networks first, each kind in the order of the error; medians over seeds; what is undefined is a dash.
    assert [(row["model"], row["network"]) for row in future["rows"]] == [
        ("other", True),
        ("net", True),
        ("bicubic", False),
    ]
    assert [row["cells"][0] for row in future["rows"]] == [number(2.5), number(2.5), number(1.5)]
    assert [row["cells"][2] for row in future["rows"]] == [number(0.1), number(0.25), number(0.01)]
    assert {row["cells"][3] for row in future["rows"]} == {"–"}
    assert future["outside"] == [
        {"variable": "t2m", "below": "0.0 %", "above": "34.5 %"},
        {"variable": "z_500", "below": "1.2 %", "above": "0.0 %"},
    ]
    assert past["columns"] == ["RMSE (K)", "Bias (K)"]
    assert [row["cells"] for row in past["rows"]] == [[number(2.5), number(-0.25)]]
    assert (past["reference"], past["harmonise"], past["outside"]) == ("past", "mean-variance", [])
    assert unknown["columns"] == unknown["rows"] == []


def test_scenarios_stand_in_the_page_and_change_no_other_score(tmp_path: Path) -> None:
    settings, table, inputs = with_scenarios()
    page = written(tmp_path, settings, table, inputs=inputs)[1]
    assert page.open == []
    for expected in ("Changes are relative to past.", "Inputs are harmonised (mean-variance).", "t2m 0.0 %, 34.5 %"):
        assert expected in " ".join(page.text.split())
    plain = written(tmp_path, config(), summary())[1]
    assert "Scenarios" not in plain.text
    scores = [[row for row in part.rows if row and row[0].startswith("net")] for part in (page, plain)]
    assert len(scores[1]) >= 2
    assert [row for row in scores[0] if row in scores[1]] == scores[1]
