"""What the summary says of models with members."""

from __future__ import annotations

import pandas as pd

from dl4ds_core.report.scores import Score, scores_of, unit_of
from dl4ds_core.report.text import difference_unit_text, number, quantity

_FITS = (0.9, 1.1)
"""A spread of between so many times the error fits it."""


def members_in_words(summary: pd.DataFrame, variable: str, *, confidence: float) -> str:
    """Say which model with members is best on validation, how it does on test, and whether its spread fits.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable : str
        The predictand.
    confidence : float
        Probability of the intervals.

    Returns
    -------
    str
        Sentences; empty where no model has members.
    """
    validation = scores_of(summary, variable, "crps", "validation")
    test = scores_of(summary, variable, "crps", "test")
    best = next(iter(validation), None)
    if best is None or best not in test:
        return ""
    unit = difference_unit_text(unit_of(summary, variable, "crps"))
    if len(validation) > 1:
        text = f"Of {len(validation)} models with members, {best} has the lowest CRPS on validation"
    else:
        text = f"One model has members, {best}"
    text += f"; on the test period its CRPS is {quantity(test[best].value, unit)}"
    if test[best].has_interval:
        lower, upper = number(test[best].lower), number(test[best].upper)
        text += f", {100 * confidence:g}% interval {lower} to {upper} {unit}".rstrip()
    text += _against_single(summary, variable, test[best], set(test), unit)
    return f"{text}. {_spread(summary, variable, best)}".strip()


def _against_single(summary: pd.DataFrame, variable: str, crps: Score, ensembles: set[str], unit: str) -> str:
    """Compare a CRPS with the lowest MAE of models without members, which would be their CRPS."""
    single = {
        name: score for name, score in scores_of(summary, variable, "mae", "test").items() if name not in ensembles
    }
    name = next(iter(single), None)
    if name is None or not single[name].value > 0:
        return ""
    change = 100 * (crps.value / single[name].value - 1)
    how = f"{number(abs(change), 2)}% {'lower' if change < 0 else 'higher'} than"
    known = f"{quantity(single[name].value, unit)} of {name}; of one value the CRPS is the MAE"
    return f", {how} the lowest MAE of the models without members ({known})"


def _spread(summary: pd.DataFrame, variable: str, model: str) -> str:
    """Say whether the members differ as much from each other as from the truth, and the truth has all ranks."""
    ratio = scores_of(summary, variable, "spread_skill", "test").get(model)
    ranks = scores_of(summary, variable, "rank_deviation", "test").get(model)
    if ratio is None or pd.isna(ratio.value):
        return ""
    low, high = _FITS
    verdict = "too small" if ratio.value < low else "too large" if ratio.value > high else "as large as it should be"
    text = f"Its spread is {verdict} ({number(ratio.value, 2)} of the error of its mean)"
    if ranks is None or pd.isna(ranks.value):
        return f"{text}."
    share = number(100 * ranks.value, 2)
    return f"{text}; {share}% of the truth has a rank among the members that it should not have."
