"""Counts and reach of networks against what can be worked out by hand, and the page of the documentation."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

from dl4ds_core.config.models import Model
from dl4ds_core.models.overview import combinations, receptive_field, weights_by_part

DOCS = Path(__file__).resolve().parents[3] / "docs"


def network(backbone: str = "convnet", upsampling: str = "pin", **settings) -> Model:
    options = {"filters": 8, "blocks": 2, "localized": "none", "interpolation": "nearest"}
    return Model(**{"backbone": backbone, "upsampling": upsampling, **options, **settings})


@pytest.fixture(scope="module")
def generator():
    specification = importlib.util.spec_from_file_location("networks_table", DOCS / "networks_table.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_all_combinations_once():
    found = list(combinations())
    assert len(found) == len(set(found)) == 5 * 4 + 3 * 4


def test_weights_of_a_convnet_are_those_counted_by_hand():
    counts = weights_by_part(network(), 4)
    assert counts == {"blocks": (9 + 1) * 8 + 4 * (9 * 8 + 1) * 8, "skip": 0, "upsampling": 0, "output": 9 * 8 + 1}


def test_weights_of_the_upsampling_are_counted_apart():
    counts = weights_by_part(network("resnet", "spc"), 4)
    assert counts["upsampling"] == 2 * (9 * 8 + 1) * 8 * 4


def test_all_weights_are_in_some_part():
    for backbone, upsampling, windowed in combinations():
        settings = network(backbone, upsampling, time_window=2 if windowed else None)
        from dl4ds_core.models.networks import build_network

        built = build_network(settings, coarse_shape=(4, 4), scale=4, channels=1, outputs=1, base=[0])
        assert sum(weights_by_part(settings, 4).values()) == built.count_params()


@pytest.mark.parametrize(("blocks", "convolutions"), [(1, 4), (2, 6)])
def test_the_reach_of_convolutions_on_the_fine_grid(blocks, convolutions):
    # Each looks one fine cell further: the outermost cells of a coarse cell of 4 reach so many coarse cells.
    cells = 1 + -(-convolutions // 4) + -(-(convolutions - 3) // 4)
    assert receptive_field(network(blocks=blocks), 4) == cells


def test_the_precision_is_as_before():
    before = keras.config.dtype_policy()
    receptive_field(network(blocks=1), 2)
    assert keras.config.dtype_policy() == before


def test_the_weights_on_the_page_are_those_of_the_code(generator):
    written = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page(generator.written_reach()) == written, "run: python docs/networks_table.py"


@pytest.mark.full
def test_the_reach_on_the_page_is_that_of_the_code(generator):
    for kind, written in generator.written_reach().items():
        assert str(receptive_field(generator.network(*kind), generator.SCALE)) == written, kind
