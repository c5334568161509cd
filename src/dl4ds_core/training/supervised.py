"""Supervised training of one network by any number of ranks.

Sums and counts are exchanged, not means: partial batches and any number of ranks give the gradient of one process.
"""

from __future__ import annotations

import logging
import math
import time
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
from dl4ds_core.training import checkpoints
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.distributed import Ranks

logger = logging.getLogger(__name__)

#: Seconds between lines of progress.
PROGRESS_SECONDS = 5.0


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

    def _training_step(self, coarse: Any, fine: Any, weights: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            losses = self._loss(fine, self._predict(coarse, training=True), self._area)
            total = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(total, self.network.trainable_variables)
        *gradients, total, count = self.ranks.sum([*gradients, total, tf.reduce_sum(weights)])
        self.optimizer.apply([gradient / count for gradient in gradients], self.network.trainable_variables)
        return total, count

    def _validation_step(self, coarse: Any, fine: Any, weights: Any) -> tuple[Any, Any, Any]:
        prediction = self._predict(coarse, training=False)
        losses = self._loss(fine, prediction, self._area)
        squares = tf.reduce_mean(tf.square((prediction - fine) * self._factors) * self._area, axis=(1, 2))
        return (
            tf.reduce_sum(losses * weights),
            tf.reduce_sum(squares * weights[:, None], axis=0),
            tf.reduce_sum(weights),
        )

    def fit(self, checkpoint_folder: str | Path, identity: str) -> tuple[Progress, str]:
        """Train, or go on with a training that was interrupted.

        The network ends with the weights of its best epoch, by validation RMSE.

        Returns
        -------
        Progress, str
            The history, and the checksum of the weights, which all ranks share.

        Raises
        ------
        TrainingError
            If the loss isn't finite, a checkpoint can't be used, or the ranks end with different weights.
        """
        training = self.settings.training
        progress, best = self._start(checkpoint_folder, identity)
        shown = time.monotonic()
        while progress.epoch < training.epochs and not self._out_of_patience(progress):
            began = time.monotonic()
            loss = self._epoch(progress.epoch)
            validation_loss, validation_rmse = self._validate()
            progress.epoch += 1
            seconds = time.monotonic() - began
            progress.history.append(
                {
                    "epoch": progress.epoch,
                    "loss": loss,
                    "validation_loss": validation_loss,
                    "validation_rmse": validation_rmse,
                    "learning_rate": float(self.optimizer.learning_rate.numpy()),
                    "seconds": seconds,
                }
            )
            if validation_rmse < progress.best:
                progress.best, progress.best_epoch = validation_rmse, progress.epoch
                best = [variable.numpy() for variable in self.network.variables]
            if (
                progress.epoch % training.checkpoint_epochs == 0
                and progress.epoch < training.epochs
                and self.ranks.first
            ):
                checkpoints.save(checkpoint_folder, identity, progress, self.state, best)
            if time.monotonic() - shown > PROGRESS_SECONDS or progress.epoch in (1, training.epochs):
                shown = time.monotonic()
                self._show(progress, seconds)
        for variable, values in zip(self.network.variables, best, strict=True):
            variable.assign(values)
        self.ranks.broadcast(self.network.variables)
        return progress, self.ranks.require_equal(self.network.variables)

    def _start(self, checkpoint_folder: str | Path, identity: str) -> tuple[Progress, list[np.ndarray]]:
        resumed = checkpoints.restore(checkpoint_folder, identity, self.state) if self.ranks.first else None
        best = resumed[1] if resumed else [variable.numpy() for variable in self.network.variables]
        progress: Progress = self.ranks.broadcast_object(resumed[0] if resumed else Progress())
        self.ranks.broadcast(self.state)
        best = self.ranks.broadcast_object(best)
        if progress.epoch:
            logger.info("resumed after epoch %d", progress.epoch)
        return progress, best

    def _out_of_patience(self, progress: Progress) -> bool:
        patience = self.settings.training.patience
        return patience is not None and progress.epoch - progress.best_epoch >= patience

    def _epoch(self, epoch: int) -> float:
        training = self.settings.training
        steps = -(-len(self.samples) // training.batch_size)
        order = epoch_order(len(self.samples), self.seed, epoch)
        parts = batches(self.samples, order, training.batch_size, self.ranks.rank, self.ranks.size)
        total = count = 0.0
        for step, batch in enumerate(parts):
            rate = learning_rate(
                training.learning_rate, training.schedule, epoch * steps + step, training.epochs * steps
            )
            self.optimizer.learning_rate.assign(rate)
            step_total, step_count = self._step(batch.coarse, batch.fine, batch.weights)
            total += float(step_total)
            count += float(step_count)
            if not math.isfinite(total):
                raise TrainingError(
                    f"the loss is no longer finite in step {step + 1} of epoch {epoch + 1} at a learning rate "
                    f"of {rate:.3g}; lower training.learning_rate, or look for outliers in the training data"
                )
        return total / count

    def _validate(self) -> tuple[float, float]:
        """Return loss and RMSE over the validation period; the RMSE in physical units (mean over predictands)."""
        training = self.settings.training
        order = np.arange(len(self.validation))
        sums: list[Any] = []
        for batch in batches(self.validation, order, training.batch_size, self.ranks.rank, self.ranks.size):
            parts = self._score(batch.coarse, batch.fine, batch.weights)
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
        loss, squares, count = self.ranks.sum(sums)
        return float(loss / count), float(tf.reduce_mean(tf.sqrt(squares / count)))

    def _show(self, progress: Progress, seconds: float) -> None:
        row = progress.history[-1]
        left = (self.settings.training.epochs - progress.epoch) * seconds
        logger.info(
            "epoch %d of %d: loss %.4f, validation loss %.4f, validation RMSE %.4f (best %.4f in epoch %d); "
            "%.2f s per epoch, about %.0f s left",
            *(progress.epoch, self.settings.training.epochs, row["loss"], row["validation_loss"]),
            *(row["validation_rmse"], progress.best, progress.best_epoch, seconds, left),
        )
