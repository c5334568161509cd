"""Curves of a training, and the ranking of models."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from dl4ds_core.errors import DataError
from dl4ds_core.figures.style import ACCENT, BASELINE, MUTED, NETWORK, WIDTH, style
from dl4ds_core.report.scores import Score, kept_epoch, scores_of, unit_of
from dl4ds_core.report.text import difference_unit_text, labelled, number, unit_text
from dl4ds_core.verification import METRICS

_FAR = 6  # times as large as the best score
_HISTORY = ("epoch", "loss", "validation_loss", "validation_rmse", "kept")


def training_curve(history: pd.DataFrame, *, units: str = "") -> Figure:
    """Show losses and validation RMSE over the epochs of a training, with the epoch that is kept marked.

    Lines are broken where another network joins the training, and its losses with it: a discriminator or a denoiser.

    Parameters
    ----------
    history : pandas.DataFrame
        One row per epoch, with columns epoch, loss, validation_loss, validation_rmse, and kept: 1 for the epoch whose
        weights were saved; losses that begin later are missing before.
    units : str
        Of the validation RMSE.

    Raises
    ------
    DataError
        If a column is missing or there is no epoch.
    """
    missing = [name for name in _HISTORY if name not in history]
    if missing or history.empty:
        raise DataError(
            f"history of the training: expected columns {', '.join(_HISTORY)} and at least one epoch, found "
            f"{', '.join(map(str, history.columns)) or 'no columns'} and {len(history)} epochs; train again"
        )
    marker = "o" if len(history) < 3 else None
    with style():
        figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        alone = _epochs_alone(history)
        for axes, column, colour, label in (
            (left, "loss", NETWORK, "training"),
            (left, "validation_loss", BASELINE, "validation"),
            (right, "validation_rmse", BASELINE, None),
        ):
            for part, name in ((history[alone:], label), (history[:alone], None)):
                axes.plot(part["epoch"], part[column], color=colour, marker=marker, label=name)
        if alone:
            left.axvline(alone + 0.5, color=MUTED, linewidth=0.8, label="the network alone until here")
        left.set_title("Loss (normalised units)")
        left.legend()
        right.set_title(labelled("RMSE on validation", difference_unit_text(units)))
        best = kept_epoch(history)
        if best is not None:
            _mark_best(right, int(best["epoch"]), float(best["validation_rmse"]))
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.grid(color="#E4E4E4", linewidth=0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _logarithmic(axes)
    return figure


def _epochs_alone(history: pd.DataFrame) -> int:
    """Return how many epochs were those of the network alone, before columns begin that are missing first."""
    later = [history[name].notna().to_numpy() for name in history.columns if name not in _HISTORY]
    return max([int(known.argmax()) for known in later if known.any()], default=0)


def ranking(
    summary: pd.DataFrame,
    variable: str,
    *,
    networks: Collection[str],
    split: str = "test",
    metric: str = "rmse",
    confidence: float = 0.9,
) -> Figure:
    """Show a score of all models and baselines: the median over seeds with its interval, and a dot per seed.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable : str
        The predictand.
    networks : collection of str
        Names of the trained models; all others are baselines.
    split : str
        validation or test.
    metric : str
        A score of the table of metrics.
    confidence : float
        Probability of the intervals.

    Raises
    ------
    DataError
        If the table has no such score.
    """
    scores = scores_of(summary, variable, metric, split)
    if not scores:
        raise DataError(
            f"expected rows with metric {metric} of {variable} on {split} in the table of scores, found none"
        )
    with style():
        figure = Figure(figsize=(WIDTH * 0.8, 0.75 + 0.24 * len(scores)), layout="constrained")
        axes = figure.subplots()
        for place, (name, score) in enumerate(scores.items()):
            _draw_score(axes, place, score, NETWORK if name in networks else BASELINE)
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.4, -0.6)
        _spread_out(axes, [score.value for score in scores.values()])
        known = METRICS[metric]
        unit = unit_text(unit_of(summary, variable, metric))
        unit = difference_unit_text(unit) if known.unit == "same" else unit
        axes.set_xlabel(labelled(f"{known.long_name} of {variable} on {split}", unit))
        axes.grid(axis="x", color="#E4E4E4", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(
            handles=_legend(scores, networks, confidence),
            loc="outside upper left",
            ncols=4,
            handletextpad=0.6,
        )
    return figure


def _draw_score(axes: Axes, place: int, score: Score, colour: str) -> None:
    if score.has_interval:
        axes.plot(
            [score.lower, score.upper],
            [place, place],
            color=colour,
            linewidth=4,
            alpha=0.3,
            solid_capstyle="butt",
        )
    if len(score.seeds) > 1:
        axes.plot(
            score.seeds,
            [place] * len(score.seeds),
            "o",
            color=colour,
            markersize=3,
            alpha=0.8,
            markeredgewidth=0,
        )
    axes.plot([score.value], [place], "|", color=colour, markersize=11, markeredgewidth=1.8)


def _spread_out(axes: Axes, values: list[float]) -> None:
    """Make the axis logarithmic where one bad model would push all others together."""
    if min(values) <= 0 or max(values) < _FAR * min(values):
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(scores: dict[str, Score], networks: Collection[str], confidence: float) -> list[Line2D]:
    """Explain only what is drawn."""
    handles = []
    if any(name in networks for name in scores):
        handles.append(Line2D([], [], color=NETWORK, marker="|", linestyle="", markeredgewidth=1.8, label="network"))
    if any(name not in networks for name in scores):
        handles.append(Line2D([], [], color=BASELINE, marker="|", linestyle="", markeredgewidth=1.8, label="baseline"))
    if any(len(score.seeds) > 1 for score in scores.values()):
        handles.append(Line2D([], [], color=MUTED, marker="o", linestyle="", markersize=3, label="one seed"))
    if any(score.has_interval for score in scores.values()):
        handles.append(Line2D([], [], color=MUTED, alpha=0.4, linewidth=4, label=f"{100 * confidence:g}% interval"))
    return handles


def _mark_best(axes: Axes, epoch: int, value: float) -> None:
    axes.axvline(epoch, color=MUTED, linewidth=0.6, linestyle=":")
    axes.plot([epoch], [value], "o", color=ACCENT, markersize=4.5, label=f"kept: epoch {epoch}, {number(value)}")
    axes.legend()


def _logarithmic(axes: Axes) -> None:
    """Use a logarithmic axis, with plain numbers, where the values allow and span enough to need it."""
    curves = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines() if np.size(line.get_xdata()) > 2]
    values = np.concatenate([*curves, []])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() / values.min() > 4:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
