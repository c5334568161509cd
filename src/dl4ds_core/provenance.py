"""Where a result comes from: configuration, software, commit, inputs, machine and cost, as a JSON record."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import socket
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core.config import Config
from dl4ds_core.errors import DataError
from dl4ds_core.identity import config_digest, git_state, output_of
from dl4ds_core.io import atomic

logger = logging.getLogger(__name__)

PACKAGES = (
    "dl4ds_core",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "horovod",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "dask",
    "netCDF4",
    "cftime",
    "cfgrib",
    "eccodes",
    "zarr",
    "xsdba",
    "xskillscore",
    "scores",
    "pooch",
    "pydantic",
    "matplotlib",
    "snakemake",
    "snakemake-executor-plugin-slurm",
)
REMOVED = "[removed]"

_CHUNK = 1 << 20
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_IN_URL = re.compile(
    r"([?&;][^=&\s]*(?:auth|credential|key|passw|secret|sig|token)[^=&\s]*=)[^&#\s]+", re.IGNORECASE
)


def collect(
    config: Config,
    inputs: Iterable[str | Path],
    *,
    cost: str | Path | None = None,
    benchmarks: str | Path | None = None,
    checkout: str | Path | None = None,
) -> dict[str, Any]:
    """Gather all that is needed to tell where a result comes from and what it cost.

    Parameters
    ----------
    config : Config
        The configuration of the experiment.
    inputs : iterable of path
        The input files (a Zarr store is a folder); each gets a checksum.
    cost : path, optional
        The table of costs per stage, `cost.csv`.
    benchmarks : path, optional
        Folder of Snakemake's benchmark files of the experiment; they tell when its jobs began and ended.
    checkout : path, optional
        Folder of the workflow, for the commit.

    Returns
    -------
    dict
        Values that JSON can hold. Sizes and memory are in bytes; cost has the units of its table.

    Raises
    ------
    DataError
        If an input is missing or a benchmark file can't be read.
    """
    start, end = _span(jobs_of(benchmarks) if benchmarks else [])
    return {
        "experiment": config.experiment,
        "config": redacted(resolved(config)),
        "config_digest": config_digest(config),
        "software": software(),
        "git": git_state(checkout) if checkout else None,
        "inputs": [describe_input(path) for path in inputs],
        "host": host(),
        "cost": read_cost(cost) if cost else [],
        "start": start,
        "end": end,
        "recorded": _iso(datetime.now(UTC).timestamp()),
    }


def write(record: Mapping[str, Any], path: str | Path) -> None:
    """Write a record as JSON; the file has its final name only once it is complete."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def resolved(config: Config) -> dict[str, Any]:
    """Return the configuration with all defaults, such that it can be loaded again.

    What a model overrides stays as it is written.
    """
    content = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name, model in config.models.items():
        content["models"][name] = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return content


def redacted(content: Any) -> Any:
    """Return nested mappings and lists with user names, passwords and tokens taken out of addresses.

    The user's home folder becomes ``~``.
    """
    if isinstance(content, Mapping):
        return {key: redacted(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [redacted(value) for value in content]
    if isinstance(content, str):
        text = _SECRET_IN_URL.sub(rf"\g<1>{REMOVED}", _USER_IN_URL.sub(f"{REMOVED}@", content))
        return _without_home(text)
    return content


def describe_input(path: str | Path) -> dict[str, Any]:
    """Return name, size in bytes and SHA-256 checksum of a file, or of a folder such as a Zarr store.

    Raises
    ------
    DataError
        If there is no such file.
    """
    source = Path(path)
    if not source.exists():
        raise DataError(f"{path}: expected an input file, found nothing there; see `sources` in the configuration")
    files = sorted(item for item in source.rglob("*") if item.is_file()) if source.is_dir() else [source]
    size = sum(item.stat().st_size for item in files)
    if not source.is_dir():
        return {"path": _shown(source), "bytes": size, "sha256": checksum(source)}
    listing = "".join(f"{checksum(item)}  {item.relative_to(source).as_posix()}\n" for item in files)
    return {"path": _shown(source), "bytes": size, "sha256": hashlib.sha256(listing.encode()).hexdigest()}


def checksum(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file, read in pieces."""
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_CHUNK):
            total.update(piece)
    return total.hexdigest()


def software() -> dict[str, Any]:
    """Return the versions of Python, of the packages that matter and of cdo, as far as they are installed."""
    packages: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "programs": {"cdo": version} if (version := _cdo_version()) else {},
    }


def host() -> dict[str, Any]:
    """Return name, number of cores and memory (bytes) of the machine that wrote the record."""
    return {
        "name": socket.gethostname(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def read_cost(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of the table of costs: one per stage, the last one the total."""
    return [{str(key): value for key, value in row.items()} for row in pd.read_csv(path).to_dict(orient="records")]


def jobs_of(folder: str | Path) -> list[dict[str, Any]]:
    """Read the benchmark files of an experiment.

    The first part of a file's path below ``folder`` is the rule: ``<rule>.tsv`` or ``<rule>/<anything>.tsv``.

    Returns
    -------
    list of dict
        Of each job ``rule`` and ``name`` (path of the file below ``folder``), ``seconds``, ``cpu_seconds`` (used),
        ``max_rss_mib``, and ``start`` and ``end`` (seconds since 1970).

    Raises
    ------
    DataError
        If a file isn't a benchmark file.
    """
    root = Path(folder)
    return [_job(path, path.relative_to(root)) for path in sorted(root.rglob("*.tsv"))]


def _span(jobs: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    if not jobs:
        return None, None
    return _iso(min(job["start"] for job in jobs)), _iso(max(job["end"] for job in jobs))


def _job(path: Path, name: Path) -> dict[str, Any]:
    """Read one benchmark file. It is written when its job ends, so its time stamp tells when that was."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if not rows or "s" not in rows[0]:
        raise DataError(
            f"{path}: expected a benchmark file of Snakemake with a column `s`; remove the file if it is none"
        )
    seconds = sum(_number(path, row.get("s")) for row in rows)
    end = path.stat().st_mtime
    return {
        "rule": name.parts[0].removesuffix(".tsv"),
        "name": name.as_posix(),
        "seconds": seconds,
        "cpu_seconds": sum(_number(path, row.get("cpu_time")) for row in rows),
        "max_rss_mib": max(_number(path, row.get("max_rss")) for row in rows),
        "start": end - seconds,
        "end": end,
    }


def _number(path: Path, text: str | None) -> float:
    """Snakemake writes NA or - for what it couldn't measure, as for jobs that are too short."""
    if text in (None, "", "-", "NA"):
        return 0.0
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{path}: expected a number, found {text!r}; remove the file if it is no benchmark") from error


def _cdo_version() -> str | None:
    if shutil.which("cdo") is None:
        return None
    match = re.search(r"Climate Data Operators version (\S+)", output_of(["cdo", "--version"], both=True) or "")
    return match.group(1) if match else None


def _shown(path: Path) -> str:
    """Name a file without the folders that only this machine has."""
    absolute = path.absolute()
    for folder, prefix in ((Path.cwd(), ""), (Path(sysconfig.get_path("purelib")), "package://")):
        if absolute.is_relative_to(folder):
            return prefix + absolute.relative_to(folder).as_posix()
    return str(redacted(str(path)))


def _without_home(text: str) -> str:
    home = os.path.expanduser("~")
    if home in ("/", "~") or not text.startswith(home + "/"):
        return text
    return "~" + text[len(home) :]


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
