"""Where a training stands: what is written is read, what is broken is nothing; durations as people say them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from dl4ds_core.training import standing
from dl4ds_core.training.standing import NAME, Standing, duration

HERE = Standing(
    epoch=3,
    step=12,
    epochs=20,
    steps=40,
    seconds_left=1234.5,
    validation_rmse=0.5,
    best=0.25,
    best_epoch=2,
    updated=1.75e9,
    job="17",
    host="node1",
    stopped="SIGUSR1",
    checkpoint_epoch=3,
    checkpoint_step=12,
)
START = dataclasses.replace(HERE, epoch=0, step=0, seconds_left=None, validation_rmse=None, best=None, stopped=None)


@pytest.mark.parametrize("written", [HERE, START])
def test_round_trip(tmp_path, written):
    standing.write(tmp_path / "checkpoints", written)
    assert standing.read(tmp_path / "checkpoints") == written


def test_nothing_is_there(tmp_path):
    assert standing.read(tmp_path / "nowhere") is None


def changed(**values: object) -> str:
    return json.dumps(dataclasses.asdict(HERE) | values)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param('{"epoch": 3', id="cut"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="no keys"),
        pytest.param(changed(further=1), id="more keys"),
        pytest.param(changed(epoch="3"), id="text for a number"),
        pytest.param(changed(step=-1), id="negative"),
        pytest.param(changed(epochs=True), id="truth value"),
        pytest.param(changed(updated=float("nan")), id="not a number"),
        pytest.param(changed(host=None), id="no host"),
        pytest.param(changed(best_by="r2"), id="no score"),
        pytest.param(changed(best_by=["rmse"]), id="list of scores"),
    ],
)
def test_a_broken_file_is_none(tmp_path, content):
    (tmp_path / NAME).write_text(content, encoding="utf-8")
    assert standing.read(tmp_path) is None


def test_bytes_that_are_no_text_are_none(tmp_path):
    (tmp_path / NAME).write_bytes(b"\xff\xfe\x00")
    assert standing.read(tmp_path) is None


@pytest.mark.parametrize(
    ("values", "text"),
    [({}, "0.25 (2)"), ({"best_by": "mae"}, "MAE 0.25 (2)"), ({"best_by": "loss", "best": None}, "-")],
    ids=str,
)
def test_the_best_in_words(values, text):
    assert dataclasses.replace(HERE, **values).best_text == text


def test_it_is_removed(tmp_path):
    standing.write(tmp_path, HERE)
    standing.remove(tmp_path)
    standing.remove(tmp_path)
    assert standing.read(tmp_path) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (-1, "0 s"),
        (47.6, "48 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (3 * 3600 + 12 * 60 + 59, "3 h 12 min"),
        (86400, "1 d"),
        (2 * 86400 + 4 * 3600 + 1800, "2 d 4 h"),
        (400 * 86400, "400 d"),
    ],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_it_is_read_without_tensorflow():
    code = (
        "import sys; from dl4ds_core.training import standing, stopping; "
        "sys.exit(bool({'tensorflow', 'keras', 'horovod'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
