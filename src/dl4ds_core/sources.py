"""Which files a source consists of. Opens none of them, so that the workflow is planned quickly."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dl4ds_core.config import digest
from dl4ds_core.config.inputs import Source
from dl4ds_core.errors import DataError


def local_copy(path: str | None) -> Path | None:
    """Return a file below the folder named by the environment variable DL4DS_DATA, if it is there."""
    folder = os.environ.get("DL4DS_DATA")
    if not folder or path is None:
        return None
    candidate = Path(folder) / path
    return candidate if candidate.exists() else None


def download_target(name: str, url: str) -> str:
    """Return where a downloaded file of the source ``name`` is kept, relative to the working directory."""
    return f"data/downloads/{name}/{url.rsplit('/', 1)[-1]}"


def source_paths(name: str, source: Source) -> list[str]:
    """Return the files of a source.

    Files to be downloaded are named whether or not they are there yet; a local copy takes their place.

    Raises
    ------
    DataError
        If a path or glob matches nothing, or a package isn't installed.
    """
    if source.downloads:
        return [str(local_copy(item.local) or download_target(name, item.url)) for item in source.downloads]
    paths: list[str] = []
    for pattern in source.paths:
        packaged = pattern.startswith("package://")
        found = [_packaged(pattern)] if packaged else _matching(_below_data(pattern, name))
        braced = next((path for path in found if {"{", "}"} & set(path)), None)
        if braced is not None:
            raise DataError(
                f"sources.{name}.paths: {braced!r}: expected no braces, which the workflow would fill in; rename it"
            )
        if not found:
            raise DataError(f"sources.{name}.paths: no file matches {pattern!r} (looked from the folder {os.getcwd()})")
        paths += [path for path in found if path not in paths]
    return paths


def _below_data(pattern: str, name: str) -> str:
    """Return where `data://FILE` lies: below the folder that DL4DS_DATA names."""
    if not pattern.startswith("data://"):
        return pattern
    folder = os.environ.get("DL4DS_DATA")
    if not folder:
        raise DataError(
            f"sources.{name}.paths: {pattern!r} lies below the folder that the environment variable DL4DS_DATA names, "
            "which is not set: export DL4DS_DATA=FOLDER"
        )
    return str(Path(folder) / pattern.removeprefix("data://"))


def _matching(pattern: str) -> list[str]:
    """Return the files of a glob; a file whose name has the characters of a glob is found by its name."""
    return [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))


def _packaged(address: str) -> str:
    package, _, inside = address.removeprefix("package://").partition("/")
    try:
        found = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):  # the parent of a subpackage is missing, or there is no name at all
        found = None
    if found is None or not found.submodule_search_locations:
        raise DataError(f"{address}: the Python package {package!r} is not installed")
    path = Path(next(iter(found.submodule_search_locations))) / inside
    if not path.exists():
        raise DataError(f"{address}: the package {package!r} has no such file")
    return str(path)


def part_names(paths: Iterable[str]) -> dict[str, str]:
    """Return a short name for each file that can be part of a file name: its stem, made unique where needed."""
    stems = {path: re.sub(r"[^A-Za-z0-9_-]", "_", Path(path).name.rsplit(".", 1)[0]) for path in paths}
    counts = Counter(stems.values())
    return {stem if counts[stem] == 1 else f"{stem}-{digest(path)}": path for path, stem in stems.items()}
