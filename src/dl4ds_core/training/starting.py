"""Fine-tuning: beginning with the weights of another network, some of which stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras

from dl4ds_core.errors import TrainingError
from dl4ds_core.models.diffusion import ResidualDiffusion

logger = logging.getLogger(__name__)

#: Names of weights that are listed in a message.
SHOWN = 8


def take_weights(network: keras.Model, path: str | Path) -> set[str]:
    """Give a network those weights of a saved one that have the same place and shape.

    The place is the path of a variable: the names of its layers, and its own, such as `block1/conv1/kernel`. Of a
    diffusion model they are those of its network, not of its denoiser.

    Parameters
    ----------
    path : str or Path
        A ``model.keras`` file.

    Returns
    -------
    set of str
        Paths of the weights taken.

    Raises
    ------
    TrainingError
        If the file can't be read, or none of its weights fits.
    """
    wanted = {weight.path: weight for weight in network.weights}
    found = {weight.path: weight for weight in _load(path).weights}
    taken = {name for name, weight in wanted.items() if name in found and found[name].shape == weight.shape}
    if not taken:
        raise TrainingError(
            f"training.start_from: {path} has no weights of the same place and shape as this network. Expected some of "
            f"{_listed(_described(wanted.values()))}; found {_listed(_described(found.values()))}. Start from a model "
            "of the same backbone, or leave the key out"
        )
    for name in taken:
        wanted[name].assign(found[name])
    logger.info(
        "%d of %d arrays of weights are those of %s; they begin anew: %s; not used: %s",
        *(len(taken), len(wanted), path),
        *(_listed([name for name in names if name not in taken]) for names in (wanted, found)),
    )
    return taken


def freeze(network: keras.Model, patterns: Sequence[str], taken: Collection[str]) -> None:
    """Let layers stay as they are: no step changes their weights, or their moving statistics.

    Parameters
    ----------
    patterns : sequence of str
        Of names of layers, at any depth; `*` stands for any text.
    taken : collection of str
        Paths of the weights that were taken from another network.

    Raises
    ------
    TrainingError
        If a pattern fits no layer that has weights, a frozen layer's weights were not taken, or none is left to train.
    """
    layers = [layer for layer in network._flatten_layers(include_self=False) if layer.weights]
    for pattern in patterns:
        chosen = [layer for layer in layers if fnmatchcase(layer.name, pattern)]
        if not chosen:
            names = ", ".join(dict.fromkeys(layer.name for layer in layers))
            raise TrainingError(f"training.freeze: expected names of layers with weights ({names}), found {pattern!r}")
        new = [weight.path for layer in chosen for weight in layer.weights if weight.path not in taken]
        if new:
            raise TrainingError(
                f"training.freeze: {pattern!r} would keep random weights, as `start_from` has none for {_listed(new)}; "
                "freeze other layers"
            )
        for layer in chosen:
            layer.trainable = False
    if not network.trainable_variables:
        raise TrainingError(f"training.freeze: {', '.join(patterns)} leave no layer to train; freeze fewer")


def _load(path: str | Path) -> keras.Model:
    try:
        loaded = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(
            f"training.start_from: {path} can't be read as a saved network ({error}); expected a `model.keras` of this "
            "version of the software"
        ) from error
    return loaded.mean if isinstance(loaded, ResidualDiffusion) else loaded


def _described(weights: Iterable[Any]) -> list[str]:
    return [f"{weight.path} {tuple(weight.shape)}" for weight in weights]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
