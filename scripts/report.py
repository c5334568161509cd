"""Write the report of an experiment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core.config import parse
from dl4ds_core.report import by_run, describe_samples, write_report
from dl4ds_core.verification import read_comparison, read_summary


def main(
    config: Mapping[str, Any],
    summary: str,
    provenance: str,
    template: str,
    fine: Mapping[str, str],
    coarse: str,
    static: str | None,
    figures: Sequence[str],
    overview: str,
    histories: Sequence[str],
    scores: Sequence[str],
    inputs: Mapping[str, str],
    comparison: str,
    root: str,
    command: str,
    report: str,
) -> None:
    """Write `report.html`.

    Figures, histories and scores lie below `<root>/<model>/seed<k>/`, figures that compare models in the folder
    ``overview``; ``fine`` has a file per split, ``inputs`` a table per scenario.
    """
    settings = parse(config)
    trainings = by_run(settings, root, histories)
    write_report(
        report,
        config=settings,
        summary=read_summary(summary),
        provenance=json.loads(Path(provenance).read_text(encoding="utf-8")),
        template=template,
        samples=describe_samples(fine, coarse, static),
        figures=by_run(settings, root, figures),
        overview=[path for path in Path(overview).iterdir() if path.suffix in (".png", ".gif")],
        histories={run: pd.read_csv(files[0]) for run, files in trainings.items()},
        scores={run: files[0] for run, files in by_run(settings, root, scores).items()},
        inputs={name: pd.read_csv(path) for name, path in inputs.items()},
        comparison=read_comparison(comparison),
        command=command,
    )


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        config=job.params.config,
        summary=job.input.summary,
        provenance=job.input.provenance,
        template=job.input.template,
        fine={split: job.input[split] for split in ("train", "validation", "test")},
        coarse=job.input.coarse,
        static=job.input.get("static") or None,
        figures=list(job.input.figures),
        overview=job.input.overview,
        histories=list(job.input.histories),
        scores=list(job.input.scores),
        inputs=dict(zip(job.params.scenarios, job.input.get("inputs", []), strict=True)),
        comparison=job.input.comparison,
        root=job.params.root,
        command=job.params.command,
        report=job.output.report,
    )
