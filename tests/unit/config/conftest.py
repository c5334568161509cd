"""A small complete configuration that tests change."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def content() -> dict[str, Any]:
    """Content of a configuration file with the required keys only."""
    return {
        "experiment": "trial",
        "sources": {"src": {"paths": ["a.nc"]}},
        "data": {"predictands": {"tas": {"source": "src", "variable": "air"}}, "scale": 4},
        "split": {"train": ["2001", "2002"], "validation": ["2003", "2003"], "test": ["2004", "2004"]},
        "models": {"net": {"backbone": "resnet", "upsampling": "spc"}},
    }
