"""The scripts of the stage regrid, called as their rules do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dl4ds_core.config.inputs import Predictand, Regrid

Maker = Callable[..., dict[str, Path]]


def entry_of(variable: str, units: str | None = None, **keys: Any) -> dict[str, Any]:
    """An entry as the rules give it to scripts."""
    entry = Predictand(source="input", variable=variable, units=units, **keys)
    return entry.model_dump() | {"regrid": Regrid().model_dump(), "filters": {}}


@pytest.fixture(scope="session")
def make_grids(script: Callable[[str], ModuleType]) -> Callable[..., dict[str, Path]]:
    """Lay out the grids of a predictand's file: paths by `fine` and `coarse`."""

    def make(
        folder: Path, path: str | Path, entry: Mapping[str, Any], scale: int, context: int = 0, **keys: Any
    ) -> dict[str, Path]:
        files = {grid: folder / "grids" / f"{grid}.nc" for grid in ("fine", "coarse")}
        given = {"domain": None, "grid": None, "about": {}} | keys
        outputs = {grid: str(file) for grid, file in files.items()}
        script("grids").main(path=str(path), entry=entry, scale=scale, context=context, **given, **outputs)
        return files

    return make


@pytest.fixture(scope="session")
def make_parts(script: Callable[[str], ModuleType]) -> Callable[..., dict[str, Path]]:
    """Bring a file of a predictand to both grids: paths by `fine` and `coarse`."""

    def make(
        folder: Path, path: str | Path, entry: Mapping[str, Any], scale: int, grid: Path, name: str, **keys: Any
    ) -> dict[str, Path]:
        files = {grid: folder / f"{grid}.nc" for grid in ("fine", "coarse")}
        given = {"context": 0, "missing": "refuse", "like": None, "about": {}} | keys
        outputs = {grid: str(file) for grid, file in files.items()}
        paths = {"path": str(path), "grid": str(grid), "weights": str(folder / "weights")}
        script("coarsen").main(name=name, entry=entry, scale=scale, **paths, **given, **outputs)
        return files

    return make


@pytest.fixture(scope="session")
def entry() -> Callable[..., dict[str, Any]]:
    return entry_of
