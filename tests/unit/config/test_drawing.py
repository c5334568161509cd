"""Networks that draw: what can't work is refused by name; what they are trained by, and what their members are."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dl4ds_core.config import model_settings, parse

from .test_combinations import problem, problems

Content = dict[str, Any]
GAN = {"mode": "adversarial"}
DIFFUSION = {"mode": "diffusion"}


def with_net(content: Content, **changes: Any) -> Content:
    content["models"]["net"] |= changes
    return content


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"noise": 2}, "models.net.noise: a network learns to ignore noise by the loss mae; train"),
        ({"training": {"loss": {"crps": 1}}}, "models.net.noise: the loss `crps` compares draws"),
        ({"training": {"loss": {"likelihood": 1}}}, "models.net.distribution: the loss `likelihood` is that of"),
        (
            {"distribution": "gaussian", "training": {"loss": {"mae": 1}}},
            "models.net.training.loss: a network with a `distribution` is fitted by its `likelihood`; found mae",
        ),
        ({"distribution": "gaussian", "noise": 1}, "models.net: `noise` and `distribution: gaussian` are two"),
        ({"distribution": "bernoulli-gamma"}, "models.net.distribution: `bernoulli-gamma` is for fields"),
        ({"distribution": "bernoulli-gamma", "localized": "regression"}, "models.net: `localized: regression` adds"),
        ({"distribution": "bernoulli-gamma", "output_activation": "relu"}, "models.net: `output_activation` is"),
        ({"quantiles": [0.1, 0.9]}, "models.net: `quantiles` is for `distribution"),
        ({"distribution": "quantiles", "quantiles": [0.9, 0.1]}, "models.net: quantiles: expected ascending"),
        ({"distribution": "quantiles", "quantiles": [0.0, 0.5]}, "models.net: quantiles: expected ascending"),
        ({"training": {"loss": {"crps": 1, "mae": 1}}, "noise": 1}, "models.net.training: loss: `crps` stands alone"),
        ({"training": GAN | {"loss": {"crps": 1}}, "noise": 1}, "models.net.training: `mode: adversarial` needs"),
        (
            {"training": GAN | {"epochs": 5, "adversarial": {"pretrain_epochs": 5}}},
            "models.net.training: adversarial.pretrain_epochs: expected less than `epochs` (5), found 5",
        ),
        ({"training": GAN | {"patience": 3}}, "models.net.training: `patience` needs a score that says what is better"),
        (
            {"training": GAN | {"retransformation": "smearing"}},
            "models.net.training: `retransformation: smearing` is for single predictions",
        ),
        ({"training": DIFFUSION, "noise": 1}, "models.net.noise: with `mode: diffusion` what the network gives is no"),
        (
            {"training": DIFFUSION, "dropout": {"at_prediction": True}},
            "models.net.dropout.at_prediction: with `mode: diffusion` what",
        ),
        ({"training": DIFFUSION | {"loss": {"crps": 1}}}, "models.net.training: `mode: diffusion` needs losses of"),
        (
            {"training": DIFFUSION | {"epochs": 5, "diffusion": {"pretrain_epochs": 5}}},
            "models.net.training: diffusion.pretrain_epochs: expected less than `epochs` (5), found 5",
        ),
        ({"training": DIFFUSION | {"epochs": 1}}, "models.net.training: `mode: diffusion` needs a trained network"),
        ({"training": DIFFUSION | {"best_by": "rmse"}}, "models.net.training: best_by: with `mode: diffusion` exp"),
        (
            {"training": DIFFUSION | {"retransformation": "smearing"}},
            "models.net.training: `retransformation: smearing` is for single predictions",
        ),
        ({"training": {"denoiser": {"filters": 8}}}, "models.net.training.denoiser: it is for `mode: diffusion`; set"),
        (
            {"training": DIFFUSION | {"start_from": "x.keras", "freeze": ["stem"]}},
            "models.net.training: `freeze`: with `mode: diffusion` and no `diffusion.pretrain_epochs` the whole",
        ),
        (
            {"training": DIFFUSION | {"epochs": 8, "schedule": "piecewise", "piecewise": {5: 0.1}}},
            "models.net.training: piecewise: expected numbers below the epochs of the shorter part, of network or deno",
        ),
        (
            {"training": DIFFUSION | {"epochs": 10, "warmup_epochs": 6}},
            "models.net.training: warmup_epochs: expected no more than the epochs of the shorter part, of network or",
        ),
        ({"distribution": "gaussian", "prediction": {"members": {"steps": 9}}}, "models.net.prediction.members.steps"),
        ({"training": GAN | {"diffusion": {}}}, "models.net.training.diffusion: it is for `mode: diffusion`; set"),
        ({"training": DIFFUSION | {"discriminator": {}}}, "models.net.training.discriminator: it is for `mode: adv"),
        (
            {"prediction": {"members": {"method": "sampling"}}},
            "models.net.prediction.members.method: `sampling` needs `distribution` or `training.mode: diffusion` in",
        ),
        (
            {"prediction": {"members": {"method": "noise"}}},
            "models.net.prediction.members.method: `noise` needs `noise` in models.net; use `auto` or `none`",
        ),
        ({"prediction": {"members": {"count": 0}}}, "models.net.prediction.members.count: input should"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(content: Content, changes: Content, expected: str) -> None:
    lines = problems(with_net(content, **changes))
    assert any(line.startswith(expected) for line in lines)


def test_a_gan_gives_no_distribution(content: Content) -> None:
    lines = problems(with_net(content, distribution="gaussian", training=GAN))
    assert any(line.startswith("models.net") for line in lines)


def test_a_conflict_is_said_in_one_line(content: Content) -> None:
    for training, expected in ((GAN, "a GAN draws its fields"), (DIFFUSION, "a diffusion model draws its fields")):
        content["training"] = training
        line = problem(with_net(content, distribution="gaussian"))
        assert line.startswith(f"models.net.distribution: {expected}")


def test_keys_of_a_gan_are_for_one(content: Content) -> None:
    line = problem(with_net(content, training={"adversarial": {"weight": 1.0}}))
    assert line.startswith("models.net.training.adversarial: it is for `mode: adversarial`")


def test_softmax_is_for_no_sample(content: Content) -> None:
    content["data"]["predictands"]["tas"]["minimum"] = 0
    for changes in ({"distribution": "gaussian"}, {"training": DIFFUSION}):
        changed = with_net(copy.deepcopy(content), **changes, constraints={"tas": "softmax"})
        assert any("`softmax` makes values of a network's output" in line for line in problems(changed))


def test_members_are_overridden_key_by_key(content: Content) -> None:
    content["prediction"] = {"members": {"count": 50}}
    config = parse(with_net(content, distribution="gaussian", prediction={"members": {"method": "sampling"}}))
    assert config.members("net").count == 50


def test_rain_needs_one_zero(content: Content) -> None:
    content["data"]["predictands"] = {"pr": {"source": "src", "variable": "tp", "minimum": 0}}
    content["normalization"] = {"pr": {"per": "cell"}}
    line = problem(with_net(content, distribution="bernoulli-gamma"))
    assert line.startswith("models.net.distribution: `bernoulli-gamma` needs one zero for all cells")
    del content["normalization"]
    parse(content)


def test_a_distribution_is_trained_by_its_likelihood_whatever_others_are_trained_by(content: Content) -> None:
    content["training"] = {"loss": {"mse": 1.0}}
    config = parse(with_net(content, distribution="gaussian"))
    assert model_settings(config, "net").training.loss == {"likelihood": 1.0}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, "rmse"),
        ({"training": {"best_by": "mae"}}, "mae"),
        ({"distribution": "gaussian"}, "loss"),
        ({"noise": 1, "training": {"loss": {"crps": 1}}}, "loss"),
        ({"training": GAN}, "last"),
        ({"training": DIFFUSION}, "loss"),
        ({"training": DIFFUSION | {"best_by": "last"}}, "last"),
        ({"training": GAN | {"best_by": "rmse"}}, "rmse"),
    ],
)
def test_which_epoch_is_kept(content: Content, changes: Content, kept: str) -> None:
    assert model_settings(parse(with_net(content, **changes)), "net").training.kept_by == kept


def test_sections_of_a_gan_are_overridden_key_by_key(content: Content) -> None:
    content["training"] = {"adversarial": {"weight": 0.5, "loss": "wasserstein"}, "discriminator": {"filters": 8}}
    own = {"mode": "adversarial", "adversarial": {"weight": 0.2}, "discriminator": {"blocks": 1}}
    training = model_settings(parse(with_net(content, training=own)), "net").training
    assert (training.adversarial.weight, training.adversarial.loss) == (0.2, "wasserstein")
    assert (training.discriminator.filters, training.discriminator.blocks) == (8, 1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("none", 1)),
        ({"noise": 1, "training": GAN}, ("noise", 7)),
        ({"distribution": "quantiles"}, ("sampling", 7)),
        ({"dropout": {"at_prediction": True}}, ("dropout", 7)),
        ({"dropout": {}}, ("none", 1)),
        ({"distribution": "quantiles", "prediction": {"members": {"count": 3}}}, ("sampling", 3)),
        ({"distribution": "quantiles", "prediction": {"members": {"method": "none"}}}, ("none", 1)),
    ],
)
def test_members(content: Content, changes: Content, expected: tuple[str, int]) -> None:
    content["prediction"] = {"members": {"count": 7}}
    members = parse(with_net(content, **changes)).members("net")
    assert (members.method, members.count) == expected


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"epochs": 9}, 4),
        ({"epochs": 9, "start_from": "other.keras"}, 0),
        ({"epochs": 9, "diffusion": {"pretrain_epochs": 6}}, 6),
        ({"epochs": 9, "start_from": "other.keras", "diffusion": {"pretrain_epochs": 2}}, 2),
    ],
)
def test_epochs_of_the_network_before_those_of_the_denoiser(content: Content, changes: Content, epochs: int) -> None:
    settings = model_settings(parse(with_net(content, training=DIFFUSION | changes)), "net")
    assert settings.training.pretrain_epochs == epochs


def test_members_of_a_diffusion_model(content: Content) -> None:
    content["prediction"] = {"members": {"count": 3, "steps": 9}}
    config = parse(with_net(content, training=DIFFUSION))
    assert config.members("net").model_dump() == {"method": "sampling", "count": 3, "steps": 9}
    usual = type(config.members("net"))().steps
    for changes in ({"distribution": "gaussian"}, {"prediction": {"members": {"method": "none"}}}):
        content["models"]["net"].pop("training", None)
        other = parse(with_net(copy.deepcopy(content), **changes))
        assert other.members("net").steps == usual, "so that these predictions don't depend on it"
