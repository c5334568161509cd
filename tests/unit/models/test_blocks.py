"""Every block, and whole networks, against the same written out in numpy."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from dl4ds_core.config.models import Model
from dl4ds_core.models.backbones import BACKBONES
from dl4ds_core.models.recurrent import recurrent
from dl4ds_core.models.wiring import Wiring, prime_factors

from .numpy_reference import ACTIVATIONS, Reference
from .small_networks import build, fields, marked, randomise

pytestmark = pytest.mark.usefixtures("keras_reset")
NEAREST = {"interpolation": "nearest"}
NORMS = ("none", "batch", "layer")
#: What is tried of each backbone in `make test`; all of the product besides.
PLAIN = {"norm": None, "activation": None, "attention": False, "widen": False}
RICH = {"norm": "batch", "activation": "crelu", "attention": True, "widen": True}
OPTIONS = [
    dict(zip(PLAIN, values, strict=True))
    for values in itertools.product(NORMS, ("relu", "crelu", "gelu"), (False, True), (False, True))
]


def settings_of(backbone: str, **options) -> Model:
    if backbone == "unet":
        options.pop("widen", None)
    return Model(**{"backbone": backbone, "upsampling": "spc", "filters": 3, "blocks": 2, **NEAREST, **options})


def check_features(settings: Model, x: np.ndarray) -> keras.Model:
    """A backbone by itself gives the features of the reference, which uses all its weights."""
    symbol = keras.Input(x.shape[1:])
    function = recurrent if settings.time_window else BACKBONES[settings.backbone]
    model = keras.Model(symbol, function(symbol, settings, Wiring(settings)))
    randomise(model)
    reference = Reference(settings, model)
    expected = reference.backbone(x.astype(np.float64))
    found = np.asarray(model(x))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4 * max(1.0, np.abs(expected).max()))
    assert np.abs(expected).max() > 1e-3
    assert not reference.unused
    return model


@pytest.mark.parametrize("options", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_backbones(backbone, options):
    check_features(settings_of(backbone, **options), fields(2, 5, 7, 2))


@pytest.mark.full
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_backbones_with_every_option(backbone, options):
    if backbone == "unet" and options["widen"]:
        pytest.skip("refused by the configuration")
    check_features(settings_of(backbone, **options), fields(2, 5, 7, 2))


@pytest.mark.parametrize("options", [{**PLAIN, "activation": "elu"}, {**RICH, "norm": "layer"}], ids=["plain", "rich"])
@pytest.mark.parametrize("backbone", ["convnet", "resnet", "densenet"])
def test_recurrent_backbones(backbone, options):
    check_features(settings_of(backbone, time_window=3, **options), fields(2, 3, 4, 6, 2))


@pytest.mark.full
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("backbone", ["convnet", "resnet", "densenet"])
def test_recurrent_backbones_with_every_option(backbone, options):
    check_features(settings_of(backbone, time_window=3, **options), fields(2, 3, 4, 6, 2))


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "none"])
def test_activations(activation):
    check_features(settings_of("convnet", activation=activation), fields(2, 4, 5, 2))


@pytest.mark.parametrize("decoder", ["spc", "rc", "dc"])
@pytest.mark.parametrize("size", [(4, 8), (5, 7), (1, 3)])
def test_levels_of_a_unet(decoder, size):
    settings = settings_of("unet", decoder=decoder)
    model = check_features(settings, fields(2, *size, 2))
    for level, channels in ((1, 3), (2, 6)):
        upsampled, skipped = model.get_layer(f"up{level}_skip").input
        assert skipped.shape[-1] == upsampled.shape[-1] == channels


@pytest.mark.parametrize("method", ["spc", "rc", "dc"])
@pytest.mark.parametrize("scale", range(2, 17))
def test_upsamplings_for_every_scale(method, scale):
    settings = settings_of("resnet", activation="elu")
    symbol = keras.Input((2, 3, 2))
    model = keras.Model(symbol, Wiring(settings).upsampled(symbol, method, scale, 3, "stage"))
    randomise(model)
    x = fields(2, 2, 3, 2)
    factors = {12: [2, 2, 3], 14: [2, 7], 15: [3, 5]}.get(scale)
    found = np.asarray(model(x))
    assert found.shape == (2, 2 * scale, 3 * scale, 3)
    reference = Reference(settings, model)
    expected = reference.upsample(x.astype(np.float64), method, factors or prime_factors(scale), "stage")
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    # Each stage has a kernel and biases of its own.
    assert len(model.weights) == 2 * len(prime_factors(scale))
    assert not reference.unused


@pytest.mark.parametrize("number", range(2, 17))
def test_prime_factors(number):
    factors = prime_factors(number)
    assert np.prod(factors) == number
    assert factors == sorted(factors)
    assert all(factor in (2, 3, 5, 7, 11, 13) for factor in factors)


#: Whole networks that between them have every part.
WHOLE = [
    ("resnet", "spc", None, {"localized": "affine", "static_branch": True}),
    ("unet", "pin", None, {"localized": "convolution"}),
    ("densenet", "dc", 3, {"localized": "convolution", "static_branch": True, "activation": "crelu"}),
    ("convnext", "rc", None, {"localized": "none", "norm": "batch"}),
    ("densenet", "spc", 2, {"localized": "regression", "neighbourhood": 3}),
    ("convnet", "pin", 2, {"localized": "affine", "attention": True, "residual": False}),
    ("resnet", "pin", None, {"localized": "convolution", "static_branch": True, "norm": "layer", "attention": True}),
]


def check_network(backbone: str, upsampling: str, window: int | None, scale: int, options: dict) -> None:
    model = build(
        backbone,
        upsampling,
        scale,
        channels=2,
        outputs=2,
        static=2,
        time_window=window,
        interpolation="nearest",
        **options,
    )
    randomise(model)
    coarse = fields(2, *(() if window is None else (window,)), 3, 5, 2)
    static = fields(1, 3 * scale, 5 * scale, 2, seed=2)
    settings = Model(
        backbone=backbone,
        upsampling=upsampling,
        time_window=window,
        filters=4,
        blocks=2,
        **options,
    )
    reference = Reference(settings, model)
    expected = reference.network(coarse.astype(np.float64), static.astype(np.float64), prime_factors(scale))
    found = np.asarray(model([coarse, static]))
    np.testing.assert_allclose(found, expected, atol=3e-4 * max(1.0, np.abs(expected).max()))
    assert not reference.unused


@pytest.mark.parametrize(("backbone", "upsampling", "window", "options"), WHOLE)
def test_whole_networks(backbone, upsampling, window, options):
    check_network(backbone, upsampling, window, 6 if window is None else 2, options)


@pytest.mark.full
@pytest.mark.parametrize("scale", [3, 4])
@pytest.mark.parametrize(("backbone", "upsampling", "window"), marked([]))
@pytest.mark.parametrize("localized", ["affine", "convolution", "regression"])
@pytest.mark.parametrize("static_branch", [False, True])
def test_every_whole_network(backbone, upsampling, window, scale, localized, static_branch):
    options = {"localized": localized, "static_branch": static_branch, "norm": "layer", "attention": True}
    check_network(backbone, upsampling, window, scale, options)
