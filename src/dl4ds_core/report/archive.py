"""The archive of a study: an RO-Crate of configuration, scores, report and trained models, no data."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dl4ds_core.config import Config
from dl4ds_core.errors import DataError
from dl4ds_core.io import atomic
from dl4ds_core.provenance import redacted, resolved

VERSION = "1.1"
CONFIG_NAME = "config.yaml"

# By the end of a file's name, the longer first.
DESCRIPTIONS = {
    "provenance.json": "Configuration, software, commit, checksums of the inputs, machine and cost",
    "report.html": "Report: one page that opens in a browser",
    "cost.csv": "What each stage has cost: jobs, time, memory",
    "summary.csv": "All scores of all models, one per line",
    "history.csv": "Losses and validation RMSE per epoch of the training",
    "scores.csv": "Scores of one model over the domain",
    "scores.nc": "Scores of one model per cell",
    "model.keras": "Trained network",
    "spec.json": "What the network expects and returns",
    ".json": "Scaling of a field, fitted on the training period",
}
_FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".keras": "application/zip",
    ".nc": "application/netcdf",
    ".png": "image/png",
    ".yaml": "application/yaml",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(
    path: str | Path,
    *,
    root: str | Path,
    files: Iterable[str | Path],
    config: Config,
    provenance: Mapping[str, Any],
) -> None:
    """Write an RO-Crate as a zip file; equal files and records give a bitwise equal archive.

    Parameters
    ----------
    path : str or Path
        The zip file.
    root : str or Path
        Folder of the experiment: files keep their names below it.
    files : iterable of path
        What to put in; all below ``root``.
    config : Config
        The configuration; the archive holds it resolved and without passwords in addresses.
    provenance : mapping
        The record made by `dl4ds_core.provenance.collect`.

    Raises
    ------
    DataError
        If a file is missing or doesn't lie below ``root``.

    References
    ----------
    Soiland-Reyes, S., et al. (2022). Packaging research artefacts with RO-Crate. Data Science, 5(2), 97-138.
    https://doi.org/10.3233/DS-210053
    """
    members = _members(Path(root), files)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / CONFIG_NAME
        content = redacted(resolved(config))
        settings.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        crate = _crate(config, provenance, members | {CONFIG_NAME: settings})
        crate.write(Path(folder) / "crate")
        with atomic(path) as temporary:
            _zip(Path(folder) / "crate", temporary)


def _members(root: Path, files: Iterable[str | Path]) -> dict[str, Path]:
    members = {}
    for file in sorted(map(Path, files)):
        if not file.is_file():
            raise DataError(f"{file}: expected a file to archive, found none; run the stage that makes it")
        if not file.absolute().is_relative_to(root.absolute()):
            raise DataError(
                f"{file}: expected a file below {root}, the folder of the experiment; only those are archived"
            )
        members[file.absolute().relative_to(root.absolute()).as_posix()] = file
    return members


def _crate(config: Config, provenance: Mapping[str, Any], members: Mapping[str, Path]) -> Any:
    # Imported here: it loads an HTTP client, which only the archive needs to wait for.
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=VERSION)
    crate.name = config.title or config.experiment
    crate.description = (
        f"Statistical downscaling experiment {config.experiment}: {', '.join(config.data.predictands)} by a "
        f"factor of {config.data.scale}, with the models {', '.join(config.models)}."
    )
    crate.datePublished = str(provenance.get("end") or provenance.get("recorded", ""))
    crate.root_dataset["identifier"] = f"{config.experiment}-{provenance.get('config_digest', '')}"
    for name, source in members.items():
        crate.add_file(str(source), dest_path=name, record_size=True, properties=_properties(name))
    for name, entry in config.sources.items():
        described = {"@type": "CreativeWork", "name": name}
        described |= {key: text for key, text in (("citation", entry.citation), ("license", entry.licence)) if text}
        crate.root_dataset.append_to(
            "isBasedOn", crate.add(ContextEntity(crate, f"#source-{name}", properties=redacted(described)))
        )
    return crate


def _properties(name: str) -> dict[str, str]:
    text = next((text for end, text in DESCRIPTIONS.items() if name.endswith(end)), "")
    if name == CONFIG_NAME:
        text = "Configuration of the experiment, with all defaults"
    found = {"name": name, "description": text, "encodingFormat": _FORMATS.get(Path(name).suffix, "")}
    return {key: value for key, value in found.items() if value}


def _zip(folder: Path, target: Path) -> None:
    """Pack a folder in the order of names and with fixed times, so that equal content gives an equal file."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(item for item in folder.rglob("*") if item.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with open(file, "rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while piece := source.read(1 << 20):
                    sink.write(piece)
