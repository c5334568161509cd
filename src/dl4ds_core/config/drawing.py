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
    "sampling": "`distribution`",
    "noise": "`noise`",
    "dropout": "`dropout` with `at_prediction: true`",
}


def two_kinds(config: Config, name: str, model: Model) -> str | None:
    """Say so where a network with a distribution would be trained as a generator."""
    own = getattr(model.training, "mode", None)
    if model.distribution is None or (own or config.training.mode) != "adversarial":
        return None
    return (
        f"models.{name}.distribution: a GAN draws its fields from `noise`; leave this key out, or set "
        "`training: {mode: supervised}` for this model"
    )


def drawn(config: Config, name: str, model: Model, training: Training) -> Iterator[str]:
    """Find what can't work, one line per problem, with the key and what to do instead."""
    key = f"models.{name}"
    adversarial = training.mode == "adversarial"
    if "crps" in training.loss and not model.noise:
        yield f"{key}.noise: the loss `crps` compares draws of a network; give it `noise`, such as 4 channels"
    if model.noise and not adversarial and "crps" not in training.loss:
        yield (
            f"{key}.noise: a network learns to ignore noise by the loss {', '.join(training.loss)}; train it with "
            "`loss: {crps: 1}` or `mode: adversarial`, or leave `noise` out"
        )
    for section in ("adversarial", "discriminator"):
        if not adversarial and getattr(model.training, section, None) is not None:
            yield f"{key}.training.{section}: it is for `mode: adversarial`; set that, or leave the key out"
    if model.distribution is None and "likelihood" in training.loss:
        yield f"{key}.distribution: the loss `likelihood` is that of a distribution; name one, or use another loss"
    if model.distribution is not None and "likelihood" not in training.loss:
        yield (
            f"{key}.training.loss: a network with a `distribution` is fitted by its `likelihood`; found "
            f"{', '.join(training.loss)}; leave the key out"
        )
    if model.distribution is not None and "softmax" in model.constraints.values():
        yield f"{key}.constraints: `softmax` makes values of a network's output, not of a sample; use `multiplicative`"
    if model.distribution == "bernoulli-gamma":
        yield from _from_zero_up(config, name, model)
    own = getattr(model.prediction, "members", None)
    own = own if "method" in getattr(own, "model_fields_set", ()) else None
    method = (own or config.prediction.members).method
    if method in NEEDS and method != drawing_of(model):
        where = f"{key}.prediction.members.method" if own else "prediction.members.method"
        yield f"{where}: `{method}` needs {NEEDS[method]} in {key}; use `auto` or `none`"


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
