"""The report: one page that opens from disk and loads nothing else."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dl4ds_core.config import Config
from dl4ds_core.errors import DataError
from dl4ds_core.io import atomic
from dl4ds_core.provenance import redacted
from dl4ds_core.report import scoring, tables
from dl4ds_core.report.scenarios import scenario_tables
from dl4ds_core.report.scores import leading, overall, typical_seeds
from dl4ds_core.report.text import duration, label, size, unit_text
from dl4ds_core.report.words import model_in_words, pairs_in_words, regions_in_words, summary_in_words
from dl4ds_core.report.worst import worst_in_words
from dl4ds_core.verification import COMPARISON_COLUMNS

logger = logging.getLogger(__name__)

Run = tuple[str, int]
"""A model (or baseline, with seed 0) and a seed."""

# By the beginning of a figure's file name, in the order of the page; what follows it is the predictand.
_MAPS = "Truth, coarse input (where there is one) and prediction on one colour scale, and the error, at "
CAPTIONS = {
    "maps-largest-error": f"{_MAPS}the test time step at which the RMSE of this model over the domain is largest.",
    "maps-largest-value": f"{_MAPS}the test time step with the largest true value.",
    "maps-random": f"{_MAPS}a test time step drawn at random, the same one for all models.",
    "scores": "Scores per cell over the test period; the colours mean the same in the figures of all models.",
    "density": "How often true and predicted values go together, over cells and steps of the test period.",
    "importance": "Permutation importance: by how much the RMSE on validation grows when one input is shuffled.",
    "saliency": "Saliency: by how much, on average, the prediction at the marked cell changes when a coarse cell of "
    "an input changes by the standard deviation of that input in the training period. Colours stand for square roots.",
    "change": "Change of the temporal mean since the reference: predicted, true where it is known, and of the coarse "
    "inputs, on one colour scale.",
    "training": "Loss and validation RMSE over the epochs. The weights of the epoch that is marked are used; the "
    "network of a diffusion model has those of its own best epoch, after which its denoiser is trained.",
    "domain": "Mean of the truth over the test period, grey where there is none, borders of the coarse cells, unless "
    "there are too many, and the places of the time series.",
    "ranking": "RMSE on the test period: median over seeds (stroke), each of several seeds (dot), bootstrap interval "
    "(band). The axis is logarithmic where one model is far behind.",
    "taylor": "Taylor diagram, test period: ratio of the standard deviations and correlation, means over cells; the "
    "nearer to the truth, the better.",
    "spectra": "Power spectra, means over the test period, and their ratio to that of the truth: below 1 a model is "
    "too smooth, above 1 too rough.",
    "quantiles": "Quantiles of all values of the test period, against those of the truth.",
    "percentiles": "Bias of percentiles of each cell, mean over cells, test period.",
    "seasons": "RMSE by season, test period.",
    "regions": "RMSE by region, test period.",
    "errors-in-time": "RMSE over the domain at each step of the test period.",
    "rank-histogram": "How often so many members are below the truth, test period, relative to a flat histogram: high "
    "ends mean too little spread, a high middle too much, a slope a bias. Ties are divided among ranks.",
    "reliability": "Reliability, test period: how often events happened that were predicted with some probability, and "
    "how often that was.",
    "places": "Time series at some places; of a long record, the steps around the largest error of the chosen "
    "network there.",
    "animation": "Truth beside the prediction of the chosen network.",
}
# Scores by parts of the record: title, in which the threshold is replaced by what it is, score, and the column that
# tells the parts apart.
PARTS = (
    ("RMSE by season", "rmse", "season"),
    ("RMSE by region", "rmse", "region"),
    ("Bias by season", "bias", "season"),
    ("Bias by region", "bias", "region"),
    ("Bias of percentiles (%), mean over cells", "quantile_bias", "threshold"),
    ("Fractions skill score by {threshold} and width of the neighbourhood (cells)", "fss", "threshold"),
    ("CRPS by season", "crps", "season"),
    ("CRPS by region", "crps", "region"),
    ("Brier score by {threshold}", "brier", "threshold"),
    ("Reliability of the Brier score by {threshold}", "reliability", "threshold"),
)
SHOWN_BASELINES = 3
"""So many baselines, the best, are shown with figures of their own: the page would be twice as large with all."""

_PNG, _GIF = b"\x89PNG\r\n\x1a\n", b"GIF89a"


def write_report(
    path: str | Path,
    *,
    config: Config,
    summary: pd.DataFrame,
    provenance: Mapping[str, Any],
    template: str | Path,
    samples: Mapping[str, Any] | None = None,
    figures: Mapping[Run, Sequence[str | Path]] | None = None,
    overview: Sequence[str | Path] = (),
    histories: Mapping[Run, pd.DataFrame] | None = None,
    scores: Mapping[Run, str | Path] | None = None,
    inputs: Mapping[str, pd.DataFrame] | None = None,
    comparison: pd.DataFrame | None = None,
    command: str = "",
) -> None:
    """Write the report as one HTML file. Parts for which nothing is given are left out.

    Parameters
    ----------
    path : str or Path
        The file to write; it has this name only once it is complete.
    config : Config
        The configuration of the experiment.
    summary : pandas.DataFrame
        The long table of scores.
    provenance : mapping
        The record made by `dl4ds_core.provenance.collect`.
    template : str or Path
        The Jinja template; style sheet and script, which it includes, lie beside it.
    samples : mapping, optional
        What `describe_samples` returns.
    figures : mapping of (model, seed) to paths, optional
        PNG files. Of several seeds the one whose validation RMSE is the median is shown.
    overview : sequence of path, optional
        PNG and GIF files that compare models, ``<kind>-<predictand>``; the ranking comes first.
    histories : mapping of (model, seed) to pandas.DataFrame, optional
        Histories of the trainings.
    scores : mapping of (model, seed) to path, optional
        Maps of scores, `scores.nc`.
    inputs : mapping of scenario to pandas.DataFrame, optional
        Shares of a scenario's inputs outside the range of the training.
    comparison : pandas.DataFrame, optional
        Differences between models, with `COMPARISON_COLUMNS`.
    command : str
        What repeats the experiment.

    Raises
    ------
    DataError
        If the table of scores is empty, the template is missing, or a figure is missing or is neither PNG nor GIF file.
    """
    if overall(summary).empty:
        raise DataError(
            f"report of {config.experiment}: expected scores over the whole domain, found none; verify first"
        )
    source = Path(template)
    if not source.is_file():
        raise DataError(f"{template}: expected the template of the report, found no such file")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(source.parent),
        autoescape=True,  # whatever the file is called: names and attributes come from users' files
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "size": size, "label": label}
    comparison = pd.DataFrame(columns=list(COMPARISON_COLUMNS)) if comparison is None else comparison
    content = _content(
        config, summary, samples or {}, figures or {}, overview, histories or {}, inputs or {}, comparison, scores or {}
    )
    content["cost"] = tables.cost_table(provenance["cost"])
    page = environment.get_template(source.name).render(**content, provenance=redacted(provenance), command=command)
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    logger.info("wrote %s (%s)", path, size(Path(path).stat().st_size))


def _content(
    config: Config,
    summary: pd.DataFrame,
    samples: Mapping[str, Any],
    figures: Mapping[Run, Sequence[str | Path]],
    overview: Sequence[str | Path],
    histories: Mapping[Run, pd.DataFrame],
    inputs: Mapping[str, pd.DataFrame],
    comparison: pd.DataFrame,
    scores: Mapping[Run, str | Path],
) -> dict[str, Any]:
    networks = [*config.models, *config.ensembles]
    confidence = config.verification.bootstrap.confidence
    variables = [name for name in config.data.predictands if name in set(summary["variable"])]
    labels = {name: _label(samples, name) for name in variables}
    order = _order(summary, variables, networks)
    return {
        "experiment": config.experiment,
        "title": config.title or config.experiment,
        "confidence": f"{100 * confidence:g}%",
        "data": tables.data_tables(config, samples),
        "pairs": pairs_in_words(config),
        "domains": [
            _figure(path, len(variables) > 1)
            for name in variables
            for path in _of_variable(overview, name)
            if _kind(path) == "domain"
        ],
        "scenarios": scenario_tables(config, summary, inputs),
        "words": [
            summary_in_words(
                summary,
                name,
                networks=list(config.models),
                ensembles=list(config.ensembles),
                confidence=confidence,
                label=labels[name],
                comparison=comparison,
                worst=_worst(config, summary, name, scores),
            )
            for name in variables
        ],
        "results": [
            {
                "name": name,
                "label": labels[name],
                "figures": [_figure(path) for path in _of_variable(overview, name) if _kind(path) != "domain"],
                "validation": scoring.score_tables(summary, name, "validation", networks)[:1],
                "test": scoring.score_tables(summary, name, "test", networks),
                "differences": scoring.difference_table(comparison, name, networks),
                "parts": [
                    {"title": title.format(threshold=_threshold(config, samples, name)), **part}
                    for title, metric, column in PARTS
                    if (part := scoring.breakdown(summary, name, metric, column, networks))["rows"]
                ],
            }
            for name in variables
        ],
        "models": _models(config, summary, order, figures, histories, samples),
        "settings": tables.settings_table(config, order),
        "explanations": scoring.explanations(summary),
        "first": labels.get(variables[0], "") if len(variables) > 1 else "",
        "baselines_shown": SHOWN_BASELINES,
        "ensembles": list(config.ensembles),
        "bootstrap": config.verification.bootstrap,
        "regions": regions_in_words(config),
        "sources": redacted({name: source.model_dump(mode="json") for name, source in config.sources.items()}),
    }


def _order(summary: pd.DataFrame, variables: Sequence[str], networks: Sequence[str]) -> list[str]:
    """Return networks and ensembles of them, then baselines, in the order of the first predictand on validation."""
    found: list[str] = []
    for split in ("validation", "test"):
        for variable in variables:
            found += [row["model"] for row in scoring.score_table(summary, variable, split, networks)["rows"]]
    ranked = list(dict.fromkeys([*found, *networks]))
    return sorted(ranked, key=lambda name: name not in networks)


def _models(
    config: Config,
    summary: pd.DataFrame,
    order: Sequence[str],
    figures: Mapping[Run, Sequence[str | Path]],
    histories: Mapping[Run, pd.DataFrame],
    samples: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return what is shown of each model: the figures of its typical seed, and its trainings."""
    first = next(iter(config.data.predictands))
    unit = _units(config, samples, first)
    several = len(config.data.predictands) > 1
    typical = typical_seeds(summary, first, order)
    trained = [*config.models, *config.ensembles]
    best = [name for name in order if name not in trained][:SHOWN_BASELINES]
    models = []
    for number, name in enumerate(order, 1):
        seeds = sorted(seed for model, seed in figures if model == name)
        seed = typical[name] if typical.get(name) in seeds else next(iter(seeds), None)
        trainings = {each: history for (model, each), history in histories.items() if model == name}
        paths = sorted(map(Path, figures[(name, seed)]), key=_place) if seed is not None else []
        if name not in [*trained, *best]:
            paths = []
        shown = [_figure(path, several) for path in paths]
        if shown or trainings:
            models.append(
                {
                    "id": f"model-{number}",
                    "name": name,
                    "network": name in trained,
                    "words": model_in_words(config, name) if name in config.models else "",
                    "seed": seed if len(seeds) > 1 else None,
                    "figures": shown,
                    "trainings": tables.training_rows(trainings, "" if several else unit),
                }
            )
    return models


