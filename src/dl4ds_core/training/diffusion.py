"""Training of a residual diffusion model: the network first, then the denoiser of what it leaves.

Mardani, M. et al. (2025). Residual corrective diffusion modeling for km-scale atmospheric downscaling.
doi:10.1038/s43247-025-02042-5
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.draws import Stream, generator, noise
from dl4ds_core.errors import TrainingError
from dl4ds_core.losses import error_where_valid
from dl4ds_core.models.denoiser import build_denoiser
from dl4ds_core.models.diffusion import ResidualDiffusion, denoised, drawn_levels, loss_weight
from dl4ds_core.pipeline import Batch, batches
from dl4ds_core.training.optimizers import build_optimizer
from dl4ds_core.training.physics import known_cells
from dl4ds_core.training.schedules import learning_rate
from dl4ds_core.training.scoring import score_sums
from dl4ds_core.training.stopping import flag_tensor
from dl4ds_core.training.supervised import STEPS_BETWEEN_LOOKS, Trainer

logger = logging.getLogger(__name__)

#: Column of the history besides those of every training: what is the loss in the second part.
TERM = "denoising_loss"
#: Residuals whose deviation is below this, in normalised units, are taken to be none.
ROUNDING = 1e-6


class DiffusionTrainer(Trainer):
    """Trains one network, and then a denoiser of what it leaves of the truth; parameters are those of `Trainer`.

    Both are part of the checkpoint. What is validated and kept of the denoiser is the mean of its weights over the
    steps. Both parts keep their best epoch.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        training = self.settings.training
        self.options = training.diffusion
        if not self._prelude:
            self._require_trained()
        self.denoiser, averaged = (self._build_denoiser() for _ in range(2))
        averaged.set_weights(self.denoiser.get_weights())
        self._product = ResidualDiffusion(self.network, averaged, self.samples.fine_shape)
        if self._valid is not None:
            self._product.valid.assign(known_cells(self._valid, self.samples.predictands))
        self.denoising = build_optimizer(training, self.denoiser)
        known = {id(variable) for variable in self.state}
        more = [*self.denoiser.variables, *self.denoising.variables, *self._product.variables]
        self.state += [variable for variable in more if id(variable) not in known]
        self._best = [variable.numpy() for variable in self._product.variables]
        self._denoise = tf.function(self._denoising_step, reduce_retracing=True, autograph=False)
        self._score_denoised = tf.function(self._denoising_scores, reduce_retracing=True, autograph=False)

    def _require_trained(self) -> None:
        """Check that the network begins with the weights of another one, all of them.

        Raises
        ------
        TrainingError
            If there are others.
        """
        new = [weight.path for weight in self.network.weights if weight.path not in self._taken]
        if new:
            raise TrainingError(
                f"training.diffusion.pretrain_epochs: 0 needs a `start_from` that has all weights of the network, and "
                f"it has none for {new[0]}" + (f" and {len(new) - 1} more" if len(new) > 1 else "") + "; start from a "
                "network with the same keys, or set some epochs"
            )

    def _build_denoiser(self) -> keras.Model:
        return build_denoiser(
            self.settings.training.denoiser,
            scale=self.scale,
            channels=len(self.samples.channels),
            outputs=len(self.samples.predictands),
            static=0 if self.forward.static is None else self.forward.static.shape[-1],
            context=self.context,
            time_window=self.settings.network.time_window,
        )

    @property
    def product(self) -> keras.Model:
        """The network and the denoiser with averaged weights."""
        return self._product

    @property
    def _same_on_all_ranks(self) -> Sequence[Any]:
        return [*self._product.variables, *self.denoiser.variables]

    @property
    def _second_part(self) -> bool:
        """Whether the denoiser is trained now."""
        return self.progress.epoch >= self._prelude

    def _may_be_best(self) -> bool:
        return True

    def _rate(self) -> float:
        training, own = self.settings.training, self.options.learning_rate
        before, after = self._prelude, training.epochs - self._prelude
        changes: dict[str, float] = {"epochs": after if self._second_part else before}
        if self._second_part and own is not None:
            changes["learning_rate"] = own
        done = (self.progress.epoch - (before if self._second_part else 0)) * self.steps + self.progress.step
        return learning_rate(training.model_copy(update=changes), done, self.steps)

    def _epoch(self) -> None:
        if self.progress.epoch == self._prelude and not self.progress.step:
            self._hold_network()
        super()._epoch()

    def _hold_network(self) -> None:
        """End the first part: take the best network, and look at what it leaves."""
        self._take_best()
        sums = np.zeros((2, len(self.samples.predictands)), np.float32)
        parts = (self.settings.training.batch_size, self.ranks.rank, self.ranks.size)
        measure = tf.function(self._residual_sums, reduce_retracing=True, autograph=False)
        for number, batch in enumerate(batches(self.samples, np.arange(len(self.samples)), *parts), start=1):
            sums = sums + measure(*batch.arrays)
            if number % STEPS_BETWEEN_LOOKS == 0:
                self._heed(self.ranks.sum([flag_tensor()])[0].numpy().tolist())
        squares, area = self.ranks.sum([tf.convert_to_tensor(sums)])[0].numpy()
        deviations = np.sqrt(squares / np.where(area > 0, area, 1.0))
        self._product.deviations.assign(np.where(deviations > ROUNDING, deviations, 1.0))
        logger.info(
            "the network %s stays as it is; root of the mean square of what it leaves, in normalised units: %s",
            f"of epoch {self.progress.best_epoch}" if self._prelude else "that it began with",
            ", ".join(f"{name} {size:.3g}" for name, size in zip(self.samples.predictands, deviations, strict=True)),
        )
        self.progress.best, self.progress.best_epoch = float("inf"), 0
        self._best = [variable.numpy() for variable in self._product.variables]
        if self._keeper:
            self._keeper.begin_part()

    def _residual_sums(self, coarse: Any, fine: Any, mask: Any, static: Any, area: Any, weights: Any) -> Any:
        """Return sums over this rank's samples: of squared residuals and of valid area, (2, predictand)."""
        cells = self._cells(mask, area)
        residual = error_where_valid(self.forward(coarse, static, None, training=False), fine, cells)
        weighted = cells * weights[:, None, None, None] * tf.ones_like(residual)
        return tf.stack([tf.reduce_sum(part, axis=(0, 1, 2)) for part in (residual**2 * weighted, weighted)])

    def _take_step(self, batch: Batch, rate: float) -> tuple[float, float, dict[str, float], list[float], float]:
        if not self._second_part:
            return super()._take_step(batch, rate)
        for optimizer in (self.denoising, self.optimizer):  # the second rests, but has the rate of the history
            optimizer.learning_rate.assign(rate)
        done = (self.progress.epoch - self._prelude) * self.steps + self.progress.step
        # At first the mean follows quickly, or it would be one with random weights for long.
        decay = min(self.options.averaging, (1 + done) / (10 + done))
        drawn = self._drawn(batch, Stream.TRAINING, self.progress.epoch)
        numbers = self._denoise(*batch.arrays, *drawn, tf.constant(decay, tf.float32), flag_tensor())
        total, count, *flags, norm = numbers.numpy().tolist()
        return total, count, {TERM: total}, flags, norm

    def _drawn(self, batch: Batch, stream: Stream, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return noise in the shape of the fine fields of a batch, and how strong it is to be, (part,)."""
        keys = [(epoch, int(index)) for index in batch.indices]
        normal = [generator(self.seed, Stream.LEVEL, stream, *key).standard_normal() for key in keys]
        return noise(self.seed, stream, keys, batch.fine.shape[1:]), drawn_levels(np.array(normal)).astype(np.float32)

    def _denoising_step(
        self,
        coarse: Any,
        fine: Any,
        mask: Any,
        static: Any,
        area: Any,
        weights: Any,
        drawn: Any,
        level: Any,
        decay: Any,
        flags: Any,
    ) -> Any:
        """Return the sums over all ranks of loss, weight and flags, and last the norm of the gradient."""
        mean = self.forward(coarse, static, None, training=False)
        cells, variables = self._cells(mask, area), self.denoiser.trainable_variables
        with tf.GradientTape() as tape:
            losses = self._denoising_loss(self.denoiser, mean, coarse, fine, mask, static, cells, drawn, level, True)
            total = tf.reduce_sum(losses * weights)
        gradients = tape.gradient(total, variables)
        numbers = tf.concat([tf.stack([total, self._count(mask, area, weights)]), flags], axis=0)
        *gradients, numbers = self.ranks.sum([*gradients, numbers])
        norm = self._descend(self.denoising, variables, gradients, numbers[1])
        for averaged, now in zip(self._product.denoiser.trainable_variables, variables, strict=True):
            averaged.assign(decay * averaged + (1.0 - decay) * now)
        return tf.concat([numbers, [norm]], axis=0)

    def _denoising_loss(
        self,
        denoiser: keras.Model,
        mean: Any,
        coarse: Any,
        fine: Any,
        mask: Any,
        static: Any,
        cells: Any,
        drawn: Any,
        level: Any,
        training: bool,
    ) -> Any:
        """Return the weighted squared error of denoised residuals of each sample, (batch,)."""
        residual = error_where_valid(mean, fine, cells) / self._product.deviations
        noisy = residual + level[:, None, None, None] * drawn
        valid = tf.ones_like(residual) if mask is None else mask
        fields = self.forward.static if static is None else static
        found = denoised(denoiser, noisy, level, mean, valid, coarse, fields, training=training)
        return loss_weight(level) * tf.reduce_mean((found - residual) ** 2 * cells, axis=(1, 2, 3))

    def _scored(self, batch: Batch) -> Sequence[Any]:
        if not self._second_part:
            return super()._scored(batch)
        return self._score_denoised(*batch.arrays, *self._drawn(batch, Stream.VALIDATION, 0))

    def _denoising_scores(
        self, coarse: Any, fine: Any, mask: Any, static: Any, area: Any, weights: Any, drawn: Any, level: Any
    ) -> tuple[Any, ...]:
        """Return `score_sums` over this rank's samples: the loss of the denoiser, and the errors of the network."""
        cells, mean = self._cells(mask, area), self.forward(coarse, static, None, training=False)
        denoiser = self._product.denoiser
        losses = self._denoising_loss(denoiser, mean, coarse, fine, mask, static, cells, drawn, level, False)
        return score_sums(losses, self._physical_error(fine, mean, cells), cells, weights)
