"""Adversarial training: the network generates, and a discriminator learns to tell its fields from truth.

Isola, P., Zhu, J.-Y., Zhou, T. and Efros, A. A. (2017). Image-to-image translation with conditional adversarial
networks. doi:10.1109/CVPR.2017.632
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.draws import Stream, generator
from dl4ds_core.layers import Detail, part_of_batch
from dl4ds_core.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from dl4ds_core.models.discriminator import build_discriminator
from dl4ds_core.pipeline import Batch, Samples
from dl4ds_core.training.stopping import flag_tensor
from dl4ds_core.training.supervised import Trainer

#: Columns of the history besides those of every training. The accuracy is the share of judgements of truth that are
#: higher than those of the prediction for the same cells: a half where the discriminator can't tell.
TERMS = ("pixel_loss", "adversarial_loss", "discriminator_loss", "discriminator_accuracy")
#: Decay of the mean gradient in Adam, as is usual for a discriminator (Radford et al. 2016,
#: doi:10.48550/arXiv.1511.06434).
MEMORY = 0.5
#: Samples, evenly spread, that say how large detail is.
LOOKED_AT = 64
#: Detail below this, in normalised units, is none.
ROUNDING = 1e-6


class AdversarialTrainer(Trainer):
    """Trains one network against a discriminator; parameters are those of `Trainer`.

    Both take a step at once, each by its gradient before the step of the other, and both are part of the checkpoint.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        training = self.settings.training
        self.options = training.adversarial
        self.discriminator = build_discriminator(
            training.discriminator,
            scale=self.scale,
            channels=len(self.samples.channels),
            outputs=len(self.samples.predictands),
            static=0 if self.forward.static is None else self.forward.static.shape[-1],
            context=self.context,
            time_window=self.settings.network.time_window,
        )
        detail = self.discriminator.get_layer("detail")
        detail.set_deviations(_deviations(self.samples, detail))
        self.opponent = keras.optimizers.Adam(training.learning_rate, beta_1=MEMORY)
        self.opponent.build(self.discriminator.trainable_variables)
        self.state += [*self.discriminator.variables, *self.opponent.variables]
        self._steps = {
            both: tf.function(partial(self._adversarial_step, both=both), reduce_retracing=True, autograph=False)
            for both in (True, False)
        }

    @property
    def _same_on_all_ranks(self) -> Sequence[Any]:
        return [*self.network.variables, *self.discriminator.variables]

    def _take_step(self, batch: Batch, rate: float) -> tuple[float, float, dict[str, float], list[float], float]:
        if self.progress.epoch < self._prelude:
            return super()._take_step(batch, rate)
        training = self.settings.training
        self.optimizer.learning_rate.assign(rate)
        of_opponent = self.options.learning_rate or training.learning_rate
        self.opponent.learning_rate.assign(rate * of_opponent / training.learning_rate)
        done = self.progress.epoch * self.steps + self.progress.step
        both = (done + 1) % self.options.discriminator_steps == 0
        noise = self.forward.noise(batch, Stream.TRAINING, self.progress.epoch)
        numbers = self._steps[both](*batch.arrays, noise, self._mixing(batch), flag_tensor()).numpy().tolist()
        total, count, *rest = numbers
        terms, flags = dict(zip(TERMS, rest, strict=False)), rest[len(TERMS) : -1]
        return total, count, terms, flags, rest[-1]

    def _mixing(self, batch: Batch) -> np.ndarray | None:
        """Return how much of the truth there is in the fields for the gradient penalty, (batch,)."""
        if self.options.loss != "wasserstein":
            return None
        draws = [
            generator(self.seed, Stream.MIXING, self.progress.epoch, int(index)).random() for index in batch.indices
        ]
        return np.array(draws, np.float32)

    def _adversarial_step(
        self,
        coarse: Any,
        fine: Any,
        mask: Any,
        static: Any,
        area: Any,
        weights: Any,
        noise: Any,
        mixing: Any,
        flags: Any,
        *,
        both: bool,
    ) -> Any:
        """Return the sums over all ranks of loss, weight, `TERMS` and flags, and last the norm of both gradients.

        Without ``both``, the discriminator alone takes a step.
        """
        kind, cells = self.options.loss, self._cells(mask, area)
        count = self._count(mask, area, weights)
        patches = self._patches(cells)

        def summed(judged: Any) -> Any:
            return tf.reduce_sum(tf.reduce_mean(judged * patches, axis=(1, 2, 3)) * weights)

        def shown(field: Any) -> Any:
            return field if mask is None else field * mask

        with tf.GradientTape(persistent=True) as tape, part_of_batch(weights, self._sum):
            prediction = self.forward(coarse, static, noise, training=True)
            made, true = shown(prediction), shown(fine)
            fake, real = (self._judged(coarse, field, static, mask) for field in (made, true))
            pixel = tf.reduce_sum(self._loss(fine, prediction, cells) * weights)
            fooling = summed(generator_loss(kind, fake))
            total = pixel + self.options.weight * fooling
            telling = summed(discriminator_loss(kind, real, fake))
            if mixing is not None:
                slopes = self._slopes(coarse, made, true, static, mixing, mask, patches)
                penalty = tf.reduce_sum(slopes * tf.reduce_mean(patches, axis=(1, 2, 3)) * weights)
                telling += self.options.gradient_penalty * penalty
        own, other = self.network.trainable_variables, self.discriminator.trainable_variables
        gradients = [*(tape.gradient(total, own) if both else []), *tape.gradient(telling, other)]
        right = summed(tf.cast(real > fake, tf.float32))
        numbers = tf.concat([tf.stack([total, count, pixel, fooling, telling, right]), flags], axis=0)
        *gradients, numbers = self.ranks.sum([*gradients, numbers])
        cut = len(gradients) - len(other)
        norm = self._descend(self.opponent, other, gradients[cut:], numbers[1])
        if both:
            norm += self._descend(self.optimizer, own, gradients[:cut], numbers[1])
        return tf.concat([numbers, [norm]], axis=0)

    def _judged(self, coarse: Any, fine: Any, static: Any, mask: Any) -> Any:
        """Return the judgements of fine fields in which missing cells are zero, (batch, height, width, 1)."""
        fields = self.forward.static if static is None else static
        valid = tf.ones_like(fine) if mask is None else mask
        given = [tf.convert_to_tensor(each) for each in (coarse, fine, valid, fields) if each is not None]
        return self.discriminator(given, training=True)

    def _slopes(self, coarse: Any, made: Any, true: Any, static: Any, mixing: Any, mask: Any, patches: Any) -> Any:
        """Return the penalty for the slopes of the critic between prediction and truth, over valid cells, (batch,)."""
        share = mixing[:, None, None, None]
        between = share * true + (1.0 - share) * tf.stop_gradient(made)
        valid = tf.ones_like(between) if mask is None else mask
        total = tf.reduce_sum(patches, axis=(1, 2, 3))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(between)
            weighted = tf.reduce_sum(self._judged(coarse, between, static, mask) * patches, axis=(1, 2, 3))
            judged = tf.reduce_sum(weighted / tf.where(total > 0, total, 1.0))
        return gradient_penalty(tape.gradient(judged, between) * valid, tf.reduce_sum(valid, axis=(1, 2, 3)))

    def _patches(self, cells: Any) -> Any:
        """Return the weights of judgements, (1 or batch, height, width, 1): means of those of their fine cells."""
        cells = cells if len(cells.shape) == 4 else cells[None]
        mean = tf.reduce_mean(cells, axis=-1, keepdims=True)
        return tf.nn.avg_pool2d(mean, self.scale, self.scale, "VALID")


def _deviations(samples: Samples, detail: Detail) -> np.ndarray:
    """Return the standard deviation of the truth's detail, by channel, normalised units; one where there is none."""
    number = min(len(samples), LOOKED_AT)
    squares, cells = np.zeros(1), np.zeros(1)
    for index in np.unique(np.linspace(0, len(samples) - 1, number).round().astype(np.int64)):
        _, fine, mask = samples.take(np.array([index]))
        valid = np.ones_like(fine) if mask is None else mask
        departures = np.asarray(detail.departures(tf.constant(fine * valid), tf.constant(valid)), np.float64)
        squares = squares + (departures**2).sum(axis=(0, 1, 2))
        cells = cells + np.tile(valid.sum(axis=(0, 1, 2)), 1 + len(detail.widths))
    deviations = np.sqrt(squares / np.maximum(cells, 1))
    return np.where(deviations > ROUNDING, deviations, 1.0)
