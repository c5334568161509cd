"""Complete networks: every valid combination, on grids that are not square."""

from __future__ import annotations

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from dl4ds_core.config.schema import Model
from dl4ds_core.errors import ConfigError
from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.models.networks import build_network

pytestmark = pytest.mark.usefixtures("keras_reset")
KINDS = [("resnet", "spc"), ("resnet", "pin"), ("unet", "pin")]
SCALES = (2, 3, 4, 5)
FEW = {("resnet", "spc", 4), ("resnet", "pin", 3), ("unet", "pin", 5)}
COMBINATIONS = [
    pytest.param(*kind, scale, marks=[] if (*kind, scale) in FEW else pytest.mark.full)
    for kind, scale in itertools.product(KINDS, SCALES)
]


def network(backbone: str, upsampling: str, scale: int, *, shape=(3, 5), channels=1, outputs=1, **settings):
    """A network for fields whose first channels are the coarse predictands, unless ``base`` says something else."""
    sizes = {name: settings.pop(name) for name in ("static", "context") if name in settings}
    base = settings.pop("base", range(outputs))
    chosen = Model(**{"backbone": backbone, "upsampling": upsampling, "filters": 8, "blocks": 2, **settings})
    return build_network(
        chosen, coarse_shape=shape, scale=scale, channels=channels, outputs=outputs, base=base, **sizes
    )


