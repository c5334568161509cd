"""The short summary in words, made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import pandas as pd

from dl4ds_core.config import Config, model_settings
from dl4ds_core.config.training import Mode
from dl4ds_core.config.verification import Region
from dl4ds_core.report.members import members_in_words
from dl4ds_core.report.scores import Score, parts_of, scores_of, unit_of
from dl4ds_core.report.text import difference_unit_text, number, quantity

#: What is said of a mode of training after its loss.
MODES: dict[Mode, str] = {
    "supervised": "",
    "adversarial": ", adversarial",
    "diffusion": ", and a diffusion model of what is left",
}


def pairs_in_words(config: Config) -> str:
    """Say what the inputs of the networks are."""
    data = config.data
    if data.coarse.explicit:
        text = f"The coarse fields come from another data set, {data.coarse.origin}"
    elif data.coarse.origin == "none":
        text = "There are no coarse fields of the predictands"
    else:
        text = f"The coarse input is each predictand itself, coarsened by {data.scale} with area-weighted means"
    text += f"; predictors are {', '.join(data.predictors)}." if data.predictors else "."
    if data.context:
        text += f" Inputs reach {data.context} coarse cells beyond the domain."
    if data.missing == "mask":
        text += " Missing values of the predictands are left out of everything."
    return text


def model_in_words(config: Config, name: str) -> str:
    """Say in a line what a network is; the full settings stand in a table."""
    settings = model_settings(config, name)
    network, training = settings.network, settings.training
    size = f"{network.blocks} {'levels' if network.backbone == 'unet' else 'blocks'}, {network.filters} filters"
    if network.time_window:
        size += f", {network.time_window} time steps"
    loss = " + ".join(
        f"{weight:g} {loss}" if len(training.loss) > 1 else loss for loss, weight in training.loss.items()
    )
    parts = [
        f"{network.backbone.capitalize()} with {network.upsampling}, {size}",
        f"localized layer: {network.localized}" if network.localized != "none" else "no localized layer",
        f"loss: {loss}" + MODES[training.mode],
    ]
    if network.distribution is not None:
        parts.append(f"gives a distribution: {network.distribution}")
    if network.noise:
        parts.append(f"{network.noise} channels of noise")
    parts += [f"{key} {kind}" for key, kind in network.constraints.items()]
    return "; ".join(parts) + "."


def regions_in_words(config: Config) -> dict[str, str]:
    """Say which cells each region has."""
    return {name: _cells(region) for name, region in config.verification.regions.items()}


def _cells(region: Region) -> str:
    parts = []
    for axis, limits in (("latitude", region.lat), ("longitude", region.lon)):
        if limits is not None:
            parts.append(f"{axis} {limits[0]:g}° to {limits[1]:g}°")
    if region.field is not None:
        lower = f"from {region.min:g}" if region.min is not None else ""
        upper = f"below {region.below:g}" if region.below is not None else ""
        parts.append(" ".join(filter(None, [region.field, lower, upper])))
    return ", ".join(parts).replace("-", "−")


def summary_in_words(
    summary: pd.DataFrame,
    variable: str,
    *,
    networks: Collection[str],
    confidence: float,
    ensembles: Collection[str] = (),
    label: str = "",
    comparison: pd.DataFrame | None = None,
    worst: str = "",
) -> list[str]:
    """Say which network is best on validation, how it does on test, how the best baseline does, and the best ensemble.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable : str
        The predictand.
    networks : collection of str
        Names of the trained models.
    confidence : float
        Probability of the intervals.
    ensembles : collection of str
        Names of the ensembles of their seeds; all others are baselines.
    label : str
        Name of the predictand for the reader; default: ``variable``.
    comparison : pandas.DataFrame, optional
        Differences between models, with `COMPARISON_COLUMNS`: what is said of significance comes from there.
    worst : str
        What `worst_in_words` says of the chosen network.

    Returns
    -------
    list of str
        Sentences, in order; fewer where scores are missing.
    """
    unit = difference_unit_text(unit_of(summary, variable, "rmse"))
    validation = scores_of(summary, variable, "rmse", "validation")
    test = scores_of(summary, variable, "rmse", "test")
    candidates = [name for name in validation if name in networks]
    if not candidates:
        return [f"No network has been scored on the validation period for {label or variable}."]
    best = candidates[0]
    sentences = [_chosen(best, validation[best], len(candidates), unit, label or variable)]
    further = (*networks, *ensembles)
    simple = next((name for name in validation if name not in further), None)
    if simple and validation[simple].value < validation[best].value:
        sentences.append(
            f"On validation, the baseline {simple} is better still ({quantity(validation[simple].value, unit)})."
        )
    if best not in test:
        return sentences
    score = test[best]
    sentences.append(
        f"On the test period the RMSE of {best} is {quantity(score.value, unit)}{_interval(score, unit, confidence)}"
        f"{_seeds(score)}."
    )
    baselines = {name: test[name] for name in test if name not in further}
    name = next(iter(baselines), "")
    if baselines:
        sentences.append(_comparison(score, name, baselines[name], unit, confidence, _row(comparison, variable, name)))
        sentences.append(
            _all_networks({model: test[model] for model in test if model in networks}, baselines[name], name)
        )
    about = [
        _one_seed(score),
        _rivals({name: test[name] for name in test if name in networks}, comparison, variable, best),
        _where_and_when(summary, variable, best, unit),
        worst,
        _bias(summary, variable, best, unit),
        _detail(summary, variable, best, name),
        members_in_words(summary, variable, confidence=confidence),
    ]
    sentences += filter(None, about)
    return sentences


def _chosen(best: str, score: Score, count: int, unit: str, label: str) -> str:
    value = quantity(score.value, unit)
    if count == 1:
        return f"{label}: the network {best} has a validation RMSE of {value}."
    return f"{label}: of {count} networks, {best} has the lowest RMSE on the validation period ({value})."


def _row(comparison: pd.DataFrame | None, variable: str, model: str) -> pd.Series | None:
    """Return how the RMSE of a model differs from that of the chosen network; None where that is unknown."""
    if comparison is None or comparison.empty:
        return None
    about = (comparison["variable"] == variable) & (comparison["model"] == model) & (comparison["metric"] == "rmse")
    return comparison[about].iloc[0] if about.any() else None


def _rivals(test: Mapping[str, Score], comparison: pd.DataFrame | None, variable: str, best: str) -> str:
    """Say which networks can't be told from the chosen one on the test period, and which are better."""
    rows = {name: _row(comparison, variable, name) for name in test if name != best}
    known = {name: row for name, row in rows.items() if row is not None}
    if not known:
        return ""
    alike = [name for name, row in known.items() if not row["significant"]]
    better = [name for name, row in known.items() if row["significant"] and row["difference"] < 0]
    parts = []
    if better:
        parts.append(f"Significantly better than {best} on the test period: {', '.join(better)}.")
    if alike:
        parts.append(f"Not significantly different from {best}: {', '.join(alike)}.")
    if not parts:
        which = "All other networks are" if len(known) > 1 else "The other network is"
        parts.append(f"{which} significantly worse than {best}.")
    return " ".join(parts)


