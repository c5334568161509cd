"""Differences between models, from the same resamples of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dl4ds_core.errors import DataError
from dl4ds_core.io import atomic
from dl4ds_core.verification.bootstrap import intervals
from dl4ds_core.verification.metrics import METRICS

__all__ = ["COMPARED", "COMPARISON_COLUMNS", "compare", "read_comparison", "write_comparison"]

FloatArray = npt.NDArray[np.float64]

COMPARED = ("rmse", "mae")
"""Scores by which models are compared."""

COMPARISON_COLUMNS = (
    *("variable", "metric", "model", "reference", "unit", "difference", "lower", "upper", "p", "p_adjusted"),
    "significant",
)
"""Columns of a table of differences."""


def compare(
    values: Mapping[str, Sequence[float]],
    resampled: Mapping[str, Sequence[FloatArray]],
    reference: str,
    *,
    variable: str,
    metric: str,
    unit: str,
    confidence: float = 0.9,
) -> pd.DataFrame:
    r"""Compare all models with one of them.

    All have the same resamples, so the difference of two models is resampled too: its spread is not that of the weather
    that both have seen, but of what sets them apart. The p value is that of a two-sided test of no difference,
    :math:`2 \min(P(d^* \le 0), P(d^* \ge 0))` with one added to numerator and denominator (Davison and Hinkley 1997,
    eq. 4.11), adjusted for the number of models compared (Benjamini and Hochberg 1995).

    Parameters
    ----------
    values : mapping of str to sequence of float
        Score of each seed, by model.
    resampled : mapping of str to sequence of numpy.ndarray
        The resampled score ``(sample,)`` of each seed, by model.
    reference : str
        The model that all others are compared with.
    variable, metric, unit : str
        What is compared: a predictand, one of `METRICS` and its unit.
    confidence : float
        Of the intervals; a difference is significant where its adjusted p is not above 1 minus this.

    Returns
    -------
    pandas.DataFrame
        A row per other model, with `COMPARISON_COLUMNS`. ``difference`` is the distance from a perfect score of the
        model less that of the reference, so it is positive where the model is worse; of several seeds medians count.

    Raises
    ------
    DataError
        If the reference is not among the models or numbers of resamples differ.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap methods and their application. Cambridge University Press.
    doi:10.1017/CBO9780511802843
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the Royal Statistical
    Society B, 57, 289-300. doi:10.1111/j.2517-6161.1995.tb02031.x
    """
    from scipy.stats import false_discovery_control

    sizes = {len(each) for seeds in resampled.values() for each in seeds}
    if reference not in resampled or len(sizes) != 1:
        raise DataError(
            f"Comparison: expected resamples of {reference} and all other models, of one number; found those of "
            f"{', '.join(resampled) or 'none'}, numbers {sorted(sizes)}. Verify all models again."
        )
    perfect = METRICS[metric].perfect
    distances = {name: np.abs(np.median(np.stack(seeds), axis=0) - perfect) for name, seeds in resampled.items()}
    whole = {name: abs(float(np.median(seeds)) - perfect) for name, seeds in values.items()}
    rows: list[dict[str, object]] = []
    for name in resampled:
        if name == reference:
            continue
        drawn = distances[name] - distances[reference]
        drawn = drawn[np.isfinite(drawn)]
        lower, upper = (
            (float(end) for end in intervals(drawn, confidence=confidence)) if drawn.size else (np.nan, np.nan)
        )
        tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        p = min(1.0, 2 * (1 + tail) / (1 + drawn.size))
        about = {"variable": variable, "metric": metric, "model": name, "reference": reference, "unit": unit}
        rows.append(about | {"difference": whole[name] - whole[reference], "lower": lower, "upper": upper, "p": p})
    table = pd.DataFrame(rows)
    if len(table):
        table["p_adjusted"] = false_discovery_control(table["p"].to_numpy(dtype=float))
        table["significant"] = table["p_adjusted"] <= 1 - confidence
    return table.reindex(columns=list(COMPARISON_COLUMNS))


def write_comparison(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table of differences; the file appears only when whole.

    Parameters
    ----------
    table : pandas.DataFrame
        Tables of `compare`, joined.
    path : str or Path
        The file.
    """
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read_comparison(path: str | Path) -> pd.DataFrame:
    """Read a table of differences.

    Raises
    ------
    DataError
        If the file has other columns.
    """
    # A model may be called NA: only numbers can be missing.
    table = pd.read_csv(path, keep_default_na=False, na_values={"lower": [""], "upper": [""]}, dtype={"model": "str"})
    if tuple(table.columns) != COMPARISON_COLUMNS:
        raise DataError(
            f"{path}: expected the columns {', '.join(COMPARISON_COLUMNS)}; found {', '.join(table.columns)}. "
            "Verify again."
        )
    return table
