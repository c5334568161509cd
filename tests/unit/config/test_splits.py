"""Splits by years, blocks and folds: defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dl4ds_core.config import parse
from dl4ds_core.errors import ConfigError

Content = dict[str, Any]
LISTS = {"train": [2001, 2002], "validation": [2003], "test": [2004]}


def test_years_listed(content: Content) -> None:
    split = parse(content | {"split": {"method": "years", **LISTS}}).split
    assert (split.train, split.validation, split.test) == ([2001, 2002], [2003], [2004])
    assert (split.first_month, split.gap, split.fractions) == (1, "0d", None)


def test_years_drawn(content: Content) -> None:
    split = parse(content | {"split": {"method": "years", "fractions": {}, "seed": 3}}).split
    assert (split.fractions.validation, split.fractions.test, split.seed) == (0.15, 0.15, 3)


def test_blocks_have_defaults_for_all_keys(content: Content) -> None:
    split = parse(content | {"split": {"method": "blocks"}}).split
    assert (split.block, split.gap, split.fractions.test) == ("10d", "3d", 0.15)


def test_folds(content: Content) -> None:
    config = parse(content | {"split": {"method": "kfold"}})
    assert (config.folds, config.split.shuffle) == (5, True)
    assert parse(content | {"split": {"method": "blocks"}}).folds == 0


def test_a_method_may_be_named_that_is_the_default(content: Content) -> None:
    assert parse(content | {"split": {"method": "periods", **content["split"]}}) == parse(content)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"method": "years"}, "split: expected `train`, `validation` and `test` lists of years, or `fractions`"),
        ({"method": "years", "train": [1]}, "split: expected `train`, `validation` and `test` lists of years, or"),
        ({"method": "years", **LISTS, "fractions": {}}, "split: expected lists of years or `fractions`, found both"),
        ({"method": "years", **LISTS, "test": [2003]}, "split: the year 2003 is listed twice"),
        ({"method": "years", **LISTS, "test": [2004, 2004]}, "split: the year 2004 is listed twice"),
        ({"method": "years", **LISTS, "test": ["spring"]}, "split.test.0: input should be a valid integer"),
        ({"method": "years", **LISTS, "first_month": 13}, "split.first_month: input should be less than or equal to"),
        ({"method": "years", **LISTS, "gap": "-1d"}, "split.gap: expected a whole number, not below 0, and min"),
        ({"method": "blocks", "block": "0d"}, "split.block: expected a whole number and min, h, d, w, month or y"),
        ({"method": "blocks", "gap": "3"}, "split.gap: expected a whole number, not below 0, and min, h or d"),
        ({"method": "blocks", "gap": "10d"}, "split: expected a gap shorter than a block, found 10d and 10d: nothing"),
        ({"method": "blocks", "block": "36h", "gap": "2d"}, "split: expected a gap shorter than a block"),
        ({"method": "blocks", "seed": -1}, "split.seed: input should be greater than or equal to 0, found -1"),
        (
            {"method": "blocks", "fractions": {"validation": 0.5, "test": 0.5}},
            "split.fractions: expected validation + test below 1, so that something is left to train on",
        ),
        ({"method": "blocks", "fractions": {"test": 0}}, "split.fractions.test: input should be greater than 0"),
        ({"method": "kfold", "folds": 101}, "split.folds: input should be less than or equal to 100, found 101"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be(content: Content, split: Content, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(content | {"split": split})
    assert str(raised.value).startswith(f"config: {expected}"), raised.value
