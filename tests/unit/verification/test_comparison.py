"""Differences between models from common resamples: their size, their significance, and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dl4ds_core.errors import DataError
from dl4ds_core.verification import compare, read_comparison, write_comparison

ABOUT = {"variable": "tas", "unit": "K"}
#: A spread that all models share, as of the weather that was drawn.
COMMON = np.random.default_rng(1).normal(scale=0.2, size=999)


def drawn(value: float, seed: int = 0, noise: float = 0.001) -> np.ndarray:
    return value + COMMON + np.random.default_rng(seed).normal(scale=noise, size=COMMON.size)


def compared(metric: str = "rmse", **values: float) -> pd.DataFrame:
    resampled = {name: [drawn(value, seed)] for seed, (name, value) in enumerate(values.items())}
    whole = {name: [value] for name, value in values.items()}
    return compare(whole, resampled, next(iter(values)), metric=metric, **ABOUT).set_index("model")


def test_a_common_spread_hides_no_difference() -> None:
    """The intervals of both models overlap widely; that of their difference is narrow."""
    table = compared(net=2.0, other=2.02)
    row = table.loc["other"]
    assert row["difference"] == pytest.approx(0.02)
    assert 0.015 < row["lower"] < row["difference"] < row["upper"] < 0.025
    assert row["p"] == pytest.approx(2 / 1000)
    assert row["significant"]
    assert (row["reference"], row["metric"], row["unit"]) == ("net", "rmse", "K")


def test_what_is_chance_is_not_significant() -> None:
    resampled = {"net": [drawn(2.0, 1, 0.1)], "same": [drawn(2.0, 2, 0.1)]}
    row = compare({"net": [2.0], "same": [2.0]}, resampled, "net", metric="rmse", **ABOUT).iloc[0]
    assert row["difference"] == 0
    assert row["p"] > 0.5
    assert not row["significant"]
    assert row["lower"] < 0 < row["upper"]


def test_p_is_adjusted_for_the_number_of_models() -> None:
    """By hand (Benjamini and Hochberg): the largest p stays, a smaller one times number over rank, in order."""
    random = np.random.default_rng(3)
    resampled = {"net": [np.zeros(999)]} | {
        name: [random.normal(shift, 1, 999)] for name, shift in zip("abcd", range(4), strict=True)
    }
    table = compare({key: [1.0] for key in resampled}, resampled, "net", metric="mae", **ABOUT).sort_values("p")
    p = table["p"].to_numpy()
    expected = np.minimum.accumulate((p * 4 / np.arange(1, 5))[::-1])[::-1]
    np.testing.assert_allclose(table["p_adjusted"], expected)
    assert (table["significant"] == (table["p_adjusted"] <= 0.1)).all()


def test_what_counts_is_the_distance_from_a_perfect_score() -> None:
    """A negative bias is no better than a positive one, and a correlation is worse where it is lower."""
    bias = compare(
        {"net": [0.1], "other": [-0.3]},
        {"net": [np.full(99, 0.1)], "other": [np.full(99, -0.3)]},
        "net",
        metric="bias",
        **ABOUT,
    )
    assert bias["difference"].item() == pytest.approx(0.2)
    pearson = compare(
        {"net": [0.9], "other": [0.7]},
        {"net": [np.full(99, 0.9)], "other": [np.full(99, 0.7)]},
        "net",
        metric="pearson",
        variable="tas",
        unit="1",
    )
    assert pearson["difference"].item() == pytest.approx(0.2)


def test_of_several_seeds_medians_are_compared() -> None:
    resampled = {"net": [np.full(99, value) for value in (1.0, 2.0, 9.0)], "other": [np.full(99, 3.0)]}
    row = compare({"net": [1.0, 2.0, 9.0], "other": [3.0]}, resampled, "net", metric="rmse", **ABOUT).iloc[0]
    assert (row["difference"], row["lower"], row["upper"]) == (1.0, 1.0, 1.0)


def test_one_model_alone_gives_an_empty_table(tmp_path: Path) -> None:
    table = compare({"net": [1.0]}, {"net": [COMMON]}, "net", metric="rmse", **ABOUT)
    assert table.empty
    write_comparison(table, tmp_path / "comparisons.csv")
    assert read_comparison(tmp_path / "comparisons.csv").empty


@pytest.mark.parametrize("resampled", [{"other": [np.zeros(9)]}, {"net": [np.zeros(9)], "other": [np.zeros(8)]}])
def test_resamples_that_do_not_belong_together_are_refused(resampled: dict[str, list[np.ndarray]]) -> None:
    with pytest.raises(DataError, match="Verify all models again"):
        compare({key: [1.0] for key in resampled}, resampled, "net", metric="rmse", **ABOUT)


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    resampled = {name: [drawn(value)] for name, value in (("net", 1.0), ("NA", 2.0), ("1", 3.0))}
    table = compare({name: [1.0] for name in resampled}, resampled, "net", metric="rmse", **ABOUT)
    write_comparison(table, tmp_path / "comparisons.csv")
    pd.testing.assert_frame_equal(read_comparison(tmp_path / "comparisons.csv"), table, check_dtype=False)
    (tmp_path / "comparisons.csv").write_text("model,rmse\nnet,1\n")
    with pytest.raises(DataError, match="expected the columns"):
        read_comparison(tmp_path / "comparisons.csv")
