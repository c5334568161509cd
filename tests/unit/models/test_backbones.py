"""Backbones: widths, grids and names; what they compute is in test_blocks.py."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

from dl4ds_core.config.models import Model
from dl4ds_core.models.backbones import BACKBONES, WIDEST
from dl4ds_core.models.recurrent import recurrent
from dl4ds_core.models.wiring import Wiring

pytestmark = pytest.mark.usefixtures("keras_reset")


def features(settings: Model, shape: tuple[int | None, ...] = (5, 7, 2)) -> keras.Model:
    symbol = keras.Input(shape)
    function = recurrent if settings.time_window else BACKBONES[settings.backbone]
    return keras.Model(symbol, function(symbol, settings, Wiring(settings)))


def settings_of(backbone: str, **settings) -> Model:
    return Model(**{"backbone": backbone, "upsampling": "spc", "filters": 4, "blocks": 2, **settings})


@pytest.mark.parametrize("name", list(BACKBONES))
@pytest.mark.parametrize("blocks", [1, 3])
def test_features_on_the_same_grid(name, blocks):
    assert features(settings_of(name, blocks=blocks)).output_shape == (None, 5, 7, 4)
    assert features(settings_of(name, blocks=blocks), (None, None, 2)).output_shape == (None, None, None, 4)


@pytest.mark.parametrize("name", ["convnet", "resnet", "densenet"])
def test_features_of_a_window_are_those_of_its_last_step(name):
    assert features(settings_of(name, time_window=3), (3, 5, 7, 2)).output_shape == (None, 5, 7, 4)


@pytest.mark.parametrize("name", ["convnet", "resnet", "densenet", "convnext"])
def test_block_number_n_of_a_widened_network_has_n_times_the_channels(name):
    model = features(settings_of(name, widen=True, blocks=3))
    assert [model.get_layer(f"block{n}_b").output.shape[-1] for n in (1, 2, 3)] == [4, 8, 12]
    assert model.output_shape[-1] == 12


def test_residual_blocks_have_no_activation_after_the_sum():
    model = features(settings_of("resnet"))
    assert model.get_layer("block2_b").activation is keras.activations.linear
    assert model.layers[-1].name == "block2_add"
    assert len(model.weights) == 2 * (1 + 2 * 2)


def test_levels_of_a_unet_halve_the_grid_and_double_the_channels_up_to_a_limit():
    model = features(settings_of("unet", filters=WIDEST // 2, blocks=3), (16, 24, 1))
    assert [model.get_layer(f"down{level}_b").output.shape[1:] for level in (1, 2, 3)] == [
        (16, 24, WIDEST // 2),
        (8, 12, WIDEST),
        (4, 6, WIDEST),
    ]
    assert model.get_layer("bottom_b").output.shape[1:] == (2, 3, WIDEST)
    wider = features(settings_of("unet", filters=2 * WIDEST, blocks=1), (4, 4, 1))
    assert wider.get_layer("bottom_b").output.shape[-1] == 2 * WIDEST


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_dense_or_depthwise_layer_is_only_where_it_belongs(name):
    kinds = {type(layer).__name__ for layer in features(settings_of(name)).layers}
    assert ("DepthwiseConv2D" in kinds) == (name == "convnext")
    assert ("Add" in kinds) == (name in ("resnet", "convnext"))
    assert ("Concatenate" in kinds) == (name in ("densenet", "unet"))


@pytest.mark.parametrize("name", list(BACKBONES))
def test_convnext_has_its_own_activation_and_norm_unless_others_are_named(name):
    names = {layer.name for layer in features(settings_of(name)).layers}
    assert bool([each for each in names if each.endswith("_norm")]) == (name == "convnext")
    none = {layer.name for layer in features(settings_of(name, norm="none")).layers}
    assert not [each for each in none if each.endswith("_norm")]
