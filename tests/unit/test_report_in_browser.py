"""The report of a large study as a browser shows it: Chromium opens it from disk, wide and on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reporting import NASTY, TEMPLATE, config, history

from dl4ds_core import figures, provenance
from dl4ds_core.config import BASELINES
from dl4ds_core.report import write_report
from dl4ds_core.verification import METRICS, compare, complete_rows

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
NETWORKS = [f"resnet-spc_filters-{2**number}_blocks-{number}" for number in range(1, 13)]
WIDTHS = (1400, 400)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium isn't installed")

# What is found in a frame of some width; a frame, because a window of Chromium isn't narrower than 500 pixels.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><iframe src="report.html" width="%d" height="900"></iframe>
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const width = page.documentElement.clientWidth;
  for (const part of page.querySelectorAll("details")) part.open = true;
  const name = (node) => `${node.tagName} ${(node.textContent || node.alt || "").trim().slice(0, 40)}`;
  const shown = Array.from(page.body.querySelectorAll("*")).filter((node) => node.getClientRects().length);
  const loose = shown.filter((node) => !node.closest(".scroll") || node.matches(".scroll"));
  const outside = loose.filter((node) => {
    const box = node.getBoundingClientRect();
    return box.right > width + 1 || box.left < -1;
  });
  // A cell's text must stay inside of the cell, also where the table scrolls.
  const cells = Array.from(page.querySelectorAll("td, th, dd, dt, figcaption, summary, p, h1, h2, h3, h4"));
  const spilled = cells.filter((node) => node.scrollWidth > node.clientWidth + 1);
  const images = Array.from(page.images).map((image) => image.complete && image.naturalWidth > 0);
  const tables = Array.from(page.querySelectorAll("table.scores")).map((table) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    return heads.map((head, column) => {
      const read = () => Array.from(table.tBodies[0].rows).map((row) =>
        row.cells[column].dataset.sort ?? row.cells[column].textContent.trim());
      const orders = [0, 1].map(() => {
        head.querySelector("button").click();
        return [head.getAttribute("aria-sort"), ...read()];
      });
      return orders;
    });
  });
  const found = {
    width, images, tables,
    outside: outside.map(name), spilled: spilled.map(name),
    text: page.body.innerText, scripts: page.scripts.length, title: page.title,
  };
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
});
</script>"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with twelve networks and all baselines, all scores and some figures."""
    folder = tmp_path_factory.mktemp("study")
    source = {"paths": ["data/a&b.nc"], "citation": NASTY, "licence": "<b>CC</b>"}
    models = {name: {"backbone": "resnet", "upsampling": "spc"} for name in NETWORKS}
    settings = config(
        title=NASTY,
        sources={"src": source},
        models=models,
        seeds=[1],
        verification={"baselines": list(BASELINES), "regions": {"south": {"lat": [0, 10]}}},
    )
    summary = scores()
    pictures = folder / "pictures"
    figures.save(figures.ranking(summary, "t2m", networks=NETWORKS), pictures / "ranking-t2m.png")
    for model in NETWORKS:
        (pictures / model).mkdir()
        shutil.copy(pictures / "ranking-t2m.png", pictures / model / "scores-t2m.png")
    (folder / "input <b>&.nc").write_bytes(b"abc")
    write_report(
        folder / "report.html",
        config=settings,
        summary=summary,
        provenance=provenance.collect(settings, [folder / "input <b>&.nc"]),
        template=TEMPLATE,
        samples={"splits": [], "grids": [], "variables": {"t2m": {"long_name": NASTY, "units": "K", "cells": 9}}},
        figures={(name, 1): [pictures / name / "scores-t2m.png"] for name in NETWORKS},
        overview=[pictures / "ranking-t2m.png"],
        histories={(name, 1): history() for name in NETWORKS},
        comparison=differences(),
        command="snakemake --profile profiles/local --configfile config/experiments/<name>.yaml",
    )
    return folder


def scores() -> pd.DataFrame:
    """All scores of all models, over the whole, by season and by region."""
    random = np.random.default_rng(0)
    tables = []
    for model in (*NETWORKS, *BASELINES):
        for split in ("validation", "test"):
            for part in ({}, {"season": "DJF"}, {"season": "JJA"}, {"region": "south"}):
                metrics = list(METRICS) if not part else ["rmse", "bias"]
                values = random.uniform(-1000, 1000, len(metrics)) / 10 ** random.integers(0, 5)
                rows = {"variable": "t2m", "metric": metrics, "unit": "K", "value": values}
                table = pd.DataFrame(rows).assign(lower=values - 1, upper=values + 1, **part)
                tables.append(complete_rows(table, model=model, seed=int(model in NETWORKS), split=split))
    return pd.concat(tables)


