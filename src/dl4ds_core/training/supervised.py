"""Supervised training of one network by any number of ranks.

Sums and weights are exchanged, not means: partial batches, missing cells and any number of ranks give the gradient of
one process.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.config import ModelSettings
from dl4ds_core.errors import TrainingError
from dl4ds_core.grids import Grid
from dl4ds_core.losses import error_where_valid, mean_weight, weighted_loss
from dl4ds_core.models.networks import build_network
from dl4ds_core.pipeline import Batch, Samples, batches, epoch_order
from dl4ds_core.scaling import Scaler
from dl4ds_core.training import checkpoints, stopping
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.distributed import Ranks
from dl4ds_core.training.keeper import Keeper
from dl4ds_core.training.stopping import Stopped, reason

logger = logging.getLogger(__name__)

#: Batches of the validation between two looks at the signals.
VALIDATION_STEPS = 16

_NO_TRUTH = "split.{}: the truth is missing in all cells of all time steps; choose another period or domain"


def learning_rate(base: float, schedule: str, step: int, steps: int) -> float:
    """Return the learning rate of a step: constant, or half a cosine from ``base`` to zero.

    References
    ----------
    Loshchilov, I. and Hutter, F. (2017). SGDR: stochastic gradient descent with warm restarts.
    doi:10.48550/arXiv.1608.03983
    """
    if schedule == "constant":
        return base
    return base * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def physical_error(scalers: Sequence[Scaler]) -> Callable[[Any, Any, Any], Any]:
    """Return a function that gives errors in physical units.

    Parameters
    ----------
    scalers : sequence of Scaler
        One per predictand.

    Returns
    -------
    callable
        Of truth and prediction in normalised units, and weights as for a loss: prediction minus truth, (batch, Y, X,
        predictand), zero where the truth is missing.
    """
    factors = np.stack(np.broadcast_arrays(*[scaler.factor for scaler in scalers]), axis=-1).astype(np.float32)
    curved = [number for number, scaler in enumerate(scalers) if scaler.transform != "none"]

    def error(truth: Any, prediction: Any, weights: Any) -> Any:
        # Without the offsets, which cancel: they would cost digits.
        errors = (prediction - truth) * factors
        if curved:
            columns = tf.unstack(errors, axis=-1)
            for number in curved:
                of_prediction, of_truth = (
                    scalers[number].inverse(field[..., number], keras.ops) for field in (prediction, truth)
                )
                columns[number] = of_prediction - of_truth
            errors = tf.stack(columns, axis=-1)
        return error_where_valid(tf.zeros_like(errors), errors, weights)

    return error


class Trainer:
    """Trains one network.

    Parameters
    ----------
    settings : ModelSettings
        Network, training and normalisation.
    seed : int
        Of initial weights and of the order of samples.
    samples, validation : Samples
        Training and validation period.
    static : numpy.ndarray or None
        Static fields, shape (1, Y, X, field), normalised units.
    scalers : dict
        For scores in physical units.
    scale : int
        Fine cells per coarse cell.
    context : int
        Coarse cells around the domain.
    ranks : Ranks
        The workers.
    """

    def __init__(
        self,
        settings: ModelSettings,
        seed: int,
        samples: Samples,
        validation: Samples,
        static: np.ndarray | None,
        scalers: dict[str, Scaler],
        scale: int,
        context: int,
        ranks: Ranks,
    ) -> None:
        self.settings, self.seed, self.ranks = settings, seed, ranks
        self.samples, self.validation = samples, validation
        training = settings.training
        self.network = build_network(
            settings.network,
            coarse_shape=samples.coarse_shape,
            scale=scale,
            channels=len(samples.channels),
            outputs=len(samples.predictands),
            base=samples.base,
            static=0 if static is None else static.shape[-1],
            context=context,
        )
        self.optimizer = keras.optimizers.Adam(training.learning_rate)
        self.optimizer.build(self.network.trainable_variables)
        self.state = [*self.network.variables, *self.optimizer.variables]
        self.progress = Progress()
        self._best = [variable.numpy() for variable in self.network.variables]
        self._keeper: Keeper | None = None
        self._static = None if static is None else tf.constant(static)
        area = Grid.of(samples.fine).area.values[..., None]
        self._area = tf.constant((area / area.mean()).astype(np.float32))
        self._physical_error = physical_error([scalers[f"fine.{name}"] for name in samples.predictands])
        self._loss = weighted_loss({str(name): weight for name, weight in training.loss.items()})
        self._step = tf.function(self._training_step, reduce_retracing=True)
        self._score = tf.function(self._validation_step, reduce_retracing=True)

    def predict(self, coarse: np.ndarray) -> np.ndarray:
        """Return the network's output for some samples, (sample, Y, X, predictand), normalised units."""
        return np.asarray(self._predict(tf.constant(coarse), training=False))

    def _predict(self, coarse: Any, *, training: bool) -> Any:
        inputs = [coarse] if self._static is None else [coarse, self._static]
        return self.network(inputs, training=training)

    def _training_step(self, coarse: Any, fine: Any, mask: Any, weights: Any, flags: Any) -> Any:
        """Return the sums over all ranks of loss and weight, then of the flags.

        A sample without missing cells weighs one, others the valid part of their area.
        """
        cells = self._area if mask is None else self._area * mask
        count = tf.reduce_sum(weights if mask is None else mean_weight(cells) * weights)
        with tf.GradientTape() as tape:
            losses = self._loss(fine, self._predict(coarse, training=True), cells)
            total = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(total, self.network.trainable_variables)
        # The flags travel with what is exchanged anyway: after the same step, all ranks know who wants to stop.
        numbers = tf.concat([tf.stack([total, count]), flags], axis=0)
        *gradients, numbers = self.ranks.sum([*gradients, numbers])
        # In a batch without a valid cell all gradients are zero; dividing by zero would make them NaN.
        divisor = tf.where(numbers[1] > 0, numbers[1], 1.0)
        self.optimizer.apply([gradient / divisor for gradient in gradients], self.network.trainable_variables)
        return numbers

    def _validation_step(self, coarse: Any, fine: Any, mask: Any, weights: Any) -> tuple[Any, Any, Any]:
        """Return sums over this rank's samples: of the loss, of squared errors and of weights, by predictand."""
        cells = self._area if mask is None else self._area * mask
        prediction = self._predict(coarse, training=False)
        losses = self._loss(fine, prediction, cells)
        errors = self._physical_error(fine, prediction, cells)
        squares = tf.reduce_mean(tf.square(errors) * cells, axis=(1, 2))
        valid = tf.ones_like(squares) if mask is None else tf.reduce_mean(cells, axis=(1, 2))
        return (
            tf.reduce_sum(losses * weights),
            tf.reduce_sum(squares * weights[:, None], axis=0),
            tf.reduce_sum(valid * weights[:, None], axis=0),
        )

    def fit(self, folder: str | Path, identity: str, checkpoint_minutes: float) -> tuple[Progress, str]:
        """Train, or go on with a training that was interrupted, to bitwise the same weights.

        The network ends with the weights of its best epoch, by validation RMSE.

        Parameters
        ----------
        folder : str or Path
            For the checkpoint and the standing.
        identity : str
            What the training is; a checkpoint of another one isn't used.
        checkpoint_minutes : float
            Between checkpoints.

        Returns
        -------
        Progress, str
            The history, and the checksum of the weights, which all ranks share.

        Raises
        ------
        TrainingError
            If the loss isn't finite, a checkpoint can't be used, or the ranks end with different weights.
        Stopped
            If a rank got a signal; the checkpoint is written then.
        """
        self._start(folder, identity)
        if self.ranks.first:
            self._keeper = Keeper(
                folder,
                lambda progress: checkpoints.save(folder, identity, progress, self.state, self._best),
                checkpoint_minutes,
                self.settings.training.epochs,
                self.steps,
            )
            self._keeper.begin(self.progress)
        while not self._finished():
            self._epoch()
            self._end_epoch()
        if self._keeper:
            self._keeper.finish(self.progress)
        for variable, values in zip(self.network.variables, self._best, strict=True):
            variable.assign(values)
        self.ranks.broadcast(self.network.variables)
        return self.progress, self.ranks.require_equal(self.network.variables)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.samples) // self.settings.training.batch_size)

    def _start(self, folder: str | Path, identity: str) -> None:
        resumed = None
        if self.ranks.first:
            checkpoints.tidy(folder)
            resumed = checkpoints.restore(folder, identity, self.state)
        best = resumed[1] if resumed else [variable.numpy() for variable in self.network.variables]
        self.progress = self.ranks.broadcast_object(resumed[0] if resumed else Progress())
        self.ranks.broadcast(self.state)
        self._best = self.ranks.broadcast_object(best)
        if self.progress.epoch or self.progress.step:
            logger.info("resumed after %s", self.progress.position(self.steps))

    def _finished(self) -> bool:
        training, progress = self.settings.training, self.progress
        impatient = training.patience is not None and progress.epoch - progress.best_epoch >= training.patience
        return progress.epoch >= training.epochs or impatient

    def _epoch(self) -> None:
        """Do the steps of the epoch under way that are not done yet."""
        training, progress = self.settings.training, self.progress
        order = epoch_order(len(self.samples), self.seed, progress.epoch)[progress.step * training.batch_size :]
        began = time.monotonic()
        for batch in batches(self.samples, order, training.batch_size, self.ranks.rank, self.ranks.size):
            rate = learning_rate(
                training.learning_rate,
                training.schedule,
                progress.epoch * self.steps + progress.step,
                training.epochs * self.steps,
            )
            self.optimizer.learning_rate.assign(rate)
            total, count, *flags = self._step(*_arrays(batch), _flags()).numpy().tolist()
            ended = time.monotonic()
            progress.add_step(total, count, ended - began)
            self._require_finite(rate)
            self._heed(flags)
            if self._keeper:
                self._keeper.after_step(progress, ended - began)
            began = ended

    def _require_finite(self, rate: float) -> None:
        if not math.isfinite(self.progress.total):
            raise TrainingError(
                f"the loss is no longer finite in step {self.progress.step} of epoch {self.progress.epoch + 1} at a "
                f"learning rate of {rate:.3g}; lower training.learning_rate, or look for outliers in the training data"
            )

    def _heed(self, flags: Sequence[float]) -> None:
        """Stop if a rank was asked to: all ranks call this at the same place with the same sums of flags.

        Raises
        ------
        Stopped
            After the checkpoint is written.
        """
        signal = reason(flags)
        if signal is None:
            return
        stopped = Stopped(self.progress.position(self.steps), signal)
        if self._keeper:
            self._keeper.stop(self.progress, signal)
            logger.info("%s", stopped)
        # No rank may end before: launchers kill all others as soon as one has ended.
        self.ranks.wait()
        raise stopped

    def _end_epoch(self) -> None:
        """Validate, and add the epoch to the history.

        Raises
        ------
        TrainingError
            If the truth is missing everywhere, in training or in validation.
        """
        if not self.progress.count:
            raise TrainingError(_NO_TRUTH.format("train"))
        began = time.monotonic()
        validation_loss, validation_rmse, flags = self._validate()
        progress, seconds = self.progress, time.monotonic() - began
        progress.end_epoch(
            {
                "loss": progress.total / progress.count,
                "validation_loss": validation_loss,
                "validation_rmse": validation_rmse,
                "learning_rate": float(self.optimizer.learning_rate.numpy()),
                "seconds": progress.seconds + seconds,
            }
        )
        if validation_rmse < progress.best:
            progress.best, progress.best_epoch = validation_rmse, progress.epoch
            self._best = [variable.numpy() for variable in self.network.variables]
        if not self._finished():
            self._heed(flags)
        if self._keeper:
            self._keeper.after_epoch(progress, seconds)

    def _validate(self) -> tuple[float, float, list[float]]:
        """Return loss and RMSE over the validation period, and the sums of the flags.

        The RMSE is in physical units, over all valid area of all steps (mean over predictands).
        """
        size = self.settings.training.batch_size
        order = np.arange(len(self.validation))
        sums: list[Any] = []
        for number, batch in enumerate(
            batches(self.validation, order, size, self.ranks.rank, self.ranks.size), start=1
        ):
            parts = self._score(*_arrays(batch))
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
            if number % VALIDATION_STEPS == 0:
                self._heed(self.ranks.sum([_flags()])[0].numpy().tolist())
        loss, squares, valid, flags = (part.numpy() for part in self.ranks.sum([*sums, _flags()]))
        if not valid.all():
            raise TrainingError(_NO_TRUTH.format("validation"))
        return float(loss / valid.mean()), float(np.sqrt(squares / valid).mean()), flags.tolist()


def _arrays(batch: Batch) -> tuple[Any, ...]:
    return batch.coarse, batch.fine, batch.mask, batch.weights


def _flags() -> Any:
    """Return the signals that this rank got, as a tensor."""
    return tf.constant(stopping.flags(), tf.float32)
