"""A training that has diverged is stopped, before what it has become is kept anywhere."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from dl4ds_core.errors import TrainingError
from dl4ds_core.training.checkpoints import Progress

logger = logging.getLogger(__name__)

ADVICE = (
    "lower training.learning_rate, set training.clip_norm, or look for outliers in the {} (with other settings the "
    "training begins anew)"
)


def require_finite_step(progress: Progress, rate: float, loss: float, norm: float, kept: str) -> None:
    """Look at a step.

    Parameters
    ----------
    rate : float
        Learning rate.
    loss, norm : float
        Sum of the losses of the step, and norm of its gradient, the same on all ranks.
    kept : str
        Which checkpoint is the last good one, in words; may be empty.

    Raises
    ------
    TrainingError
        If the loss or the gradient isn't finite.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = "gradient" if math.isfinite(loss) else "loss"
    raise TrainingError(
        f"the {what} is no longer finite in step {progress.step} of epoch {progress.epoch + 1} at a learning rate of "
        f"{rate:.3g}; {_and(kept)}{ADVICE.format('training data')}"
    )


def require_finite_validation(progress: Progress, rate: float, validation: Mapping[str, float], kept: str) -> None:
    """Look at the scores of the validation period after an epoch; parameters are those of `require_finite_step`.

    Raises
    ------
    TrainingError
        If its loss isn't finite. A score that isn't, such as of a transform that has overflowed, is told of.
    """
    if not math.isfinite(validation["validation_loss"]):
        raise TrainingError(
            f"the loss over the validation period is not finite after epoch {progress.epoch} at a learning rate of "
            f"{rate:.3g}; {_and(kept)}{ADVICE.format('validation period')}"
        )
    wrong = [name for name, value in validation.items() if not math.isfinite(value)]
    if wrong:
        logger.warning("epoch %d: %s not finite", progress.epoch, ", ".join(wrong))


def _and(kept: str) -> str:
    return f"{kept} " if kept else ""
