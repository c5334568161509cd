"""The losses by name, and their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from keras import ops

from dl4ds_core.errors import ConfigError
from dl4ds_core.losses.ensemble import fair_crps
from dl4ds_core.losses.pointwise import huber, of_error, pinball
from dl4ds_core.losses.spectral import spectral
from dl4ds_core.losses.structural import dssim, ms_dssim

Loss = Callable[[Any, Any, Any], Any]
Ranges = Sequence[tuple[float, float]]


def _by_name(data_range: Ranges, quantile: float) -> dict[str, Loss]:
    return {
        "mae": of_error(ops.abs),
        "mse": of_error(ops.square),
        "huber": of_error(huber),
        "quantile": of_error(pinball(quantile)),
        "dssim": partial(dssim, data_range=data_range),
        "ms-dssim": partial(ms_dssim, data_range=data_range),
        "spectral": spectral,
    }


NAMES = tuple(_by_name((), 0.5))
"""Of the losses of single predictions."""

PROBABILISTIC = ("crps", "likelihood")
"""Names of those of members, (member, batch, ...), and of parameters of a distribution."""

NEED_DATA_RANGE = ("dssim", "ms-dssim")
"""Names of those that need ``data_range``."""


def weighted_loss(
    terms: Mapping[str, float],
    *,
    data_range: Ranges | None = None,
    quantile: float = 0.5,
    distribution: Loss | None = None,
) -> Loss:
    """Return a weighted sum of losses as one function.

    Parameters
    ----------
    terms : mapping
        Weight by name of the loss (one of ``NAMES`` or ``PROBABILISTIC``).
    data_range : sequence of tuple of float, optional
        Lowest and highest truth of each channel over the training period, normalised. For those of
        ``NEED_DATA_RANGE`` only.
    quantile : float
        Between 0 and 1: what the loss ``quantile`` is for.
    distribution : callable, optional
        The loss ``likelihood``: what the function of that name returns.

    Returns
    -------
    callable
        ``loss(truth, prediction, weights)`` with fields of shape (batch, height, width, channels) in normalised units
        and weights that can be broadcast to it: relative cell areas whose mean is one, (height, width, 1), or these
        times zeros where the truth is missing, (batch, height, width, channels). It returns the mean of weights times
        loss for each sample, shape (batch,), in float32. Sums of these, divided by the sums of the samples'
        `mean_weight`, are means over the valid area. Truth where weights per sample are zero has no influence. For
        ``crps`` predictions have the members in front, for ``likelihood`` parameters in place of values.

    Raises
    ------
    ValueError
        For an unknown name, a quantile outside of 0 to 1, and without a range or distribution that is needed.
    ConfigError
        If a range that is needed is empty: the truth is constant.
    """
    known = (*NAMES, *PROBABILISTIC)
    unknown = [name for name in terms if name not in known]
    if unknown:
        raise ValueError(f"expected losses among {', '.join(known)}, found {unknown[0]!r}")
    if "likelihood" in terms and distribution is None:
        raise ValueError("the loss 'likelihood' needs `distribution`: that of the network")
    if not 0 < quantile < 1:
        raise ValueError(f"expected a quantile between 0 and 1, found {quantile}")
    for name in NEED_DATA_RANGE:
        if name in terms:
            _check_range(data_range, name)
    losses = _by_name(data_range or (), quantile) | {"crps": fair_crps}
    if distribution is not None:
        losses["likelihood"] = distribution

    def loss(truth: Any, prediction: Any, weights: Any) -> Any:
        truth, prediction, weights = (ops.cast(each, "float32") for each in (truth, prediction, weights))
        return sum(weight * losses[name](truth, prediction, weights) for name, weight in terms.items())

    return loss


def _check_range(data_range: Ranges | None, name: str) -> None:
    if data_range is None:
        raise ValueError(f"the loss {name!r} needs `data_range`: the lowest and highest truth of each channel")
    for lowest, highest in data_range:
        if not (math.isfinite(lowest) and math.isfinite(highest) and lowest < highest):
            raise ConfigError(
                f"the loss {name!r} needs a lowest truth below the highest, both finite; found {lowest} and {highest} "
                "over the training period. If a predictand is constant there, set `training.data_range`, or leave "
                f"{name!r} out of `training.loss`."
            )
