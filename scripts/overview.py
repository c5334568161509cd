"""Draw the figures that compare all models of an experiment, and the moving picture of the chosen network."""

from collections.abc import Mapping, Sequence
from typing import Any

from dl4ds_core import figures, io
from dl4ds_core.verification import read_summary


def main(
    summary: str,
    runs: Sequence[tuple[str, int]],
    scores: Sequence[str],
    predictions: Sequence[str],
    truth: str,
    static: str | None,
    predictands: Sequence[str],
    networks: Sequence[str],
    ensembles: Sequence[str],
    scale: int,
    confidence: float,
    places: Mapping[str, tuple[float, float]],
    moving: Mapping[str, Any],
    folder: str,
) -> None:
    """Write the figures of the test period into a folder; there is a file of scores and a prediction for each run."""
    rows, true = read_summary(summary), io.open_dataset(truth)
    keys = [(model, seed) for model, seed in runs]  # they come as lists
    scored, predicted = (dict(zip(keys, files, strict=True)) for files in (scores, predictions))
    land = figures.land_of(io.open_dataset(static)) if static else None
    for name in predictands:
        study = figures.Study(
            name,
            rows,
            true[name].chunk({"time": figures.STEPS}),
            scores=scored,
            predictions=predicted,
            networks=networks,
            ensembles=ensembles,
            scale=scale,
            confidence=confidence,
            places=places,
            land=land,
        )
        figures.draw_overview(study, folder, moving=figures.Moving(**moving))


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        summary=job.input.summary,
        scores=list(job.input.scores),
        predictions=list(job.input.predictions),
        truth=job.input.truth,
        static=job.input.get("static") or None,
        folder=job.output.folder,
        **job.params.settings,
    )
