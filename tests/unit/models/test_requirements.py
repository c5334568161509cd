"""What a network needs of a grid."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dl4ds_core.config.schema import Model
from dl4ds_core.models.requirements import smallest_fine_size


@pytest.mark.parametrize(
    ("backbone", "upsampling", "blocks", "scale", "expected"),
    [("resnet", "spc", 9, 4, 12), ("resnet", "pin", 9, 2, 6), ("unet", "pin", 3, 2, 8), ("unet", "pin", 2, 5, 15)],
)
def test_smallest_grid(backbone, upsampling, blocks, scale, expected):
    model = Model(backbone=backbone, upsampling=upsampling, blocks=blocks)
    assert smallest_fine_size(model, scale) == expected


@pytest.mark.parametrize(
    ("backbone", "upsampling", "blocks", "context", "expected"),
    [("resnet", "spc", 9, 1, 4), ("unet", "pin", 5, 1, 24), ("unet", "pin", 5, 3, 8), ("resnet", "pin", 2, 5, 4)],
)
def test_cells_of_the_context_count(backbone, upsampling, blocks, context, expected):
    model = Model(backbone=backbone, upsampling=upsampling, blocks=blocks)
    assert smallest_fine_size(model, 4, context) == expected


def test_it_can_be_asked_without_importing_keras():
    code = (
        "import sys, dl4ds_core.models.requirements; sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
