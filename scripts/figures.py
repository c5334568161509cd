"""Draw one model's figures: example maps, score maps and the training curve."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dl4ds_core import figures, io
from dl4ds_core.ensembles import ensemble_mean


def main(
    truth: str,
    coarse: str,
    prediction: str,
    scores: str,
    references: Sequence[str],
    predictands: Sequence[str],
    folder: str,
    history: str | None = None,
    static: str | None = None,
    importance: str | None = None,
    saliency: str | None = None,
) -> None:
    """Write the figures of one model and seed over the test period, as PNG and PDF.

    They are `maps-<time>-<v>` for each of the chosen times, `scores-<v>` and `density-<v>` per predictand, and
    `training` where there is a ``history`` (not for a baseline). The colours of the score maps suit all models in
    ``references``. Of an ensemble the mean is shown. The coast is that of a land fraction in ``static``, if there is
    one. `importance` and `saliency-<v>` show what predictions depend on, where that was looked at.
    """
    target = Path(folder)
    opened = [io.open_dataset(path) for path in (truth, coarse, prediction)]
    fields = [ensemble_mean(dataset.chunk({"time": figures.STEPS})) for dataset in opened]
    land = figures.land_of(io.open_dataset(static)) if static else None
    own, others = io.open_dataset(scores), [io.open_dataset(path) for path in references]
    for name in predictands:
        true, low, predicted = fields[0][name], fields[1].get(name), fields[2][name]
        for kind, when in figures.choose_times(true, predicted).items():
            figure = figures.example_maps(true, low, predicted, when, land=land)
            figures.save(figure, target / f"maps-{kind}-{name}.png")
        limits = figures.score_limits(others or [own], name)
        figures.save(figures.score_maps(own, name, limits=limits, land=land), target / f"scores-{name}.png")
        units = str(true.attrs.get("units", ""))
        figures.save(figures.scatter_density(true, predicted, units=units), target / f"density-{name}.png")
    if history:
        # Of several predictands it is a mean over their units.
        units = str(fields[0][predictands[0]].attrs.get("units", "")) if len(predictands) == 1 else ""
        figures.save(figures.training_curve(pd.read_csv(history), units=units), target / "training.png")
    if importance:
        figures.save(figures.importance(pd.read_csv(importance)), target / "importance.png")
    if saliency:
        gradients = io.open_dataset(saliency)
        for name in predictands:
            figures.save(figures.saliency(gradients, name), target / f"saliency-{name}.png")


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        truth=job.input.truth,
        coarse=job.input.coarse,
        prediction=job.input.prediction,
        scores=job.input.scores,
        references=list(job.input.get("references", [])),
        history=job.input.get("history") or None,
        static=job.input.get("static") or None,
        # Lists of one file, or of none.
        importance=next(iter(job.input.get("importance", [])), None),
        saliency=next(iter(job.input.get("saliency", [])), None),
        predictands=list(job.params.predictands),
        folder=str(Path(job.output[0]).parent),
    )
