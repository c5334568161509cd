"""What can't work in a network whose predictions are drawn at random, or that is trained for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dl4ds_core.config.models import Model, drawing_of
from dl4ds_core.config.training import Training

if TYPE_CHECKING:
    from dl4ds_core.config.schema import Config

#: What a network needs to have members drawn in a way.
NEEDS = {
    "sampling": "`distribution` or `training.mode: diffusion`",
    "noise": "`noise`",
    "dropout": "`dropout` with `at_prediction: true`",
}


#: The mode that a section of a model's training is for.
SECTIONS = {
    "adversarial": "adversarial",
    "discriminator": "adversarial",
    "diffusion": "diffusion",
    "denoiser": "diffusion",
}


def two_kinds(config: Config, name: str, model: Model) -> str | None:
    """Say so where a network with a distribution would be trained as a generator, or as the mean of a diffusion."""
    mode = config.mode(model)
    if model.distribution is None or mode == "supervised":
        return None
    what = "a GAN draws its fields from `noise`" if mode == "adversarial" else "a diffusion model draws its fields"
    return (
        f"models.{name}.distribution: {what}; leave this key out, or set `training: {{mode: supervised}}` for this "
        "model"
    )


def drawn(config: Config, name: str, model: Model, training: Training) -> Iterator[str]:
    """Find what can't work, one line per problem, with the key and what to do instead."""
    key = f"models.{name}"
    if "crps" in training.loss and not model.noise:
        yield f"{key}.noise: the loss `crps` compares draws of a network; give it `noise`, such as 4 channels"
    if training.mode == "diffusion":
        yield from _mean_of_diffusion(key, model)
    elif model.noise and training.mode == "supervised" and "crps" not in training.loss:
        yield (
            f"{key}.noise: a network learns to ignore noise by the loss {', '.join(training.loss)}; train it with "
            "`loss: {crps: 1}` or `mode: adversarial`, or leave `noise` out"
        )
    for section, mode in SECTIONS.items():
        if training.mode != mode and getattr(model.training, section, None) is not None:
            yield f"{key}.training.{section}: it is for `mode: {mode}`; set that, or leave the key out"
    if model.distribution is None and "likelihood" in training.loss:
        yield f"{key}.distribution: the loss `likelihood` is that of a distribution; name one, or use another loss"
    if model.distribution is not None and "likelihood" not in training.loss:
        yield (
            f"{key}.training.loss: a network with a `distribution` is fitted by its `likelihood`; found "
            f"{', '.join(training.loss)}; leave the key out"
        )
    if drawing_of(model, training.mode) == "sampling" and "softmax" in model.constraints.values():
        yield f"{key}.constraints: `softmax` makes values of a network's output, not of a sample; use `multiplicative`"
    if model.distribution == "bernoulli-gamma":
        yield from _from_zero_up(config, name, model)
    own = getattr(model.prediction, "members", None)
    if "steps" in getattr(own, "model_fields_set", ()) and training.mode != "diffusion":
        yield f"{key}.prediction.members.steps: it is for `training.mode: diffusion`; set that, or leave the key out"
    own = own if "method" in getattr(own, "model_fields_set", ()) else None
    method = (own or config.prediction.members).method
    if method in NEEDS and method != drawing_of(model, training.mode):
        where = f"{key}.prediction.members.method" if own else "prediction.members.method"
        yield f"{where}: `{method}` needs {NEEDS[method]} in {key}; use `auto` or `none`"


def _mean_of_diffusion(key: str, model: Model) -> Iterator[str]:
    """Find what would make the mean of a diffusion model a draw itself."""
    if model.noise:
        yield f"{key}.noise: with `mode: diffusion` what the network gives is no draw; leave the key out"
    if model.dropout is not None and model.dropout.at_prediction:
        yield f"{key}.dropout.at_prediction: with `mode: diffusion` what the network gives is no draw; set it to false"


def _from_zero_up(config: Config, name: str, model: Model) -> Iterator[str]:
    for predictand, entry in config.data.predictands.items():
        if entry.minimum != 0:
            found = "none" if entry.minimum is None else f"{entry.minimum:g}"
            yield (
                f"models.{name}.distribution: `bernoulli-gamma` is for fields from 0 up, such as precipitation; set "
                f"`data.predictands.{predictand}.minimum: 0` (found {found}), or use `gaussian`"
            )
        if config.normalization_of(model, predictand).per == "cell":
            yield (
                f"models.{name}.distribution: `bernoulli-gamma` needs one zero for all cells, and `normalization` of "
                f"{predictand} is `per: cell`; use `per: domain`"
            )
