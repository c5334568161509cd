"""Draw one model's figures: example maps, score maps and the training curve."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dl4ds_core import figures, io

STEPS = 500  # of the record in memory at once


def main(
    truth: str,
    coarse: str,
    prediction: str,
    scores: str,
    references: Sequence[str],
    predictands: Sequence[str],
    folder: str,
    history: str | None = None,
) -> None:
    """Write the figures of one model and seed over the test period.

    They are `maps-largest-error-<v>.png`, `maps-random-<v>.png` and `scores-<v>.png` per predictand, and
    `training.png` where there is a ``history`` (not for a baseline). The colours of the score maps suit all
    models in ``references``.
    """
    target = Path(folder)
    fields = [io.open_dataset(path).chunk({"time": STEPS}) for path in (truth, coarse, prediction)]
    own, others = io.open_dataset(scores), [io.open_dataset(path) for path in references]
    for name in predictands:
        true, low, predicted = fields[0][name], fields[1].get(name), fields[2][name]
        for kind, when in figures.choose_times(true, predicted).items():
            figures.save(figures.example_maps(true, low, predicted, when), target / f"maps-{kind}-{name}.png")
        limits = figures.score_limits(others or [own], name)
        figures.save(figures.score_maps(own, name, limits=limits), target / f"scores-{name}.png")
    if history:
        # Of several predictands it is a mean over their units.
        units = str(fields[0][predictands[0]].attrs.get("units", "")) if len(predictands) == 1 else ""
        figures.save(figures.training_curve(pd.read_csv(history), units=units), target / "training.png")


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
        predictands=list(job.params.predictands),
        folder=str(Path(job.output[0]).parent),
    )
