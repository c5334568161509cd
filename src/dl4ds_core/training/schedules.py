"""The learning rate over a training: a pure function of the step, so that a resumed one goes on exactly."""

from __future__ import annotations

import math

from dl4ds_core.config.training import Training


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    It rises linearly over the first ``warmup_epochs``, and reaches its full value with the last step of them; the first
    step already has its part of it, as a step of zero would be lost. A cosine falls to zero over the epochs that are
    left; the epochs of a piecewise schedule count from the start.

    Parameters
    ----------
    training : Training
        The settings.
    step : int
        Steps done.
    steps : int
        Steps of an epoch.

    References
    ----------
    Goyal, P. et al. (2017). Accurate, large minibatch SGD: training ImageNet in 1 hour. doi:10.48550/arXiv.1706.02677
    (the warm-up).
    Loshchilov, I. and Hutter, F. (2017). SGDR: stochastic gradient descent with warm restarts.
    doi:10.48550/arXiv.1608.03983 (the cosine).
    """
    warmup = training.warmup_epochs * steps
    rise = min(1.0, (step + 1) / warmup) if step < warmup else 1.0
    factor = 1.0
    if training.schedule == "cosine" and step > warmup:
        factor = 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (training.epochs * steps - warmup)))
    if training.schedule == "piecewise":
        begun = [epochs for epochs in training.piecewise if epochs * steps <= step]
        factor = training.piecewise[max(begun)] if begun else 1.0
    return training.learning_rate * rise * factor
