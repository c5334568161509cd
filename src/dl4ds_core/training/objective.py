"""The loss that a model is trained by, with all it must know of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dl4ds_core.config import ModelSettings
from dl4ds_core.losses import likelihood, weighted_loss
from dl4ds_core.pipeline import Samples
from dl4ds_core.scaling import Scaler
from dl4ds_core.training.distributed import Ranks
from dl4ds_core.training.physics import zeros_of
from dl4ds_core.training.ranges import data_range


def objective(
    settings: ModelSettings, samples: Samples, scalers: Mapping[str, Scaler], ranks: Ranks
) -> Callable[[Any, Any, Any], Any]:
    """Return the weighted sum of a model's losses.

    Parameters
    ----------
    samples : Samples
        Of the training period.
    scalers : mapping
        Those of the predictands are called ``fine.<name>``.

    Raises
    ------
    TrainingError
        If a loss needs the range of the truth, and a predictand has none.
    """
    training, kind = settings.training, settings.network.distribution
    distribution = None
    if kind is not None:
        zeros = zeros_of(samples.predictands, scalers) if kind == "bernoulli-gamma" else ()
        distribution = likelihood(kind, zeros=tuple(zeros), levels=settings.network.quantiles)
    return weighted_loss(
        {str(name): weight for name, weight in training.loss.items()},
        data_range=data_range(training, samples, ranks),
        quantile=training.quantile,
        distribution=distribution,
    )
