"""Pack an experiment, without its data, as an RO-Crate."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dl4ds_core.config import parse
from dl4ds_core.report import write_archive


def main(config: Mapping[str, Any], provenance: str, files: Sequence[str], root: str, archive: str) -> None:
    """Write the zip file: the resolved configuration and ``files``, which lie below ``root``."""
    record = json.loads(Path(provenance).read_text(encoding="utf-8"))
    write_archive(archive, root=root, files=[provenance, *files], config=parse(config), provenance=record)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        config=job.params.config,
        provenance=job.input.provenance,
        files=list(job.input.files),
        root=job.params.root,
        archive=job.output.archive,
    )
