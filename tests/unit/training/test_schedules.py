"""The learning rate of each step, of 4 steps per epoch."""

from __future__ import annotations

import math

import pytest

from dl4ds_core.config.training import Training
from dl4ds_core.training.schedules import learning_rate

STEPS = 4


def rates(**settings):
    training = Training(epochs=5, learning_rate=0.1, **settings)
    return [learning_rate(training, step, STEPS) for step in range(5 * STEPS)]


def test_constant():
    assert rates(schedule="constant") == [0.1] * 20


def test_a_cosine_from_the_full_rate_towards_zero():
    found = rates(schedule="cosine")
    assert found == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])
    assert found[0] == 0.1
    assert 0 < found[-1] < 0.001


def test_pieces_begin_after_their_epochs():
    found = rates(schedule="piecewise", piecewise={4: 0.01, 2: 0.5})
    assert found == pytest.approx([0.1] * 8 + [0.05] * 8 + [0.001] * 4)


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ({"schedule": "constant"}, [0.1] * 12),
        ({"schedule": "piecewise", "piecewise": {3: 0.1}}, [0.1] * 4 + [0.01] * 8),
        ({"schedule": "cosine"}, [0.05 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]),
    ],
    ids=["constant", "piecewise", "cosine"],
)
def test_a_warm_up_in_front_of_each(schedule, after):
    """Two epochs, which are 8 steps: the last of them has the full rate, and a cosine has the rest of the epochs."""
    found = rates(warmup_epochs=2.0, **schedule)
    assert found[:8] == pytest.approx([0.1 * (step + 1) / 8 for step in range(8)])
    assert found[8:] == pytest.approx(after)


def test_a_warm_up_of_a_part_of_an_epoch():
    assert rates(schedule="constant", warmup_epochs=0.625)[:4] == pytest.approx([0.04, 0.08, 0.1, 0.1])


def test_a_warm_up_as_long_as_the_training():
    assert rates(schedule="cosine", warmup_epochs=5.0)[-1] == pytest.approx(0.1)