def _worst(config: Config, summary: pd.DataFrame, variable: str, scores: Mapping[Run, str | Path]) -> str:
    """Say where and when the typical seed of the network that is chosen on validation errs most."""
    chosen = leading(summary, variable, list(config.models), most=1, baselines=0)
    runs = typical_seeds(summary, variable, chosen).items()
    return " ".join(worst_in_words(scores[run], variable) for run in runs if run in scores)


def _units(config: Config, samples: Mapping[str, Any], variable: str) -> str:
    """Return the units of a predictand: those of its samples, or else the ones that are asked for."""
    described = samples.get("variables", {}).get(variable, {}).get("units")
    return str(described or config.data.predictands[variable].units or "")


def _threshold(config: Config, samples: Mapping[str, Any], variable: str) -> str:
    """Say in which unit the thresholds of events are, and where they come from."""
    unit = unit_text(_units(config, samples, variable))
    chosen = "" if variable in config.verification.thresholds else "the 90th and the 99th percentile of the truth"
    about = ", ".join(filter(None, [unit, chosen]))
    return f"threshold ({about})" if about else "threshold"


def _label(samples: Mapping[str, Any], variable: str) -> str:
    """Return what a reader calls a predictand; its name in the configuration where the file doesn't say."""
    long_name = str(samples.get("variables", {}).get(variable, {}).get("long_name", ""))
    return long_name[:1].upper() + long_name[1:] or variable


