"""The long table: columns, exact round trip, order and ranking."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dl4ds_core.errors import DataError
from dl4ds_core.verification import COLUMNS, complete_rows, ranking, read_summary, write_summary


def rows(value: float, *, metric: str = "rmse", variable: str = "t2m", unit: str = "K") -> pd.DataFrame:
    ends = {"lower": value - 0.1, "upper": value + 0.1}
    return pd.DataFrame([{"variable": variable, "metric": metric, "unit": unit, "value": value, **ends}])


def study() -> pd.DataFrame:
    """Three seeds of two networks and a baseline."""
    values = {"unet-pin": [0.3, 0.9, 0.4], "resnet-spc": [0.5, 0.5, 0.2], "bicubic": [0.7]}
    parts = [
        complete_rows(rows(value), model=model, seed=seed, split="test")
        for model, found in values.items()
        for seed, value in enumerate(found, start=int(len(found) > 1))
    ]
    parts.append(complete_rows(rows(0.01), model="bicubic", seed=0, split="validation"))
    return pd.concat(parts, ignore_index=True)


def test_columns_of_the_contract() -> None:
    assert ",".join(COLUMNS) == (
        "model,seed,fold,scenario,split,variable,metric,threshold,scale,season,region,unit,value,lower,upper,reference"
    )


def test_complete_rows() -> None:
    table = complete_rows(rows(0.5), model="resnet-spc", seed=2, split="test", region="land")
    assert tuple(table.columns) == COLUMNS
    row = table.iloc[0]
    assert (row["model"], row["seed"], row["split"], row["region"]) == ("resnet-spc", 2, "test", "land")
    assert (row["scenario"], row["season"], row["reference"]) == ("", "", "")
    assert pd.isna(row["fold"])
    assert math.isnan(row["threshold"])


def test_unknown_columns() -> None:
    with pytest.raises(DataError, match="found also skill"):
        complete_rows(rows(0.5).assign(skill=1), model="a", seed=1, split="test")


def test_exact_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    hard = [
        0.1 + 0.2,
        1e-300,
        -1 / 3,
        5e-324,
        np.nan,
        *random.normal(size=50) * 10.0 ** random.integers(-20, 20, 50),
    ]
    table = pd.concat(
        [complete_rows(rows(value), model="NA", seed=seed, split="test") for seed, value in enumerate(hard)]
    )
    write_summary(table, tmp_path / "summary.csv")
    back = read_summary(tmp_path / "summary.csv")
    pd.testing.assert_frame_equal(back, table.reset_index(drop=True), check_exact=True)
    assert back["model"].eq("NA").all()


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    table = study()
    write_summary(table, tmp_path / "one.csv")
    write_summary(table.sample(frac=1, random_state=3), tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    first = (tmp_path / "one.csv").read_text().splitlines()[1]
    assert first == "bicubic,0,,,test,t2m,rmse,,,,,K,0.7,0.6,0.7999999999999999,"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "two.csv"]


def test_an_older_table_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text("old")
    write_summary(study(), path)
    assert len(read_summary(path)) == len(study())


def test_two_rows_of_one_score(tmp_path: Path) -> None:
    table = study()
    with pytest.raises(DataError, match=r"two of .*unet-pin"):
        write_summary(pd.concat([table, table[:1]]), tmp_path / "summary.csv")
    assert not list(tmp_path.iterdir())


def test_another_file(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"other\.csv: expected the columns model, seed.*found a, b"):
        read_summary(path)


def test_ranking_takes_the_median_over_seeds(tmp_path: Path) -> None:
    write_summary(study(), tmp_path / "summary.csv")
    ranked = ranking(read_summary(tmp_path / "summary.csv"), metric="rmse", split="test")
    assert list(ranked.columns) == ["variable", "model", "unit", "seeds", "value", "lower", "upper"]
    assert ranked["model"].tolist() == ["unet-pin", "resnet-spc", "bicubic"]
    assert ranked["seeds"].tolist() == [3, 3, 1]
    np.testing.assert_allclose(ranked["value"], [0.4, 0.5, 0.7])
    np.testing.assert_allclose(ranked["upper"], [0.5, 0.6, 0.8])


@pytest.mark.parametrize(
    ("metric", "values", "order"),
    [
        ("bias", {"a": -0.5, "b": 0.1, "c": 0.3}, "bca"),
        ("std_ratio", {"a": 1.2, "b": 0.9, "c": 0.5}, "bac"),
        ("pearson", {"a": 0.2, "b": 0.99, "c": np.nan}, "bac"),
        ("rmse", {"c": 0.4, "b": 0.4, "a": 0.5}, "bca"),
    ],
)
def test_the_best_is_the_nearest_to_perfect(metric: str, values: dict[str, float], order: str) -> None:
    parts = [
        complete_rows(rows(value, metric=metric), model=model, seed=1, split="test") for model, value in values.items()
    ]
    assert "".join(ranking(pd.concat(parts), metric=metric, split="test")["model"]) == order


def test_ranking_leaves_parts_of_the_domain_out() -> None:
    parts = [study(), complete_rows(rows(0.0), model="bicubic", seed=0, split="test", season="DJF")]
    parts.append(complete_rows(rows(0.0), model="bicubic", seed=0, split="test", threshold=1.0))
    pd.testing.assert_frame_equal(ranking(pd.concat(parts)), ranking(study()))


def test_ranking_keeps_variables_apart() -> None:
    other = complete_rows(rows(5.0, variable="pr", unit="mm day-1"), model="bicubic", seed=0, split="test")
    ranked = ranking(pd.concat([study(), other]))
    assert ranked["variable"].tolist() == ["pr", "t2m", "t2m", "t2m"]


def test_nothing_to_rank() -> None:
    with pytest.raises(DataError, match="one of the scores bias, mae"):
        ranking(study(), metric="r2")
    with pytest.raises(DataError, match="no row of the score mae for the split test"):
        ranking(study(), metric="mae")