def _where_and_when(summary: pd.DataFrame, variable: str, best: str, unit: str) -> str:
    """Say in which season and region the chosen network errs most and least."""
    extremes = []
    for column in ("season", "region"):
        values = parts_of(summary, variable, "rmse", column).get(best, {})
        worst, least = max(values, key=values.__getitem__, default=""), min(values, key=values.__getitem__, default="")
        if worst != least:
            extremes.append(f"in {worst} ({quantity(values[worst], unit)}; least in {least}, {number(values[least])})")
    return f"Its test RMSE is largest {' and '.join(extremes)}." if extremes else ""


def _bias(summary: pd.DataFrame, variable: str, best: str, unit: str) -> str:
    """Say by how much the chosen network is biased."""
    bias = scores_of(summary, variable, "bias", "test").get(best)
    if bias is None or not bias.has_interval:
        return ""
    sure = "" if bias.lower > 0 or bias.upper < 0 else ", which may be chance"
    return f"On average it is {quantity(abs(bias.value), unit)} too {'high' if bias.value > 0 else 'low'}{sure}."


def _detail(summary: pd.DataFrame, variable: str, best: str, baseline: str) -> str:
    """Say whether the chosen network, and the best baseline, add the detail that the coarse grid can't hold."""
    scores = scores_of(summary, variable, "subgrid_power_ratio", "test")
    shares = {name: 100 * score.value for name, score in scores.items() if not math.isnan(score.value)}
    if best not in shares:
        return ""
    share = shares[best]
    verdict = "it is too smooth" if share < 90 else "it is too rough" if share > 110 else "as much as there should be"
    beside = f" ({baseline} {_percent(shares[baseline])})" if baseline in shares else ""
    where = "At wavelengths under two coarse cells, which the coarse grid can't hold,"
    return f"{where} it has {_percent(share)} of the truth's variance{beside}: {verdict}."


