"""Scores of the validation period: errors in physical units, and sums that ranks add up."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

pytest.importorskip("horovod")

from dl4ds_core.errors import TrainingError
from dl4ds_core.scaling import Scaler
from dl4ds_core.training.scoring import physical_error, score_sums, scores


@pytest.mark.parametrize("transform", ["log1p", "cube-root"])
def test_errors_in_physical_units_of_a_transformed_predictand(transform):
    random = np.random.default_rng(1)
    curved = Scaler(np.array(1.0), np.array([[0.5, 0.6, 0.7]]), transform)
    plain = Scaler(np.array(280.0), np.array(5.0))
    truth, prediction = random.uniform(0, 2, size=(2, 4, 1, 3, 2)).astype(np.float32)
    weights = np.ones((4, 1, 3, 2), np.float32)
    weights[0, 0, 1] = 0.0
    found = physical_error([plain, curved])(truth, prediction, weights).numpy()
    expected = np.stack(
        [
            scaler.invert(prediction[..., number]).astype(float) - scaler.invert(truth[..., number])
            for number, scaler in enumerate((plain, curved))
        ],
        axis=-1,
    )
    np.testing.assert_allclose(found, expected * weights, rtol=1e-4, atol=1e-4)


def test_scores_of_two_parts_are_those_of_the_whole():
    """With a sample of padding, which holds anything, and two predictands with truth in different cells."""
    random = np.random.default_rng(2)
    errors = random.normal(size=(4, 3, 5, 2)).astype(np.float32)
    losses = random.uniform(size=4).astype(np.float32)
    area = np.linspace(0.5, 1.5, 3, dtype=np.float32)[:, None, None]
    cells = area * random.integers(2, size=errors.shape).astype(np.float32)
    weights = np.array([1, 1, 1, 0], np.float32)
    parts = [score_sums(losses[s], errors[s], cells[s], weights[s]) for s in (slice(0, 2), slice(2, 4))]
    found = scores(*(sum(values).numpy() for values in zip(*parts, strict=True)))
    kept, real = cells[:3].astype(float), errors[:3].astype(float)
    rmse = [np.sqrt(np.average(real[..., n] ** 2, weights=kept[..., n])) for n in (0, 1)]
    mae = [np.average(np.abs(real[..., n]), weights=kept[..., n]) for n in (0, 1)]
    assert found["validation_rmse"] == pytest.approx(np.mean(rmse), rel=1e-5)
    assert found["validation_mae"] == pytest.approx(np.mean(mae), rel=1e-5)
    assert found["validation_loss"] == pytest.approx(losses[:3].sum() / kept.mean(axis=(1, 2, 3)).sum(), rel=1e-5)


def test_without_truth_of_one_predictand_there_is_no_score():
    with pytest.raises(TrainingError, match=r"split\.validation: the truth is missing"):
        scores(np.array(1.0), np.ones(2), np.ones(2), np.array([1.0, 0.0]))
