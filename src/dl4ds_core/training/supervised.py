"""Supervised training of one network by any number of ranks.

Sums and counts are exchanged, not means: partial batches and any number of ranks give the gradient of one process.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.config import ModelSettings
from dl4ds_core.errors import TrainingError
from dl4ds_core.grids import Grid
from dl4ds_core.losses import weighted_loss
from dl4ds_core.models.networks import build_network
from dl4ds_core.pipeline import Samples, batches, epoch_order
from dl4ds_core.scaling import Scaler
from dl4ds_core.training import checkpoints, stopping
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.distributed import Ranks
from dl4ds_core.training.keeper import Keeper
from dl4ds_core.training.stopping import Stopped, reason

logger = logging.getLogger(__name__)

#: Batches of the validation between two looks at the signals.
VALIDATION_STEPS = 16


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
        Static fields, shape (1, lat, lon, field), normalised units.
    scalers : dict
        For scores in physical units.
    scale : int
        Fine cells per coarse cell.
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
            static=0 if static is None else static.shape[-1],
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
        factors = [np.broadcast_to(scalers[f"fine.{name}"].factor, area.shape[:2]) for name in samples.predictands]
        self._factors = tf.constant(np.stack(factors, axis=-1).astype(np.float32))
        self._loss = weighted_loss({str(name): weight for name, weight in training.loss.items()})
        self._step = tf.function(self._training_step, reduce_retracing=True)
        self._score = tf.function(self._validation_step, reduce_retracing=True)

    def _predict(self, coarse: Any, *, training: bool) -> Any:
        inputs = [coarse] if self._static is None else [coarse, self._static]
        return self.network(inputs, training=training)

    def _training_step(self, coarse: Any, fine: Any, weights: Any, flags: Any) -> Any:
        """Return the sums over all ranks of loss and samples, then of the flags."""
        with tf.GradientTape() as tape:
            losses = self._loss(fine, self._predict(coarse, training=True), self._area)
            total = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(total, self.network.trainable_variables)
        # The flags travel with what is exchanged anyway: after the same step, all ranks know who wants to stop.
        numbers = tf.concat([tf.stack([total, tf.reduce_sum(weights)]), flags], axis=0)
        *gradients, numbers = self.ranks.sum([*gradients, numbers])
        count = numbers[1]
        self.optimizer.apply([gradient / count for gradient in gradients], self.network.trainable_variables)
        return numbers

    def _validation_step(self, coarse: Any, fine: Any, weights: Any) -> tuple[Any, Any, Any]:
        prediction = self._predict(coarse, training=False)
        losses = self._loss(fine, prediction, self._area)
        squares = tf.reduce_mean(tf.square((prediction - fine) * self._factors) * self._area, axis=(1, 2))
        return (
            tf.reduce_sum(losses * weights),
            tf.reduce_sum(squares * weights[:, None], axis=0),
            tf.reduce_sum(weights),
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
            total, count, *flags = self._step(batch.coarse, batch.fine, batch.weights, _flags()).numpy().tolist()
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
        """Validate, and add the epoch to the history."""
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

        The RMSE is in physical units (mean over predictands).
        """
        size = self.settings.training.batch_size
        order = np.arange(len(self.validation))
        sums: list[Any] = []
        for number, batch in enumerate(
            batches(self.validation, order, size, self.ranks.rank, self.ranks.size), start=1
        ):
            parts = self._score(batch.coarse, batch.fine, batch.weights)
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
            if number % VALIDATION_STEPS == 0:
                self._heed(self.ranks.sum([_flags()])[0].numpy().tolist())
        loss, squares, count, flags = self.ranks.sum([*sums, _flags()])
        return float(loss / count), float(tf.reduce_mean(tf.sqrt(squares / count))), flags.numpy().tolist()


def _flags() -> Any:
    """Return the signals that this rank got, as a tensor."""
    return tf.constant(stopping.flags(), tf.float32)