def _percent(share: float) -> str:
    return f"{number(share, 2)}%" if share >= 1 else "less than 1%"


def _comparison(
    score: Score, name: str, baseline: Score, unit: str, confidence: float, difference: pd.Series | None
) -> str:
    known = f"{quantity(baseline.value, unit)}{_interval(baseline, unit, confidence)}"
    reference = f"the best baseline on the test period, {name} ({known})"
    if not baseline.value > 0:
        return f"{reference[:1].upper()}{reference[1:]}, leaves nothing to gain."
    gain = 100 * (1 - score.value / baseline.value)
    if gain > 0:
        text = f"That is {number(gain, 2)}% lower than {reference}"
    elif gain < 0:
        text = f"It does not beat {reference}: its RMSE is {number(-gain, 2)}% higher"
    else:
        text = f"It does not beat {reference}: both are equal"
    if difference is not None:
        verdict = "significant" if difference["significant"] else "not significant"
        level = f"{100 * (1 - confidence):.3g}% level"
        text += f"; the difference is {verdict} at the {level} (adjusted p {difference['p_adjusted']:.2g})"
    elif score.has_interval and baseline.has_interval:
        overlap = score.lower <= baseline.upper and baseline.lower <= score.upper
        text += (
            "; the two intervals overlap, so this may be chance" if overlap else "; the two intervals do not overlap"
        )
    return text + "."


def _all_networks(networks: Mapping[str, Score], baseline: Score, name: str) -> str:
    better = [model for model, score in networks.items() if score.value < baseline.value]
    if len(networks) == 1:
        return ""
    if len(better) == len(networks):
        return f"All {len(networks)} networks have a lower test RMSE than every baseline."
    if not better:
        return f"None of the {len(networks)} networks has a lower test RMSE than {name}."
    return f"{len(better)} of {len(networks)} networks have a lower test RMSE than {name}: {', '.join(better)}."


def _interval(score: Score, unit: str, confidence: float) -> str:
    if not score.has_interval:
        return ""
    bounds = f"{number(score.lower)} to {number(score.upper)} {unit}".strip()
    return f", {100 * confidence:g}% interval {bounds}"


def _one_seed(score: Score) -> str:
    alone = len(score.seeds) == 1
    return "It was trained with one seed: how much another training differs is not known." if alone else ""


def _seeds(score: Score) -> str:
    if len(score.seeds) < 2:
        return ""
    lowest, highest = number(score.seeds[0]), number(score.seeds[-1])
    return f" (median of {len(score.seeds)} seeds, which range from {lowest} to {highest})"
