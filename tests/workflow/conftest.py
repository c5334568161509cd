"""Fixtures of the tests that run the workflow."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from running import TINY, Workflow, copy_repository, files_below


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a shared run in one process, so that `pytest -n 2 --dist loadgroup` makes it once."""
    for item in items:
        for shared in {"finished", "kinds"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(scope="session")
def list_files() -> Any:
    return files_below


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that the workflow consists of: tests may change code there."""
    return copy_repository(tmp_path_factory.mktemp("repository with a space") / "checkout")


@pytest.fixture
def tiny(demo_file: Path) -> dict[str, Any]:
    """Configuration of a small experiment; a test may change it."""
    return copy.deepcopy(TINY)


@pytest.fixture
def fresh(tmp_path: Path, repository: Path) -> Workflow:
    """An empty working directory."""
    return Workflow(tmp_path, repository)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, repository: Path, demo_file: Path) -> Workflow:
    """The small experiment, run from input to archive. Tests only look at it, or plan further runs."""
    workflow = Workflow(tmp_path_factory.mktemp("finished"), repository)
    workflow.run(TINY, "report", "archive")
    return workflow