def differences() -> pd.DataFrame:
    random = np.random.default_rng(1)
    drawn = {name: [random.normal(number, 3, 50)] for number, name in enumerate((*NETWORKS, *BASELINES))}
    values = {name: [float(each[0].mean())] for name, each in drawn.items()}
    return compare(values, drawn, NETWORKS[0], variable="t2m", metric="rmse", unit="K")


def opened(folder: Path, width: int) -> tuple[dict[str, Any], list[str], list[str]]:
    """Open the report in a frame and return what the probe finds, what the console says and what is asked for."""
    (folder / "probe.html").write_text(PROBE % width, encoding="utf-8")
    record = folder / f"network-{width}.json"
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
        *("--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={record}"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--window-size={max(width + 40, 600)},1000", "--enable-logging=stderr", "--virtual-time-budget=10000"),
        *("--dump-dom", (folder / "probe.html").as_uri()),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=180)
    found = re.search(r'<pre id="found">(.*?)</pre>', outcome.stdout, re.DOTALL)
    assert found, outcome.stderr[-2000:]
    said = [line for line in outcome.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), said, requests(record)


def requests(record: Path) -> list[str]:
    """Return the addresses that pages have asked for, but for files; Chromium's own requests have no origin."""
    text = record.read_text(encoding="utf-8", errors="replace").rstrip()
    if text.endswith(","):  # Chromium ended before it closed the record
        text = text[:-1] + "]}"
    events = [event.get("params", {}) for event in json.loads(text)["events"]]
    return [
        event["url"]
        for event in events
        if event.get("initiator", "not an origin") != "not an origin"
        and not event["url"].startswith(("file:", "data:"))
    ]


@pytest.fixture(scope="module", params=WIDTHS)
def view(request: pytest.FixtureRequest, study: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """The report in a frame of some width."""
    return opened(study, request.param)


def test_it_opens_without_an_error_and_asks_for_nothing(view: tuple[dict[str, Any], list[str], list[str]]) -> None:
    found, said, asked = view
    assert said == []
    assert asked == []
    assert found["scripts"] == 1


def test_a_page_that_asks_for_something_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(
        '<body><img src="http://127.0.0.1:9/x.png"><script>wrong()</script>', encoding="utf-8"
    )
    found, said, asked = opened(tmp_path, 400)
    assert asked == ["http://127.0.0.1:9/x.png"]
    assert any("wrong is not defined" in line for line in said)
    assert found["images"] == [False]


def test_all_images_load(view: tuple[dict[str, Any], list[str], list[str]]) -> None:
    assert view[0]["images"] == [True] * (len(NETWORKS) + 1)


def test_no_text_is_outside_of_its_box(view: tuple[dict[str, Any], list[str], list[str]]) -> None:
    found = view[0]
    assert found["width"] in WIDTHS or found["width"] + 15 in WIDTHS, "a scroll bar is all that narrows the frame"
    assert found["outside"] == []
    assert found["spilled"] == []


def test_tables_sort_by_each_column(view: tuple[dict[str, Any], list[str], list[str]]) -> None:
    tables = view[0]["tables"]
    assert len(tables) >= 5
    for columns in tables:
        for orders in columns:
            assert {order[0] for order in orders} == {"ascending", "descending"}
            for direction, *cells in orders:
                known = [cell for cell in cells if cell]
                assert cells[: len(known)] == known, "what is empty comes last"
                keys = [float(cell) for cell in known] if all(map(_is_number, known)) else list(map(_natural, known))
                assert keys == sorted(keys, reverse=direction == "descending")


def test_markup_in_names_is_shown_as_text(view: tuple[dict[str, Any], list[str], list[str]]) -> None:
    found = view[0]
    assert found["title"] == NASTY
    for text in (NASTY, "<b>CC</b>", "data/a&b.nc", "input <b>&.nc", "<name>.yaml"):
        assert text in found["text"]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) is not None


def _natural(text: str) -> list[Any]:
    """Return what orders names with numbers in them as people do."""
    return [int(part) if part.isdigit() else part.casefold() for part in re.split(r"(\d+)", text)]
