"""Complete networks: options, context, the field that is added to, precision, names, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.errors import ConfigError

from .small_networks import COMBINATIONS, build, fields, interpolated, predicted, randomise

pytestmark = pytest.mark.usefixtures("keras_reset")
KINDS = [
    pytest.param(backbone, upsampling, marks=[] if few else pytest.mark.full)
    for backbone, upsampling, window in COMBINATIONS
    if window is None
    for few in [(backbone, upsampling) == ("resnet", "spc")]
]


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestOptions:
    def test_without_residual_it_does_not_start_as_the_interpolation(self, backbone, upsampling):
        coarse = fields(2, 3, 5, 1)
        output = predicted(build(backbone, upsampling, 2, residual=False), coarse)
        assert np.abs(output - interpolated(coarse, 2)).max() > 0.1
        assert np.abs(output).max() > 0

    @pytest.mark.parametrize("method", ["nearest", "bilinear"])
    def test_the_interpolation_chosen_is_the_one_used(self, backbone, upsampling, method):
        coarse = fields(2, 3, 5, 1)
        output = predicted(build(backbone, upsampling, 4, interpolation=method), coarse)
        np.testing.assert_allclose(output, interpolated(coarse, 4, method), atol=1e-5)

    def test_localized_weights_are_one_per_cell(self, backbone, upsampling):
        count = {
            kind: build(backbone, upsampling, 2, outputs=2, channels=2, localized=kind).count_params()
            for kind in ("none", "affine", "convolution")
        }
        # A weight and a bias per cell and predictand.
        assert count["affine"] - count["none"] == 6 * 10 * 2 * 2
        # A 1 x 1 kernel from 2 to 2 channels and 2 biases per cell, besides what leads there and what mixes them in.
        assert count["convolution"] - count["none"] > 6 * 10 * (2 * 2 + 2)

    def test_further_channels_reach_the_output_but_not_the_base(self, backbone, upsampling):
        model = build(backbone, upsampling, 2, channels=3, outputs=2)
        coarse = fields(2, 3, 5, 3)
        np.testing.assert_allclose(predicted(model, coarse), interpolated(coarse[..., :2], 2), atol=1e-5)
        randomise(model)
        changed = coarse.copy()
        changed[..., 2] += 1.0
        assert np.abs(predicted(model, changed) - predicted(model, coarse)).max() > 1e-6

    def test_static_fields_reach_the_output(self, backbone, upsampling):
        model = build(backbone, upsampling, 2, static=1)
        randomise(model)
        coarse, static = fields(3, 3, 5, 1), fields(1, 6, 10, 1)
        one, other = (predicted(model, coarse, values) for values in (static, static + 1))
        assert one.shape == (3, 6, 10, 1)
        assert np.abs(one - other).max() > 1e-6

    def test_samples_of_a_batch_do_not_mix(self, backbone, upsampling):
        model = build(backbone, upsampling, 2)
        randomise(model)
        coarse = fields(4, 3, 5, 1)
        together = predicted(model, coarse)
        alone = np.concatenate([predicted(model, coarse[i : i + 1]) for i in range(4)])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)

    def test_equal_seeds_give_equal_weights(self, backbone, upsampling):
        made = []
        for seed in (5, 5, 6):
            keras.utils.set_random_seed(seed)
            made.append(np.concatenate([w.numpy().ravel() for w in build(backbone, upsampling, 2).weights]))
        np.testing.assert_array_equal(made[0], made[1])
        assert (made[0] != made[2]).any()


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestContext:
    @pytest.mark.parametrize(("context", "scale"), [(1, 2), (2, 3)])
    def test_it_starts_as_the_interpolation_of_the_larger_field(self, backbone, upsampling, context, scale):
        shape = (3 + 2 * context, 5 + 2 * context)
        model = build(backbone, upsampling, scale, shape=shape, context=context)
        coarse = fields(2, *shape, 1)
        output = predicted(model, coarse)
        assert output.shape == (2, 3 * scale, 5 * scale, 1)
        np.testing.assert_allclose(output, interpolated(coarse, scale, context=context), atol=1e-5)

    @pytest.mark.parametrize("base", [range(1), None])
    def test_each_cell_of_the_context_reaches_the_output(self, backbone, upsampling, base):
        model = build(backbone, upsampling, 2, shape=(5, 6), context=1, base=base)
        randomise(model)
        coarse = fields(1, 5, 6, 1)
        expected = predicted(model, coarse)
        for row, column in ((0, 3), (4, 2), (2, 0), (3, 5)):
            changed = coarse.copy()
            changed[0, row, column] += 10.0
            assert np.abs(predicted(model, changed) - expected).max() > 1e-5

    def test_statics_are_those_of_the_domain_and_all_is_saved(self, backbone, upsampling, tmp_path):
        model = build(backbone, upsampling, 2, shape=(5, 6), channels=3, outputs=2, base=(2, 0), static=2, context=1)
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
    options = {"shape": (6, 7), "localized": "none"}
    larger, inner = (build(backbone, "pin", 2, context=context, **options) for context in (0, 1))
    randomise(larger)
    inner.set_weights(larger.get_weights())
    coarse = fields(2, 6, 7, 1)
    np.testing.assert_allclose(predicted(inner, coarse), predicted(larger, coarse)[:, 2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize(("backbone", "upsampling"), KINDS)
class TestBase:
    def test_it_is_of_the_channels_named(self, backbone, upsampling):
        coarse = fields(2, 3, 5, 4)
        output = predicted(build(backbone, upsampling, 2, channels=4, outputs=2, base=(3, 1)), coarse)
        np.testing.assert_allclose(output, interpolated(coarse[..., [3, 1]], 2), atol=1e-5)

    def test_without_coarse_predictands_there_is_none(self, backbone, upsampling):
        model = build(backbone, upsampling, 2, channels=4, outputs=2, base=None)
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
            build(backbone, upsampling, 2, channels=4, outputs=2, base=None, residual=True)


@pytest.mark.parametrize("shape", [(3, 5), (7, 4), (2, 9)])
@pytest.mark.parametrize("scale", [3, 5])
def test_a_unet_works_on_grids_that_cannot_be_halved(shape, scale):
    model = build("unet", "pin", scale, shape=shape, blocks=3)
    randomise(model)
    output = predicted(model, fields(2, *shape, 1))
    assert output.shape == (2, shape[0] * scale, shape[1] * scale, 1)
    assert np.isfinite(output).all()


def test_only_pin_works_on_the_fine_grid():
    for upsampling, size in (("pin", (12, 20)), ("spc", (3, 5)), ("rc", (3, 5)), ("dc", (3, 5))):
        assert build("resnet", upsampling, 4).get_layer("block1_a").output.shape[1:3] == size


def names(model: keras.Model, ending: str) -> list[str]:
    return [layer.name for layer in model.layers if layer.name.endswith(ending)]


BACKBONES = [("convnet", None), ("resnet", None), ("densenet", None), ("unet", None), ("convnext", None)] + [
    (backbone, 2) for backbone in ("convnet", "resnet", "densenet")
]


#: One without a window and one with, in `make test`.
MOST = [pytest.param(*each, marks=[] if each in BACKBONES[3::3] else pytest.mark.full) for each in BACKBONES]


@pytest.mark.parametrize(("backbone", "window"), MOST)
def test_norm_attention_and_dropout_are_where_they_are_asked_for_and_nowhere_else(backbone, window):
    asked = {"norm": "batch", "attention": True, "dropout": {"rate": 0.3, "kind": "spatial", "at_prediction": True}}
    plain = build(backbone, "spc", 2, time_window=window, norm="none")
    rich = build(backbone, "spc", 2, time_window=window, **asked)
    for ending in ("_norm", "_attention", "_dropout"):
        assert not names(plain, ending)
        assert names(rich, ending)
    for name in names(rich, "_dropout"):
        config = rich.get_layer(name).get_config()
        assert (config["rate"], config["kind"], config["at_prediction"]) == (0.3, "spatial", True)
    assert {type(rich.get_layer(name)).__name__ for name in names(rich, "_norm")} == {"BatchNormalization"}
    layer = build(backbone, "spc", 2, time_window=window, norm="layer")
    assert {type(layer.get_layer(name)).__name__ for name in names(layer, "_norm")} == {"LayerNormalization"}


@pytest.mark.parametrize(("backbone", "window"), MOST)
def test_dropout_acts_on_the_output_in_training_and_only_if_asked_for_in_prediction(backbone, window):
    coarse = fields(2, *([window] if window else []), 3, 5, 1)
    for at_prediction in (False, True):
        dropout = {"rate": 0.5, "at_prediction": at_prediction}
        model = build(backbone, "rc", 2, time_window=window, dropout=dropout, activation="elu")
        randomise(model)
        one, other = predicted(model, coarse), predicted(model, coarse)
        assert (np.abs(one - other).max() > 1e-4) == at_prediction
        one, other = (predicted(model, coarse, training=True) for _ in range(2))
        assert np.abs(one - other).max() > 1e-4


@pytest.mark.full
@pytest.mark.parametrize(("backbone", "window"), BACKBONES)
@pytest.mark.parametrize("activation", ["relu", "elu", "selu", "gelu", "crelu", "leaky_relu"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("kind", [None, "plain", "spatial", "gaussian"])
def test_every_activation_norm_and_dropout_together(backbone, window, activation, norm, kind):
    dropout = None if kind is None else {"rate": 0.2, "kind": kind}
    model = build(backbone, "spc", 3, blocks=1, time_window=window, activation=activation, norm=norm, dropout=dropout)
    randomise(model)
    coarse = fields(2, *([window] if window else []), 3, 5, 1)
    for training in (False, True):
        output = predicted(model, coarse, training=training)
        assert output.shape == (2, 9, 15, 1)
        assert np.isfinite(output).all()


@pytest.mark.parametrize(
    ("activation", "lowest", "highest"),
    [("relu", 0, np.inf), ("sigmoid", 0, 1), ("softplus", 0, np.inf), ("tanh", -1, 1), ("elu", -1, np.inf)],
)
def test_an_output_activation_bounds_the_output(activation, lowest, highest):
    model = build("resnet", "spc", 2, residual=False, output_activation=activation)
    randomise(model, 1.0)
    coarse = 5 * fields(4, 3, 5, 1)
    output = predicted(model, coarse)
    assert output.min() >= lowest
    assert output.max() <= highest
    free = build("resnet", "spc", 2, residual=False)
    free.set_weights(model.get_weights())
    np.testing.assert_allclose(output, getattr(keras.activations, activation)(predicted(free, coarse)), atol=1e-5)
    assert predicted(free, coarse).min() < -1


@pytest.mark.parametrize("upsampling", ["pin", "rc"])
def test_a_static_branch_has_convolutions_of_its_own_that_end_on_the_fine_grid(upsampling):
    plain, branch = (build("resnet", upsampling, 2, static=3, static_branch=flag) for flag in (False, True))
    assert not names(plain, "static_branch_a")
    assert branch.get_layer("static_branch_a").input.shape[-1] == 3
    assert branch.get_layer("static_branch_b").output.shape[1:3] == (6, 10)
    # With `pin` they else join what the backbone is given.
    joined = plain.get_layer("stem").input.shape[-1]
    assert (joined, branch.get_layer("stem").input.shape[-1]) == ((4, 1) if upsampling == "pin" else (1, 1))


def test_patches_bring_static_fields_of_their_own():
    model = build("resnet", "pin", 2, static=2, localized="none")
    randomise(model)
    coarse, static = fields(3, 4, 4, 1), fields(3, 8, 8, 2)
    together = predicted(model, coarse, static)
    alone = [predicted(model, coarse[i : i + 1], static[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("decoder", ["spc", "rc", "dc"])
def test_a_decoder_is_the_one_asked_for(decoder):
    model = build("unet", "spc", 2, decoder=decoder)
    kinds = {type(layer).__name__ for layer in model.layers if layer.name.startswith("up1_doubled")}
    assert (
        kinds - {"Activation"}
        == {
            "spc": {"Conv2D", "PixelShuffle"},
            "rc": {"Interpolate", "Conv2D"},
            "dc": {"Conv2DTranspose"},
        }[decoder]
    )


def test_filters_blocks_and_widening_change_the_number_of_weights():
    def count(**settings):
        return build("convnet", "spc", 2, localized="none", **settings).count_params()

    kernels = [(1, 4), (4, 4), (4, 4), (4, 4), (4, 4)]
    rest = count() - sum(9 * i * o + o for i, o in kernels)
    kernels += [(4, 4), (4, 4)]
    assert count(blocks=3) == sum(9 * i * o + o for i, o in kernels) + rest
    # The second block widened to eight channels, which the upsampling starts from.
    wide = [(1, 4), (4, 4), (4, 4), (4, 8), (8, 8)]
    assert count(widen=True) == sum(9 * i * o + o for i, o in wide) + rest + 9 * 4 * (4 * 8)


class TestWindow:
    def test_each_step_of_it_reaches_the_output(self):
        model = build("resnet", "spc", 2, time_window=3, residual=False)
        randomise(model)
        coarse = fields(1, 3, 3, 5, 1)
        expected = predicted(model, coarse)
        for step in range(3):
            changed = coarse.copy()
            changed[:, step] += 1.0
            assert np.abs(predicted(model, changed) - expected).max() > 1e-4

    def test_only_the_last_step_is_added_to(self):
        coarse = fields(2, 3, 3, 5, 2)
        output = predicted(build("densenet", "pin", 3, time_window=3, channels=2, base=(1,)), coarse)
        np.testing.assert_allclose(output, interpolated(coarse[:, -1, ..., 1:], 3), atol=1e-5)


@pytest.fixture
def mixed() -> None:
    """Half precision for features; `keras_reset` undoes it."""
    keras.config.set_dtype_policy("mixed_bfloat16")


MIXED = [("resnet", "spc", None), ("unet", "pin", None), ("convnet", "rc", 2)]


class TestMixedPrecision:
    @pytest.mark.parametrize(("backbone", "upsampling", "window"), MIXED)
    def test_the_field_that_is_added_to_is_not_rounded(self, mixed, backbone, upsampling, window):
        model = build(backbone, upsampling, 3, time_window=window, channels=2, base=(1,), localized="affine")
        coarse = fields(2, *([window] if window else []), 3, 5, 2)
        output = model([coarse])
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        last = coarse[:, -1] if window else coarse
        np.testing.assert_allclose(np.asarray(output), interpolated(last[..., 1:], 3), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("backbone", "upsampling", "window"), MIXED)
    def test_features_are_in_half_precision_and_near_those_in_full(self, mixed, backbone, upsampling, window):
        options = {"time_window": window, "norm": "batch", "attention": True, "static": 1}
        half = build(backbone, upsampling, 2, **options)
        # What is predicted is not rounded to the few digits of the features.
        assert half.get_layer("output").compute_dtype == "float32"
        kinds = {layer.compute_dtype for layer in half.layers if layer.name.startswith(("stem", "block", "down"))}
        assert kinds == {"bfloat16"}
        keras.config.set_dtype_policy("float32")
        full = build(backbone, upsampling, 2, **options)
        for model in (half, full):
            randomise(model, 0.1)
        inputs = fields(2, *([window] if window else []), 3, 5, 1), fields(1, 6, 10, 1)
        one, other = (predicted(model, *inputs) for model in (half, full))
        np.testing.assert_allclose(one, other, atol=0.03 * max(1.0, np.abs(other).max()))
        assert (one != other).any()

    def test_constraints_hold_in_full_precision(self, mixed):
        model = build("resnet", "spc", 2, constraints=[("additive", "none")])
        randomise(model)
        layer = model.get_layer("constraints")
        layer.set_physics(cell_weights=np.ones((6, 10, 1)), fine=(280.0 + np.zeros((6, 10, 1)), np.ones((6, 10, 1))),
                          coarse=(280.0 + np.zeros((3, 5, 1)), np.ones((3, 5, 1))))  # fmt: skip
        coarse = fields(2, 3, 5, 1)
        means = predicted(model, coarse).reshape(2, 3, 2, 5, 2, 1).mean(axis=(2, 4))
        np.testing.assert_allclose(means, coarse, atol=1e-4)


class TestConstraints:
    @pytest.mark.parametrize("kind", ["additive", "multiplicative", "softmax"])
    @pytest.mark.parametrize(("backbone", "upsampling", "window"), MIXED)
    def test_they_hold_in_the_output(self, backbone, upsampling, window, kind):
        """For the predictands among the channels, in the window's last step, inside the context."""
        sizes = {"shape": (5, 6), "context": 1, "channels": 3, "outputs": 2, "base": (2, 0)}
        constraints = [(kind, "none"), ("none", "none")]
        model = build(backbone, upsampling, 2, time_window=window, constraints=constraints, **sizes)
        randomise(model)
        layer, ones = model.get_layer("constraints"), np.ones((6, 8, 2))
        layer.set_physics(cell_weights=ones, fine=(0 * ones, ones), coarse=(np.zeros((5, 6, 2)), np.ones((5, 6, 2))))
        coarse = np.abs(fields(2, *([window] if window else []), 5, 6, 3))
        output = predicted(model, coarse)[..., 0]
        last = coarse[:, -1] if window else coarse
        means = output.reshape(2, 3, 2, 4, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(means, last[:, 1:-1, 1:-1, 2], atol=1e-5)
        assert kind == "additive" or output.min() >= 0

    def test_without_coarse_predictands_they_are_refused(self):
        with pytest.raises(
            ConfigError, match=r"`constraints` compare.*not every predictand.*leave `constraints` empty"
        ):
            build("resnet", "spc", 2, channels=2, base=None, constraints=[("additive", "none")])


@pytest.mark.parametrize("base", [range(2), None])
def test_a_floor_needs_no_coarse_predictand_and_fits_every_grid(base):
    constraints = [("non-negative", "log1p"), ("none", "none")]
    model = build("resnet", "spc", 2, channels=2, outputs=2, base=base, localized="none", constraints=constraints)
    randomise(model)
    model.get_layer("floor").floors.assign([-0.1, -1e30])
    for shape in ((3, 5), (4, 7)):
        output = predicted(model, fields(2, *shape, 2))
        assert output[..., 0].min() == np.float32(-0.1)
        assert output[..., 1].min() < -0.1


@pytest.mark.parametrize("localized", ["affine", "convolution", "regression"])
def test_weights_per_cell_belong_to_one_grid(localized):
    model = build("resnet", "spc", 2, localized=localized)
    assert model.output_shape == (None, 6, 10, 1)
    with pytest.raises(ValueError, match="expected shape"):
        predicted(model, fields(1, 4, 5, 1))


@pytest.mark.parametrize(("backbone", "upsampling", "window"), COMBINATIONS[::9])
def test_names_of_weights_are_stable_and_unique(backbone, upsampling, window):
    options = {"time_window": window, "static": 1, "static_branch": True, "norm": "batch", "attention": True}
    paths = []
    for _ in range(2):
        model = build(backbone, upsampling, 4, localized="convolution", dropout={"rate": 0.1}, **options)
        paths.append([weight.path for weight in model.weights])
    assert paths[0] == paths[1]
    assert len(set(paths[0])) == len(paths[0])
    # None of the names that Keras numbers as it goes along.
    assert not [layer.name for layer in model.layers if layer.name.startswith(("conv2d", "dense", "add", "concat"))]
