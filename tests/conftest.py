"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets: ``$DL4DS_DATA``, or ``../shared/data`` beside the repository.

    Tests that use it are skipped where the folder is missing: nothing in the repository itself depends on it.
    """
    folder = Path(os.environ.get("DL4DS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set DL4DS_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def demo_file() -> Path:
    """Path of the demo's data, ``A1B_north_america.nc``, which comes with the installation."""
    iris_sample_data = pytest.importorskip("iris_sample_data")
    return Path(iris_sample_data.path) / "A1B_north_america.nc"
