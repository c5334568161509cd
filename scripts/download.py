"""Fetch an input file and check it against its checksum."""

from pathlib import Path

from dl4ds_core.errors import DataError
from dl4ds_core.io import atomic


def main(url: str, sha256: str, target: str) -> None:
    """Download ``url`` to ``target``; a file that doesn't have the checksum is not kept."""
    import pooch

    with atomic(target) as temporary:
        try:
            pooch.retrieve(url, f"sha256:{sha256}", fname=temporary.name, path=temporary.parent)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{url} could not be downloaded: {error}. Put the file there by hand as {Path(target)}, "
                "or name a folder that has it in the environment variable DL4DS_DATA"
            ) from error


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], url=job.params.url, sha256=job.params.sha256, target=job.output[0])
