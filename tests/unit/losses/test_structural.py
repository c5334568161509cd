"""Structural dissimilarity against explicit windows, scikit-image and TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from dl4ds_core.losses import mean_weight, scale_count, weighted_loss
from dl4ds_core.losses.structural import EXPONENTS, SMALLEST

Field = np.ndarray


def similarity(truth: Field, prediction: Field, valid: Field, span: float) -> tuple[Field, Field]:
    """Luminance and contrast of each cell (Y, X), its window written out; fields relative to the chosen zero."""
    luminance, contrast = np.zeros_like(truth), np.zeros_like(truth)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    for row, column in np.ndindex(*truth.shape):
        inside = (abs(y - row) <= 5) & (abs(x - column) <= 5)
        window = valid * inside * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))
        if not window.any():
            continue
        window = window / window.sum()
        mean_t, mean_p = (window * truth).sum(), (window * prediction).sum()
        var_t, var_p = (window * (truth - mean_t) ** 2).sum(), (window * (prediction - mean_p) ** 2).sum()
        covariance = (window * (truth - mean_t) * (prediction - mean_p)).sum()
        luminance[row, column] = (2 * mean_t * mean_p + c1) / (mean_t**2 + mean_p**2 + c1)
        contrast[row, column] = (2 * covariance + c2) / (var_t + var_p + c2)
    return luminance, contrast


def halved(field: Field, share: Field) -> Field:
    """Means over 2 x 2 cells, fewer at the edge, over the valid share."""
    result = np.zeros((-(-field.shape[0] // 2), -(-field.shape[1] // 2)))
    for row, column in np.ndindex(*result.shape):
        block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        if share[block].any():
            result[row, column] = np.average(field[block], weights=share[block])
    return result


def quarter_sums(field: Field) -> Field:
    """Sums over 2 x 2 cells divided by four, so that a block over the edge counts less."""
    padded = np.pad(field, [(0, side % 2) for side in field.shape])
    return (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4


def references(example, weights, scales):
    """Dissimilarity of each sample with so many scales; None: on one, without powers."""
    losses = np.zeros((2, 2))
    for sample, channel in np.ndindex(2, 2):
        lowest, highest = example.data_range[channel]
        weight = weights[sample, ..., channel].astype(np.float64)
        valid = (weight > 0).astype(np.float64)
        mean_weight = weight.mean()
        truth, prediction = (
            np.where(valid, field[sample, ..., channel].astype(np.float64) - lowest, 0)
            for field in (example.truth, example.prediction)
        )
        result = 1.0
        exponents = np.array(EXPONENTS[: scales or 1])
        for scale, exponent in enumerate(exponents / exponents.sum(), 1):
            luminance, contrast = similarity(truth, prediction, valid, highest - lowest)
            term = np.average(luminance * contrast if scale == len(exponents) else contrast, weights=weight)
            result *= term if scales is None else max(term, SMALLEST) ** exponent
            truth, prediction = halved(truth, valid), halved(prediction, valid)
            valid, weight = quarter_sums(valid), quarter_sums(weight)
        losses[sample, channel] = mean_weight * (1 - result) / 2
    return losses.mean(axis=1)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(("name", "scales"), [("dssim", None), ("ms-dssim", 2)])
def test_against_windows_written_out(name, scales, complete, example):
    weights = example.area * (np.ones_like(example.mask) if complete else example.mask)
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    found = np.asarray(loss(example.truth, example.prediction, weights))
    np.testing.assert_allclose(found, references(example, weights, scales), rtol=2e-4)


def test_the_interior_is_that_of_scikit_image(example_of):
    """The loss of a single cell, by weights that are almost zero elsewhere, far from the edges."""
    example = example_of(30, 29)
    (lowest, highest), channel = example.data_range[1], np.s_[..., 1:]
    truth, prediction = example.truth[channel], example.prediction[channel]
    loss = weighted_loss({"dssim": 1.0}, data_range=[(lowest, highest)])
    _, expected = structural_similarity(
        truth[0, ..., 0].astype(np.float64) - lowest,
        prediction[0, ..., 0].astype(np.float64) - lowest,
        win_size=11,
        data_range=highest - lowest,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    for cell in [(5, 5), (15, 14), (24, 23)]:
        weights = np.full((30, 29, 1), 1e-9)
        weights[cell] = 30 * 29
        found = float(np.asarray(loss(truth[:1], prediction[:1], weights))[0])
        assert found == pytest.approx((1 - expected[cell]) / 2, rel=1e-3)


def smooth_fields(random: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Fields with a red spectrum and unit variance."""
    frequency = np.hypot(np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2]))[None, ..., None]
    spectrum = np.fft.fft2(random.normal(size=shape), axes=(1, 2)) / (frequency + 0.02) ** 1.5
    field = np.fft.ifft2(spectrum, axes=(1, 2)).real
    return (field / field.std()).astype(np.float32)


