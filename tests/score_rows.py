"""Rows of the table of scores."""

from __future__ import annotations

import pandas as pd


def of_the_whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, by metric, of scores with one value that are over the whole domain and all steps."""
    parts = ["threshold", "scale", "season", "region"]
    chosen = rows[rows[parts].isna().all(axis=1)].set_index("metric").drop(columns=parts)
    assert chosen.index.is_unique
    return chosen
