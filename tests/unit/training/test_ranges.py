"""The range of the truth: read in chunks, without missing cells, and only where a loss needs it."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

pytest.importorskip("horovod")

from dl4ds_core.config.training import Training
from dl4ds_core.errors import TrainingError
from dl4ds_core.training import ranges
from dl4ds_core.training.ranges import data_range

SSIM = {"dssim": 0.6, "mae": 0.4}


class Truth:
    """Samples of two predictands; notes how many are read at once."""

    predictands = ("tas", "pr")

    def __init__(self, fine, mask=None):
        self.fine, self.mask, self.read = fine, mask, []

    def __len__(self):
        return len(self.fine)

    def take(self, indices):
        self.read.append(len(indices))
        return None, self.fine[indices], None if self.mask is None else self.mask[indices]


class Rank:
    """One of several ranks: the first, or one that is told what the first found."""

    def __init__(self, told=None):
        self.first, self.told = told is None, told

    def broadcast_object(self, value):
        return value if self.first else self.told


@pytest.fixture
def truth():
    return Truth(np.random.default_rng(1).normal(size=(7, 4, 5, 2)).astype(np.float32))


def test_lowest_and_highest_of_all_chunks(truth, monkeypatch):
    monkeypatch.setattr(ranges, "CHUNK", 3)
    found = data_range(Training(loss=SSIM), truth, Rank())
    assert truth.read == [3, 3, 1]
    np.testing.assert_array_equal(found, np.stack([truth.fine.min(axis=(0, 1, 2)), truth.fine.max(axis=(0, 1, 2))], 1))


def test_missing_cells_have_no_say(truth):
    truth.mask = np.ones_like(truth.fine)
    truth.fine[2, 1, 1], truth.mask[2, 1, 1] = 1e9, 0.0
    assert max(highest for _, highest in data_range(Training(loss=SSIM), truth, Rank())) < 10


def test_a_given_width_lies_about_the_middle_of_the_truth(truth):
    whole = data_range(Training(loss=SSIM), truth, Rank())
    found = data_range(Training(loss=SSIM, data_range=3.0), truth, Rank())
    for (low, high), (lowest, highest) in zip(found, whole, strict=True):
        assert high - low == pytest.approx(3.0)
        assert high + low == pytest.approx(lowest + highest)


def test_other_losses_need_none_and_read_nothing(truth):
    assert data_range(Training(loss={"mae": 1.0, "huber": 1.0}), truth, Rank()) is None
    assert not truth.read


def test_other_ranks_are_told(truth):
    assert data_range(Training(loss=SSIM), truth, Rank([(-1.0, 1.0), (0.0, 2.0)])) == [(-1.0, 1.0), (0.0, 2.0)]
    assert not truth.read


@pytest.mark.parametrize("width", [None, 3.0])
def test_a_predictand_without_truth_is_refused(truth, width):
    truth.mask = np.ones_like(truth.fine)
    truth.mask[..., 1] = 0.0
    with pytest.raises(TrainingError, match=r"split\.train: the truth is missing"):
        data_range(Training(loss=SSIM, data_range=width), truth, Rank())
