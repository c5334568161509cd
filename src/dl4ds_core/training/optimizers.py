"""Optimisers, and what is done to gradients before they get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from dl4ds_core.config.training import Training
from dl4ds_core.layers import LocalizedAffine, LocalizedConvolution, LocalizedRegression

#: Of `adamw` where the configuration says nothing else.
WEIGHT_DECAY = 0.01


def build_optimizer(training: Training, network: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimiser of the trainable weights of a network, with all its variables made.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. doi:10.48550/arXiv.1412.6980
    Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. doi:10.48550/arXiv.1711.05101
    """
    if training.optimizer == "adamw":
        decay = WEIGHT_DECAY if training.weight_decay is None else training.weight_decay
        optimizer = keras.optimizers.AdamW(training.learning_rate, weight_decay=decay)
        optimizer.exclude_from_weight_decay(var_list=without_decay(network))
    else:
        optimizer = keras.optimizers.Adam(training.learning_rate)
    optimizer.build(network.trainable_variables)
    return optimizer


def without_decay(network: keras.Model) -> list[Any]:
    """Return the weights that `adamw` doesn't shrink.

    These are biases and the weights of normalisation, which are vectors, and those of localized layers: shrinking an
    affine one would pull the output itself to zero, and the kernels of a convolution see each cell too seldom. Of a
    regression only the biases are spared: with kernels that shrink, it is a ridge regression.
    """
    localized: set[int] = set()
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, LocalizedAffine | LocalizedConvolution):
            localized |= {id(weight) for weight in layer.weights}
        elif isinstance(layer, LocalizedRegression):
            localized.add(id(layer.bias))
    return [weight for weight in network.trainable_variables if len(weight.shape) < 2 or id(weight) in localized]


def clipped(gradients: Sequence[Any], norm: float | None) -> list[Any]:
    """Return gradients, scaled down together where their norm over all weights is larger than ``norm``.

    Parameters
    ----------
    gradients : sequence of tensor
        Those of the whole batch, so that the result is the same for any number of ranks.
    norm : float or None
        None: leave them as they are.

    References
    ----------
    Pascanu, R., Mikolov, T. and Bengio, Y. (2013). On the difficulty of training recurrent neural networks.
    doi:10.48550/arXiv.1211.5063
    """
    return list(gradients) if norm is None else list(tf.clip_by_global_norm(gradients, norm)[0])
