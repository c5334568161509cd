"""Supervised training of one network by any number of ranks.

Sums and weights are exchanged, not means: partial batches, missing cells and any number of ranks give the gradient of
one process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.config import ModelSettings
from dl4ds_core.draws import Stream
from dl4ds_core.errors import TrainingError
from dl4ds_core.grids import Grid
from dl4ds_core.layers import part_of_batch, share_dropout
from dl4ds_core.losses import mean_weight
from dl4ds_core.models.networks import build_network
from dl4ds_core.patches import Cutting
from dl4ds_core.pipeline import Batch, Samples, batches, epoch_order
from dl4ds_core.scaling import Scaler
from dl4ds_core.training import checkpoints, stopping
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.distributed import Ranks
from dl4ds_core.training.finite import require_finite_step, require_finite_validation
from dl4ds_core.training.forward import Forward
from dl4ds_core.training.keeper import Keeper
from dl4ds_core.training.objective import objective
from dl4ds_core.training.optimizers import build_optimizer, clipped
from dl4ds_core.training.physics import constraints_of, set_physics, set_zeros
from dl4ds_core.training.ranges import NO_TRUTH
from dl4ds_core.training.schedules import learning_rate
from dl4ds_core.training.scoring import physical_error, score_sums, scores
from dl4ds_core.training.standing import SCORES
from dl4ds_core.training.starting import freeze, take_weights
from dl4ds_core.training.stopping import Stopped, reason

logger = logging.getLogger(__name__)

#: Batches between two looks at the signals where no steps are taken, as in the validation.
STEPS_BETWEEN_LOOKS = 16


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
    initial : str or Path, optional
        A ``model.keras`` whose weights are the first ones, as far as they fit.
    valid : str or Path, optional
        File of the cells with truth in the training period; needed where the network has constraints, and where fields
        are drawn by a diffusion model.
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
        initial: str | Path | None = None,
        valid: str | Path | None = None,
    ) -> None:
        self.settings, self.seed, self.ranks = settings, seed, ranks
        self.scale, self.context = scale, context
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
            constraints=constraints_of(settings, samples.predictands, scalers),
        )
        area = Grid.of(samples.fine).area.values[..., None]
        area = (area / area.mean()).astype(np.float32)
        share_dropout(self.network, ranks.rank, ranks.size)
        taken = take_weights(self.network, initial) if initial else set()
        if valid is not None:
            # After the weights of another network, whose constraints know other fields.
            set_physics(self.network, settings.network.constraints, samples, scalers, area, valid)
        set_zeros(self.network, samples.predictands, scalers)
        freeze(self.network, training.freeze, taken)
        self.optimizer = build_optimizer(training, self.network)
        self.state = [*self.network.variables, *self.optimizer.variables]
        weights = {id(weight) for weight in self.network.weights}
        self._seeds = [variable for variable in self.network.variables if id(variable) not in weights]
        self.progress = Progress()
        self._taken, self._valid = taken, valid
        self._best = [variable.numpy() for variable in self.network.variables]
        self._keeper: Keeper | None = None
        draws = training.members if "crps" in training.loss else 1
        self.forward = Forward(self.network, static, len(samples.predictands), draws, seed)
        self._area = tf.constant(area)
        self._cutting = None
        if training.patch_size is not None or training.augment:
            self._cutting = Cutting(seed, scale, context, area, static, training.patch_size, training.augment)
        self._physical_error = physical_error([scalers[f"fine.{name}"] for name in samples.predictands])
        self._loss = objective(settings, samples, scalers, ranks)
        self._kept_by = training.kept_by
        self._prelude = training.pretrain_epochs  # which don't count for patience
        # Without autograph, as nothing here branches on a tensor: reading the code of every layer took seconds.
        self._step = tf.function(self._training_step, reduce_retracing=True, autograph=False)
        self._score = tf.function(self._validation_step, reduce_retracing=True, autograph=False)

    def predict(self, coarse: np.ndarray) -> np.ndarray:
        """Return the network's output for some samples, (sample, Y, X, predictand), normalised units."""
        return np.asarray(self.forward.single(self.forward(tf.constant(coarse), None, None, training=False)))

    def _cells(self, mask: Any, area: Any) -> Any:
        """Return the weights of cells: relative areas (None: the domain's), zero where the truth is missing."""
        cells = self._area if area is None else area
        return cells if mask is None else cells * mask

    def _sum(self, numbers: Any) -> Any:
        return self.ranks.sum([numbers])[0]

    def _training_step(
        self, coarse: Any, fine: Any, mask: Any, static: Any, area: Any, weights: Any, noise: Any, flags: Any
    ) -> Any:
        """Return the sums over all ranks of loss and weight, then of the flags, and last the norm of the gradient.

        A sample of the whole domain without missing cells weighs one, others their valid area in relation to that.
        """
        cells = self._cells(mask, area)
        count = self._count(mask, area, weights)
        with tf.GradientTape() as tape, part_of_batch(tf.tile(weights, [self.forward.draws]), self._sum):
            losses = self._loss(fine, self.forward(coarse, static, noise, training=True), cells)
            total = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(total, self.network.trainable_variables)
        # The flags travel with what is exchanged anyway: after the same step, all ranks know who wants to stop.
        numbers = tf.concat([tf.stack([total, count]), flags], axis=0)
        *gradients, numbers = self.ranks.sum([*gradients, numbers])
        norm = self._descend(self.optimizer, self.network.trainable_variables, gradients, numbers[1])
        return tf.concat([numbers, [norm]], axis=0)

    def _count(self, mask: Any, area: Any, weights: Any) -> Any:
        """Return the weight of this rank's samples."""
        if mask is None and area is None:
            return tf.reduce_sum(weights)
        return tf.reduce_sum(mean_weight(self._cells(mask, area)) * weights)

    def _descend(self, optimizer: Any, variables: Sequence[Any], gradients: Sequence[Any], count: Any) -> Any:
        """Take a step by sums of gradients over all samples, and return the norm of their mean."""
        # In a batch without a valid cell all gradients are zero; dividing by zero would make them NaN.
        divisor = tf.where(count > 0, count, 1.0)
        gradients = [gradient / divisor for gradient in gradients]
        optimizer.apply(clipped(gradients, self.settings.training.clip_norm), variables)
        return tf.linalg.global_norm(gradients)

    def _validation_step(
        self, coarse: Any, fine: Any, mask: Any, static: Any, area: Any, weights: Any, noise: Any
    ) -> tuple[Any, ...]:
        """Return `score_sums` over this rank's samples."""
        cells, prediction = self._cells(mask, area), self.forward(coarse, static, noise, training=False)
        errors = self._physical_error(fine, self.forward.single(prediction), cells)
        return score_sums(self._loss(fine, prediction, cells), errors, cells, weights)

    def fit(self, folder: str | Path, identity: str, checkpoint_minutes: float) -> tuple[Progress, str]:
        """Train, or go on with a training that was interrupted, to bitwise the same weights.

        The network ends with the weights of its best epoch, by ``training.best_by`` of the validation period.

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
                self._score_kept,
            )
            self._keeper.begin(self.progress)
        while not self._finished():
            self._epoch()
            self._end_epoch()
        if self._keeper:
            self._keeper.finish(self.progress)
        if not self.progress.best_epoch:
            raise TrainingError(
                f"no epoch has a finite validation {SCORES[self._score_kept]}; lower "
                "training.learning_rate, or look for outliers in the validation period"
            )
        self._take_best()
        return self.progress, self.ranks.require_equal(self._same_on_all_ranks)

    @property
    def product(self) -> keras.Model:
        """What is saved."""
        return self.network

    def _take_best(self) -> None:
        for variable, values in zip(self.product.variables, self._best, strict=True):
            variable.assign(values)

    @property
    def _score_kept(self) -> str:
        """Column of the validation's score that is shown, and that says which epoch is kept, if one does."""
        return "rmse" if self._kept_by == "last" else self._kept_by

    @property
    def _same_on_all_ranks(self) -> Sequence[Any]:
        """Variables that all ranks must end with bitwise equal."""
        return self.network.variables

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.samples) // self.settings.training.batch_size)

    def _start(self, folder: str | Path, identity: str) -> None:
        resumed = None
        if self.ranks.first:
            checkpoints.tidy(folder)
            resumed = checkpoints.restore(folder, identity, self.state)
        best = resumed[1] if resumed else [variable.numpy() for variable in self.product.variables]
        self.progress = self.ranks.broadcast_object(resumed[0] if resumed else Progress())
        self.ranks.broadcast(self.state)
        self._best = self.ranks.broadcast_object(best)
        if self.progress.epoch or self.progress.step:
            logger.info("resumed after %s", self.progress.position(self.steps))

    def _finished(self) -> bool:
        training, progress = self.settings.training, self.progress
        idle = progress.epochs_without_gain(f"validation_{self._score_kept}", training.min_delta, self._prelude)
        return progress.epoch >= training.epochs or (training.patience is not None and idle >= training.patience)

    def _epoch(self) -> None:
        """Do the steps of the epoch under way that are not done yet."""
        training, progress = self.settings.training, self.progress
        order = epoch_order(len(self.samples), self.seed, progress.epoch)[progress.step * training.batch_size :]
        parts = (training.batch_size, self.ranks.rank, self.ranks.size)
        began = time.monotonic()
        for batch in batches(self.samples, order, *parts, cutting=self._cutting, epoch=progress.epoch):
            rate = self._rate()
            total, count, terms, flags, norm = self._take_step(batch, rate)
            ended = time.monotonic()
            progress.add_step(total, count, terms, ended - began)
            require_finite_step(progress, rate, total, norm, self._kept())
            self._heed(flags)
            if self._keeper:
                self._keeper.after_step(progress, ended - began)
            began = ended

    def _rate(self) -> float:
        """Return the learning rate of the step to take."""
        done = self.progress.epoch * self.steps + self.progress.step
        return learning_rate(self.settings.training, done, self.steps)

    def _take_step(self, batch: Batch, rate: float) -> tuple[float, float, dict[str, float], list[float], float]:
        """Take one step; return the sums of loss, weight, further terms and flags, and the norm of the gradient."""
        self.optimizer.learning_rate.assign(rate)
        noise = self.forward.noise(batch, Stream.TRAINING, self.progress.epoch)
        total, count, *flags, norm = self._step(*batch.arrays, noise, stopping.flag_tensor()).numpy().tolist()
        return total, count, {}, flags, norm

    def _kept(self) -> str:
        return self._keeper.kept() if self._keeper else ""

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
            raise TrainingError(NO_TRUTH.format("train"))
        began = time.monotonic()
        validation, flags = self._validate()
        progress, seconds = self.progress, time.monotonic() - began
        rate = float(self.optimizer.learning_rate.numpy())
        progress.end_epoch(
            {
                "loss": progress.total / progress.count,
                **{name: value / progress.count for name, value in progress.terms.items()},
                **validation,
                "learning_rate": rate,
                "seconds": progress.seconds + seconds,
            }
        )
        require_finite_validation(progress, rate, validation, self._kept())
        score = validation[f"validation_{self._score_kept}"]
        last = self._kept_by == "last"
        if self._may_be_best() and (last or score < progress.best):
            progress.best, progress.best_epoch = progress.best if last else score, progress.epoch
            self._best = [variable.numpy() for variable in self.product.variables]
        if not self._finished():
            self._heed(flags)
        if self._keeper:
            self._keeper.after_epoch(progress, seconds)

    def _may_be_best(self) -> bool:
        """Return whether the epoch that has just ended may be the one that is kept."""
        return self.progress.epoch > self._prelude

    def _validate(self) -> tuple[dict[str, float], list[float]]:
        """Return the scores of the validation period, and the sums of the flags."""
        size = self.settings.training.batch_size
        # What dropout draws here must not change what it draws in training: a training that stops within the
        # validation begins it anew.
        drawn = [seed.numpy() for seed in self._seeds]
        sums: list[Any] = []
        for number, batch in enumerate(
            batches(self.validation, np.arange(len(self.validation)), size, self.ranks.rank, self.ranks.size), start=1
        ):
            parts = self._scored(batch)
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
            if number % STEPS_BETWEEN_LOOKS == 0:
                self._restore_seeds(drawn)
                self._heed(self.ranks.sum([stopping.flag_tensor()])[0].numpy().tolist())
        self._restore_seeds(drawn)
        *totals, flags = (part.numpy() for part in self.ranks.sum([*sums, stopping.flag_tensor()]))
        return scores(*totals), flags.tolist()

    def _scored(self, batch: Batch) -> Sequence[Any]:
        """Return the sums of the scores over this rank's part of a batch of the validation period."""
        return self._score(*batch.arrays, self.forward.noise(batch, Stream.VALIDATION, 0))

    def _restore_seeds(self, drawn: Sequence[np.ndarray]) -> None:
        for seed, state in zip(self._seeds, drawn, strict=True):
            seed.assign(state)