def test_many_scales_are_close_to_those_of_tensorflow():
    """TensorFlow omits cells whose window reaches over the edge: of 12 x 13 on the coarsest scale all but 2 x 3."""
    import tensorflow as tf

    random = np.random.default_rng(6)
    truth, noise = smooth_fields(random, (3, 192, 208, 1)), smooth_fields(random, (3, 192, 208, 1))
    prediction = truth + np.array([0.1, 0.3, 1.0], np.float32)[:, None, None, None] * noise
    lowest, highest = float(truth.min()), float(truth.max())
    expected = tf.image.ssim_multiscale(truth - lowest, prediction - lowest, highest - lowest).numpy()
    loss = weighted_loss({"ms-dssim": 1.0}, data_range=[(lowest, highest)])
    found = 1 - 2 * np.asarray(loss(truth, prediction, np.ones((192, 208, 1))))
    assert scale_count(192, 208) == 5
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.ptp(expected) > 0.2


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3, 8), 1), ((20, 200), 1), ((21, 21), 2), ((32, 48), 2), ((161, 200), 5), ((160, 200), 4), ((2000, 2000), 5)],
)
def test_how_many_scales_a_grid_allows(size, expected):
    assert scale_count(*size) == expected


def test_one_scale_is_none(example_of):
    example = example_of(12, 20)
    fields = example.truth, example.prediction, example.area * example.mask
    single, several = (
        np.asarray(weighted_loss({name: 1.0}, data_range=example.data_range)(*fields)) for name in ("dssim", "ms-dssim")
    )
    # The mean over channels of means over cells: of the same numbers.
    np.testing.assert_allclose(several, single, rtol=1e-5)


@pytest.mark.parametrize("name", ["dssim", "ms-dssim"])
class TestSymmetries:
    def value(self, name, truth, prediction, data_range, weights=None):
        weights = np.ones((*truth.shape[1:3], 1)) if weights is None else weights
        return np.asarray(weighted_loss({name: 1.0}, data_range=data_range)(truth, prediction, weights))

    def test_truth_and_prediction_can_be_exchanged(self, name, example):
        forth, back = (
            self.value(name, *fields, example.data_range)
            for fields in [(example.truth, example.prediction), (example.prediction, example.truth)]
        )
        np.testing.assert_allclose(forth, back, rtol=1e-4)

    def test_units_do_not_matter(self, name, example):
        """Neither their size nor their zero, which the range moves with."""
        changed = self.value(
            name,
            *(10 * field + 50 for field in (example.truth, example.prediction)),
            [(10 * lowest + 50, 10 * highest + 50) for lowest, highest in example.data_range],
        )
        expected = self.value(name, example.truth, example.prediction, example.data_range)
        np.testing.assert_allclose(changed, expected, rtol=1e-3)

    def test_it_can_be_turned(self, name, example):
        """With an even number of cells; else the half blocks of the coarser scale lie at the other end."""
        fields = [field[:, :, :22] for field in (example.truth, example.prediction, example.area * example.mask)]
        turned = [np.rot90(field, axes=(1, 2)).copy() for field in fields]
        found, expected = (
            self.value(name, truth, prediction, example.data_range, weights)
            for truth, prediction, weights in (turned, fields)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_a_bias_costs_luminance(self, name, example):
        found = self.value(name, example.truth, example.truth + 1, example.data_range)
        assert (found > 1e-3).all()

    def test_a_wider_range_makes_the_same_error_smaller(self, name, example):
        wider = [(lowest, lowest + 10 * (highest - lowest)) for lowest, highest in example.data_range]
        narrow, wide = (
            self.value(name, example.truth, example.prediction, each) for each in (example.data_range, wider)
        )
        assert (wide < 0.7 * narrow).all()


def test_the_mean_weight_is_that_of_the_fine_cells(example):
    """Of the coarser scales, half blocks at the edge of an odd number of cells would change it."""
    weights = example.area * example.mask
    worst = weighted_loss({"ms-dssim": 1.0}, data_range=example.data_range)(example.truth, -example.truth, weights)
    floor = 1 - SMALLEST
    np.testing.assert_allclose(np.asarray(worst), np.asarray(mean_weight(weights)) * floor / 2, rtol=1e-5)
