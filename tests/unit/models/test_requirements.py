"""What a network needs of a grid."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dl4ds_core.config.schema import Model
from dl4ds_core.models.requirements import smallest_fine_size


@pytest.mark.parametrize("backbone", ["convnet", "resnet", "densenet", "convnext"])
@pytest.mark.parametrize("upsampling", ["pin", "spc", "rc", "dc"])
@pytest.mark.parametrize("scale", [2, 7, 16])
def test_two_coarse_cells_are_enough(backbone, upsampling, scale):
    model = Model(backbone=backbone, upsampling=upsampling, blocks=9)
    assert smallest_fine_size(model, scale) == 2 * scale


@pytest.mark.parametrize(
    ("upsampling", "blocks", "scale", "expected"),
    [
        ("pin", 1, 2, 4),
        ("pin", 2, 2, 4),
        ("pin", 3, 2, 6),  # five fine cells at least
        ("pin", 3, 5, 10),
        ("pin", 5, 4, 20),  # 17
        ("spc", 1, 4, 8),
        ("rc", 2, 4, 12),
        ("dc", 3, 4, 20),
        ("spc", 4, 2, 18),
    ],
)
def test_each_level_of_a_unet_has_two_cells_to_make_one_of(upsampling, blocks, scale, expected):
    model = Model(backbone="unet", upsampling=upsampling, blocks=blocks)
    assert smallest_fine_size(model, scale) == expected


@pytest.mark.parametrize(
    ("backbone", "upsampling", "blocks", "context", "expected"),
    [
        ("resnet", "spc", 9, 1, 4),
        ("resnet", "pin", 2, 5, 4),
        ("unet", "pin", 5, 1, 12),  # 17 fine cells, so five coarse ones
        ("unet", "pin", 5, 3, 4),
        ("unet", "spc", 3, 1, 12),
        ("unet", "spc", 3, 2, 4),
    ],
)
def test_cells_of_the_context_count(backbone, upsampling, blocks, context, expected):
    model = Model(backbone=backbone, upsampling=upsampling, blocks=blocks)
    assert smallest_fine_size(model, 4, context) == expected


def test_it_can_be_asked_without_importing_keras():
    code = (
        "import sys, dl4ds_core.models.requirements; sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