def _kind(path: Path) -> str:
    return next((kind for kind in CAPTIONS if path.stem.startswith(kind)), "")


def _place(path: Path) -> tuple[int, str]:
    """Order figures as their captions are, unknown kinds last."""
    kinds = [*CAPTIONS, ""]
    return kinds.index(_kind(path)), path.name


def _of_variable(paths: Iterable[str | Path], variable: str) -> list[Path]:
    """Return the figures about one predictand, in the order of their captions."""
    chosen = [path for path in map(Path, paths) if path.stem == f"{_kind(path)}-{variable}"]
    return sorted(chosen, key=_place)


def _figure(path: Path, several: bool = False) -> dict[str, Any]:
    """Read a picture as a data URI, with its size in pixels and its caption, which may name the predictand."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: expected a figure for the report, but can't read it: {error}; make it again"
        ) from error
    if content.startswith(_PNG) and len(content) >= 24:
        form, width, height = "png", int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    elif content.startswith(_GIF) and len(content) >= 10:
        form, width, height = "gif", int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
    else:
        raise DataError(f"{path}: expected a PNG or GIF file for the report, found another kind of file; make it again")
    kind = _kind(path)
    subject = path.stem.removeprefix(kind).strip("-") if several or kind == "change" else ""
    return {
        "uri": f"data:image/{form};base64,{base64.b64encode(content).decode()}",
        "kind": kind,
        "width": width,
        "height": height,
        "caption": ": ".join(filter(None, [subject, CAPTIONS[kind]])) if kind else path.stem,
    }
