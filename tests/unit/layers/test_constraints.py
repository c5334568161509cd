"""Constraints in physical units, on random fields, with areas and missing cells."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from dl4ds_core.layers import Constrain, Floor
from dl4ds_core.layers.constraints import LOWEST

SCALE, ROWS, COLUMNS = 3, 4, 5
FINE, COARSE = (ROWS * SCALE, COLUMNS * SCALE), (ROWS, COLUMNS)
FORWARD = {"none": lambda x: x, "log1p": np.log1p, "cube-root": np.cbrt}
INVERSE = {"none": lambda x: x, "log1p": np.expm1, "cube-root": lambda x: x**3}
#: Kind, transform, and size of the fields: temperatures in K have a large offset.
CASES = [
    ("additive", "none", 280.0),
    ("additive", "none", 0.0),
    ("additive", "cube-root", 0.0),
    *[(kind, transform, 2.0) for kind in ("multiplicative", "softmax") for transform in FORWARD],
    ("multiplicative", "none", 280.0),
]
CONSERVING = ("additive", "multiplicative", "softmax")


class Case:
    """One layer of one predictand with random physics, and random fields for it, in normalised units."""

    def __init__(self, kind, transform, mean, *, context=0, masked=True, seed=1):
        self.random = np.random.default_rng(seed)
        self.kind, self.transform, self.context = kind, transform, context
        self.layer = Constrain([kind], [transform], SCALE, context, dtype="float32")
        larger = tuple(size + 2 * context for size in COARSE)
        self.layer.build([(None, *FINE, 1), (None, *larger, 1)])
        self.weights = self.random.uniform(0.5, 1.5, (*FINE, 1))
        if masked:
            self.weights[self.random.random(FINE) < 0.2] = 0.0
            self.weights[:SCALE, :SCALE] = 0.0
        # Per cell and different on both grids: nothing may be taken for equal.
        offset = FORWARD[transform](mean) if transform != "none" else mean
        self.fine, self.coarse = (
            (offset + self.random.normal(size=size), self.random.uniform(0.5, 2.0, size))
            for size in ((*FINE, 1), (*larger, 1))
        )
        self.layer.set_physics(cell_weights=self.weights, fine=self.fine, coarse=self.coarse)
        # From dry to wet, and warm; what the network gives knows no bounds.
        given = mean + 3 * self.random.normal(size=(6, *larger, 1))
        self.given = given if kind == "additive" else np.maximum(given, 0.0)
        self.output = 2 * self.random.normal(size=(6, *FINE, 1)).astype(np.float32)

    @property
    def normalised(self):
        offset, factor = self.coarse
        return ((FORWARD[self.transform](self.given) - offset) / factor).astype(np.float32)

    def physical(self, output=None, normalised=None):
        """What is written in the end, float64."""
        inputs = [self.output if output is None else output, self.normalised if normalised is None else normalised]
        offset, factor = self.fine
        return INVERSE[self.transform](np.asarray(self.layer(inputs), np.float64) * factor + offset)

    @property
    def target(self):
        cut = slice(self.context, -self.context or None)
        return self.given[:, cut, cut, 0]


def block_means(fields, weights):
    """Weighted means (batch, rows, columns) by a plain loop; not a number where a block has no weight."""
    means = np.full((len(fields), *COARSE), np.nan)
    for row, column in np.ndindex(COARSE):
        block = (slice(row * SCALE, (row + 1) * SCALE), slice(column * SCALE, (column + 1) * SCALE))
        weight = weights[block][..., 0]
        if weight.any():
            means[:, row, column] = (fields[:, *block, 0] * weight).sum(axis=(1, 2)) / weight.sum()
    return means


@pytest.mark.parametrize("kind", CONSERVING)
def test_what_every_layer_must_pass(check_layer, kind):
    arguments = {"kinds": [kind, "multiplicative"], "transforms": ["none", "log1p"], "scale": 3, "context": 1}
    check_layer(Constrain, arguments, [(2, 6, 9, 2), (2, 4, 5, 2)], (2, 6, 9, 2), weights=5, any_grid=False)


@pytest.mark.parametrize(("masked", "context"), [(False, 0), (True, 2)])
@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
def test_block_means_are_the_coarse_input(kind, transform, mean, masked, context):
    case = Case(kind, transform, mean, context=context, masked=masked)
    physical = case.physical()
    means = block_means(physical, case.weights)
    some = np.isfinite(means)
    assert some[0].sum() == ROWS * COLUMNS - masked
    # Relative, also to the size of the fields: means near zero are sums and differences of larger numbers.
    size = np.abs(case.target) + (np.abs(physical).mean() if kind == "additive" else 0.1)
    error = np.abs(means - case.target) / size
    assert error[some].max() < 1e-5
    if kind != "additive":
        assert physical[:, case.weights > 0].min() >= -1e-6


@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
def test_blocks_without_any_weight_are_left_as_they_are(kind, transform, mean):
    case = Case(kind, transform, mean)
    if transform == "log1p":
        # What has no logarithm can't be: there they are made zero.
        offset, factor = case.fine
        case.output = np.maximum(case.output, -offset / factor).astype(np.float32)
    found = np.asarray(case.layer([case.output, case.normalised]))
    np.testing.assert_allclose(found[:, :SCALE, :SCALE], case.output[:, :SCALE, :SCALE], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
@pytest.mark.parametrize("change", [-1e3, 1e3])
def test_cells_without_weight_influence_no_other(kind, transform, mean, change):
    case = Case(kind, transform, mean)
    changed = np.where(case.weights == 0, case.output + np.float32(change), case.output)
    counts = case.weights[..., 0] > 0
    np.testing.assert_array_equal(case.physical(changed)[:, counts], case.physical()[:, counts])


@pytest.mark.parametrize("kind", ["multiplicative", "softmax"])
@pytest.mark.parametrize("transform", list(FORWARD))
def test_nothing_becomes_nothing(kind, transform):
    case = Case(kind, transform, 2.0)
    case.given[:, 1:3] = 0.0
    dry = case.physical()[:, SCALE : 3 * SCALE]
    assert np.abs(dry).max() < 2e-6
    wet = case.physical()[:, 3 * SCALE :]
    assert wet.max() > 0.1


@pytest.mark.parametrize("kind", ["multiplicative", "softmax"])
def test_a_dry_forecast_in_a_wet_block_becomes_even(kind):
    """All cells the same: there is nothing to tell them apart by."""
    case = Case(kind, "none", 2.0, masked=False)
    case.output[:] = -1e4 if kind == "multiplicative" else 0.0
    case.given[:] = 3.0
    np.testing.assert_allclose(case.physical(), 3.0, rtol=1e-5)


@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
def test_additive_and_multiplicative_keep_what_is_right_already(kind, transform, mean):
    if kind == "softmax":
        pytest.skip("softmax takes the pattern from exponentials, not from the fields themselves")
    case = Case(kind, transform, mean, masked=False)
    offset, factor = case.fine
    right = mean + 1.0 + case.random.random((6, *FINE, 1))
    case.output = ((FORWARD[transform](right) - offset) / factor).astype(np.float32)
    case.given = block_means(right, case.weights)[..., None]
    np.testing.assert_allclose(case.physical(), right, rtol=1e-5)


def test_a_floor_passes_too_and_raises_what_is_below_it(check_layer):
    check_layer(Floor, {}, (2, 4, 3, 2), (2, 4, 3, 2), weights=1)
    fields = np.random.default_rng(1).normal(size=(2, 4, 3, 3)).astype(np.float32)
    layer = Floor()
    np.testing.assert_array_equal(np.asarray(layer(fields)), fields)
    layer.floors.assign([-0.5, LOWEST, 0.25])
    expected = np.stack([np.maximum(fields[..., 0], -0.5), fields[..., 1], np.maximum(fields[..., 2], 0.25)], axis=-1)
    np.testing.assert_array_equal(np.asarray(layer(fields)), expected)


@pytest.mark.parametrize("transform", ["none", "cube-root"])
def test_means_are_kept_in_units_in_which_numbers_are_small(transform):
    """Precipitation in kg m-2 s-1: a millimetre per day is 1e-5."""
    random = np.random.default_rng(5)
    size = 1e-5
    factor = FORWARD[transform](size)
    layer = Constrain(["multiplicative"], [transform], SCALE)
    layer.build([(None, *FINE, 1), (None, *COARSE, 1)])
    fine, coarse = ((np.zeros((*shape, 1)), np.full((*shape, 1), factor)) for shape in (FINE, COARSE))
    layer.set_physics(cell_weights=np.ones((*FINE, 1)), fine=fine, coarse=coarse)
    given = size * random.gamma(0.5, size=(4, *COARSE, 1))
    output = random.normal(size=(4, *FINE, 1)).astype(np.float32)
    found = np.asarray(layer([output, (FORWARD[transform](given) / factor).astype(np.float32)]), np.float64)
    means = block_means(INVERSE[transform](found * factor), np.ones((*FINE, 1)))
    np.testing.assert_allclose(means, given[..., 0], rtol=1e-4, atol=1e-4 * size)


def test_without_areas_and_scaling_additive_is_the_difference_of_plain_means():
    random = np.random.default_rng(3)
    output, given = (random.normal(size=size).astype(np.float32) for size in ((2, 4, 6, 1), (2, 2, 3, 1)))
    means = output.reshape(2, 2, 2, 3, 2, 1).mean(axis=(2, 4))
    expected = output + np.repeat(np.repeat(given - means, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(np.asarray(Constrain(["additive"], ["none"], 2)([output, given])), expected, atol=1e-6)


def test_softmax_divides_by_exponentials():
    random = np.random.default_rng(3)
    output, given = random.normal(size=(1, 2, 2, 1)).astype("f"), np.full((1, 1, 1, 1), 5.0, "f")
    shares = np.exp(output) / np.exp(output).sum()
    found = np.asarray(Constrain(["softmax"], ["none"], 2)([output, given]))
    np.testing.assert_allclose(found, 4 * 5.0 * shares, rtol=1e-5)


def test_each_predictand_has_a_constraint_of_its_own():
    kinds, transforms = ["multiplicative", "none", "additive", "softmax"], ["log1p", "cube-root", "none", "none"]
    random = np.random.default_rng(4)
    output = random.normal(size=(3, *FINE, 4)).astype(np.float32)
    given = random.random((3, *COARSE, 4)).astype(np.float32)
    weights = random.uniform(0.5, 1.5, (*FINE, 4))
    fine, coarse = ((random.normal(size=s), random.uniform(0.5, 2.0, s)) for s in ((*FINE, 4), (*COARSE, 4)))

    def constrained(numbers):
        layer = Constrain([kinds[n] for n in numbers], [transforms[n] for n in numbers], SCALE)
        layer.build([(None, *FINE, len(numbers)), (None, *COARSE, len(numbers))])
        physics = {"fine": [x[..., numbers] for x in fine], "coarse": [x[..., numbers] for x in coarse]}
        layer.set_physics(cell_weights=weights[..., numbers], **physics)
        return np.asarray(layer([output[..., numbers], given[..., numbers]]))

    together = constrained([0, 1, 2, 3])
    for number in range(4):
        np.testing.assert_array_equal(together[..., number], constrained([number])[..., 0])
    np.testing.assert_array_equal(together[..., 1], output[..., 1])


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
def test_gradients_are_finite_everywhere(kind, transform, mean, size):
    """In dry blocks, for cells of exactly zero, and for outputs that are far off."""
    case = Case(kind, transform, mean)
    offset, factor = case.fine
    case.output *= size
    case.output[:, 3:6] = -offset[3:6] / factor[3:6]
    case.output[0, 6:9] = -1e3
    if kind != "additive":
        case.given[:, :, 1] = 0.0
    output, normalised = tf.constant(case.output), tf.constant(case.normalised)
    with tf.GradientTape() as tape:
        tape.watch((output, normalised))
        constrained = case.layer([output, normalised])
        loss = tf.reduce_sum(tf.abs(constrained - 0.1))
    assert np.isfinite(constrained.numpy()).all()
    by_output, by_coarse = tape.gradient(loss, (output, normalised))
    assert np.isfinite(by_output.numpy()).all()
    assert np.isfinite(by_coarse.numpy()).all()


@pytest.mark.parametrize(("kind", "transform", "mean"), CASES)
def test_the_network_learns_through_it(kind, transform, mean):
    """The gradient of the output is that of finite differences, where it is smooth."""
    case = Case(kind, transform, mean, masked=False)
    offset, factor = case.fine
    # Away from the kinks at zero.
    case.output = ((FORWARD[transform](mean + 1.0 + case.random.random((6, *FINE, 1))) - offset) / factor).astype("f")
    direction = case.random.normal(size=case.output.shape).astype("f")
    weights = case.random.normal(size=case.output.shape).astype("f")
    output = tf.constant(case.output)
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = tf.reduce_sum(case.layer([output, case.normalised]) * weights)
    found = np.sum(tape.gradient(loss, output).numpy() * direction, dtype=np.float64)
    step = 1e-2
    beyond, before = (
        np.asarray(case.layer([case.output + sign * step * direction, case.normalised]), np.float64) for sign in (1, -1)
    )
    expected = np.sum((beyond - before) * weights) / (2 * step)
    assert found == pytest.approx(expected, rel=2e-2, abs=0.05)
    assert abs(found) > 0.1


def test_a_saved_layer_knows_its_physics(tmp_path):
    case = Case("multiplicative", "log1p", 2.0, context=1)
    symbols = [keras.Input((*FINE, 1)), keras.Input((ROWS + 2, COLUMNS + 2, 1))]
    model = keras.Model(symbols, case.layer(symbols))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    inputs = [case.output, case.normalised]
    np.testing.assert_array_equal(np.asarray(loaded(inputs)), np.asarray(case.layer(inputs)))
    assert not loaded.trainable_weights


@pytest.mark.parametrize(
    ("kinds", "transforms", "message"),
    [
        (["positive"], ["none"], "expected constraints among none, additive, .* found 'positive'"),
        (["softmax"], ["log"], "expected transforms among none, log1p, cube-root, found 'log'"),
        (["softmax"], ["none", "none"], r"expected one transform per constraint \(1\), found 2"),
        (["none", "additive"], ["none", "log1p"], "may give negative values.*use `multiplicative`"),
    ],
)
def test_what_it_cannot_do_is_refused(kinds, transforms, message):
    with pytest.raises(ValueError, match=message):
        Constrain(kinds, transforms, 2)