def fields(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def interpolated(coarse: np.ndarray, scale: int, method: str = "bicubic", context: int = 0) -> np.ndarray:
    rows, columns = (interpolation_matrix(method, size, scale, context) for size in coarse.shape[1:3])
    return np.einsum("ij,bjkc,lk->bilc", rows, coarse, columns)


def predicted(model: keras.Model, *inputs: np.ndarray) -> np.ndarray:
    """The output for coarse fields and, where the network takes them, static ones."""
    return np.asarray(model(list(inputs)))


def randomise(model: keras.Model) -> None:
    random = np.random.default_rng(7)
    for weight in model.weights:
        weight.assign(0.1 * random.normal(size=weight.shape).astype("float32"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestEveryCombination:
    def test_shape_and_start(self, backbone, upsampling, scale):
        model = network(backbone, upsampling, scale)
        coarse = fields(2, 3, 5, 1)
        output = predicted(model, coarse)
        assert model.output_shape == (None, 3 * scale, 5 * scale, 1)
        assert output.shape == (2, 3 * scale, 5 * scale, 1)
        # A residual network starts as the interpolation it adds to.
        np.testing.assert_allclose(output, interpolated(coarse, scale), atol=1e-5)


@pytest.mark.parametrize(("backbone", "upsampling", "scale"), COMBINATIONS)
@pytest.mark.parametrize("static", [0, 2])
class TestTraining:
    def test_the_loss_falls_and_a_saved_network_is_the_same(self, backbone, upsampling, scale, static, tmp_path):
        model = network(backbone, upsampling, scale, static=static)
        coarse, truth = fields(8, 3, 5, 1), fields(8, 3 * scale, 5 * scale, 1, seed=2)
        inputs = [coarse, fields(1, 3 * scale, 5 * scale, 2, seed=3)] if static else [coarse]
        optimizer = keras.optimizers.Adam(3e-3)
        losses = [self.step(model, optimizer, inputs, truth) for _ in range(8)]
        assert np.isfinite(losses).all()
        assert losses[-1] < 0.97 * losses[0]
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        np.testing.assert_array_equal(predicted(loaded, *inputs), predicted(model, *inputs))

    @staticmethod
    def step(model, optimizer, inputs, truth) -> float:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True) - truth))
        gradients = tape.gradient(loss, model.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply(gradients, model.trainable_variables)
        return float(loss)


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestOptions:
    def test_without_residual_it_does_not_start_as_the_interpolation(self, backbone, upsampling):
        coarse = fields(2, 3, 5, 1)
        output = predicted(network(backbone, upsampling, 2, residual=False), coarse)
        assert np.abs(output - interpolated(coarse, 2)).max() > 0.1
        assert np.abs(output).max() > 0

    @pytest.mark.parametrize("method", ["nearest", "bilinear"])
    def test_the_interpolation_chosen_is_the_one_used(self, backbone, upsampling, method):
        coarse = fields(2, 3, 5, 1)
        output = predicted(network(backbone, upsampling, 4, interpolation=method), coarse)
        np.testing.assert_allclose(output, interpolated(coarse, 4, method), atol=1e-5)

    def test_localized_weights_are_one_per_cell(self, backbone, upsampling):
        count = {flag: network(backbone, upsampling, 2, localized=flag).count_params() for flag in (True, False)}
        assert count[True] - count[False] == 2 * 6 * 10

    def test_further_channels_reach_the_output_but_not_the_base(self, backbone, upsampling):
        model = network(backbone, upsampling, 2, channels=3, outputs=2)
        coarse = fields(2, 3, 5, 3)
        np.testing.assert_allclose(predicted(model, coarse), interpolated(coarse[..., :2], 2), atol=1e-5)
        randomise(model)
        changed = coarse.copy()
        changed[..., 2] += 1.0
        assert np.abs(predicted(model, changed) - predicted(model, coarse)).max() > 1e-6

    def test_static_fields_reach_the_output(self, backbone, upsampling):
        model = network(backbone, upsampling, 2, static=1)
        randomise(model)
        coarse, static = fields(3, 3, 5, 1), fields(1, 6, 10, 1)
        one, other = (predicted(model, coarse, values) for values in (static, static + 1))
        assert one.shape == (3, 6, 10, 1)
        assert np.abs(one - other).max() > 1e-6

    def test_samples_of_a_batch_do_not_mix(self, backbone, upsampling):
        model = network(backbone, upsampling, 2)
        randomise(model)
        coarse = fields(4, 3, 5, 1)
        together = predicted(model, coarse)
        alone = np.concatenate([predicted(model, coarse[i : i + 1]) for i in range(4)])
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_weights_have_names_that_last(self, backbone, upsampling):
        paths = [[weight.path for weight in network(backbone, upsampling, 4, static=1).weights] for _ in range(2)]
        assert paths[0] == paths[1]
        assert len(set(paths[0])) == len(paths[0])

    def test_equal_seeds_give_equal_weights(self, backbone, upsampling):
        made = []
        for seed in (5, 5, 6):
            keras.utils.set_random_seed(seed)
            made.append(np.concatenate([w.numpy().ravel() for w in network(backbone, upsampling, 2).weights]))
        np.testing.assert_array_equal(made[0], made[1])
        assert (made[0] != made[2]).any()


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestContext:
    @pytest.mark.parametrize(("context", "scale"), [(1, 2), (2, 3)])
    def test_it_starts_as_the_interpolation_of_the_larger_field(self, backbone, upsampling, context, scale):
        shape = (3 + 2 * context, 5 + 2 * context)
        model = network(backbone, upsampling, scale, shape=shape, context=context)
        coarse = fields(2, *shape, 1)
        output = predicted(model, coarse)
        assert output.shape == (2, 3 * scale, 5 * scale, 1)
        np.testing.assert_allclose(output, interpolated(coarse, scale, context=context), atol=1e-5)

    @pytest.mark.parametrize("base", [range(1), None])
    def test_each_cell_of_the_context_reaches_the_output(self, backbone, upsampling, base):
        model = network(backbone, upsampling, 2, shape=(5, 6), context=1, base=base)
        randomise(model)
        coarse = fields(1, 5, 6, 1)
        expected = predicted(model, coarse)
        for row, column in ((0, 3), (4, 2), (2, 0), (3, 5)):
            changed = coarse.copy()
            changed[0, row, column] += 10.0
            assert np.abs(predicted(model, changed) - expected).max() > 1e-5

    def test_statics_are_those_of_the_domain_and_all_is_saved(self, backbone, upsampling, tmp_path):
        model = network(backbone, upsampling, 2, shape=(5, 6), channels=3, outputs=2, base=(2, 0), static=2, context=1)
        randomise(model)
        coarse, static = fields(3, 5, 6, 3), fields(1, 6, 8, 2)
        output = predicted(model, coarse, static)
        assert output.shape == (3, 6, 8, 2)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        np.testing.assert_array_equal(predicted(loaded, coarse, static), output)
        again = keras.Model.from_config(model.get_config())
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(predicted(again, coarse, static), output)


@pytest.mark.parametrize("backbone", ["resnet", "unet"])
def test_pin_with_context_is_the_inner_part_of_a_network_on_the_larger_grid(backbone):
    options = {"shape": (6, 7), "localized": False}
    larger, inner = (network(backbone, "pin", 2, context=context, **options) for context in (0, 1))
    randomise(larger)
    inner.set_weights(larger.get_weights())
    coarse = fields(2, 6, 7, 1)
    np.testing.assert_allclose(predicted(inner, coarse), predicted(larger, coarse)[:, 2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestBase:
    def test_it_is_of_the_channels_named(self, backbone, upsampling):
        coarse = fields(2, 3, 5, 4)
        output = predicted(network(backbone, upsampling, 2, channels=4, outputs=2, base=(3, 1)), coarse)
        np.testing.assert_allclose(output, interpolated(coarse[..., [3, 1]], 2), atol=1e-5)

    def test_without_coarse_predictands_there_is_none(self, backbone, upsampling):
        model = network(backbone, upsampling, 2, channels=4, outputs=2, base=None)
        assert not [layer for layer in model.layers if layer.name in ("base", "residual")]
        coarse = fields(2, 3, 5, 4)
        output = predicted(model, coarse)
        assert output.shape == (2, 6, 10, 2)
        assert np.abs(output).max() > 0
        for channel in range(4):
            changed = coarse.copy()
            changed[..., channel] += 1.0
            assert np.abs(predicted(model, changed) - output).max() > 1e-6

    def test_a_residual_network_without_any_is_refused(self, backbone, upsampling):
        with pytest.raises(ConfigError, match=r"residual: true.*leave `residual` empty"):
            network(backbone, upsampling, 2, channels=4, outputs=2, base=None, residual=True)


@pytest.mark.parametrize("shape", [(3, 5), (7, 4), (2, 9)])
@pytest.mark.parametrize("scale", [3, 5])
def test_a_unet_works_on_grids_that_cannot_be_halved(shape, scale):
    model = network("unet", "pin", scale, shape=shape, blocks=3)
    randomise(model)
    output = predicted(model, fields(2, *shape, 1))
    assert output.shape == (2, shape[0] * scale, shape[1] * scale, 1)
    assert np.isfinite(output).all()


def test_spc_works_on_the_coarse_grid_and_pin_on_the_fine_one():
    spc, pin = (network("resnet", upsampling, 4) for upsampling in ("spc", "pin"))
    assert spc.get_layer("block1_a").output.shape[1:3] == (3, 5)
    assert pin.get_layer("block1_a").output.shape[1:3] == (12, 20)


def test_a_unet_halves_and_doubles():
    model = network("unet", "pin", 4, shape=(4, 6), blocks=3)
    assert model.get_layer("bottom_b").output.shape[1:] == (2, 3, 64)
    assert model.get_layer("up1_b").output.shape[1:] == (16, 24, 8)
