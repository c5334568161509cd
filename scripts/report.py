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
    figures: Sequence[str],
    rankings: Sequence[str],
    histories: Sequence[str],
    inputs: Mapping[str, str],
    comparison: str,
    root: str,
    command: str,
    report: str,
) -> None:
    """Write `report.html`.

    Figures and histories lie below `<root>/<model>/seed<k>/`; ``fine`` has a file per split, ``inputs`` a table per
    scenario.
    """
    settings = parse(config)
    trainings = by_run(settings, root, histories)
    write_report(
        report,
        config=settings,
        summary=read_summary(summary),
        provenance=json.loads(Path(provenance).read_text(encoding="utf-8")),
        template=template,
        samples=describe_samples(fine, coarse),
        figures=by_run(settings, root, figures),
        rankings=rankings,
        histories={run: pd.read_csv(files[0]) for run, files in trainings.items()},
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
        figures=list(job.input.figures),
        rankings=list(job.input.rankings),
        histories=list(job.input.histories),
        inputs=dict(zip(job.params.scenarios, job.input.get("inputs", []), strict=True)),
        comparison=job.input.comparison,
        root=job.params.root,
        command=job.params.command,
        report=job.output.report,
    )
