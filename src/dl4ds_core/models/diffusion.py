"""A residual diffusion model: a network that gives the mean, and a denoiser that draws what is left of the truth.

Residuals are in units of their deviation, the root of their mean square, and so is the strength of noise. The
denoiser's inputs and outputs are scaled so that both are about one in size for all strengths (Karras et al. 2022, table
1, "EDM").

Karras, T., Aittala, M., Aila, T. and Laine, S. (2022). Elucidating the design space of diffusion-based generative
models. doi:10.48550/arXiv.2206.00364
Mardani, M. et al. (2025). Residual corrective diffusion modeling for km-scale atmospheric downscaling.
doi:10.1038/s43247-025-02042-5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

#: Mean and standard deviation of the logarithm of the strength of noise in training: wider than those of Karras et al.
#: (-0.5 and 1.2 in these units), since residuals may be alike over few cells or over many.
LOG_MEAN, LOG_DEVIATION = 0.0, 1.5
#: The strongest noise when drawing, times the root of the number of cells: were all cells alike, the amplitude of what
#: they have in common would be that root, which noise must drown. And the weakest.
STRONGEST, WEAKEST = 10.0, 0.01


def levels(steps: int, cells: int) -> np.ndarray:
    """Return strengths of noise from the strongest to none, (steps + 1,), evenly spread in their logarithm.

    Parameters
    ----------
    steps : int
        As in ``prediction.members.steps``.
    cells : int
        Fine cells of the domain.

    Examples
    --------
    >>> levels(3, 100).round(3).tolist()
    [100.0, 1.0, 0.01, 0.0]
    """
    return np.append(np.geomspace(STRONGEST * math.sqrt(cells), WEAKEST, steps), 0.0)


def drawn_levels(normal: np.ndarray) -> np.ndarray:
    """Return strengths of noise for training, from standard normal numbers, in their shape."""
    return np.exp(LOG_MEAN + LOG_DEVIATION * normal)


def loss_weight(level: Any) -> Any:
    """Return what squared errors of denoised fields weigh at some levels, so that all count alike; in their shape."""
    return (level**2 + 1.0) / level**2


def solve(guess_at: Callable[[Any, float], Any], noise: Any, strengths: Sequence[float] | np.ndarray) -> Any:
    """Turn noise into a field: along the ordinary differential equation of the diffusion, by DPM-Solver++(2M).

    Each step is exact where the best guess stays as it is; that it changes is extrapolated from the step before. With
    25 steps the variance of normal numbers comes out within 3%, for 100 to 65,000 cells.

    Parameters
    ----------
    guess_at : callable
        The best guess of the field behind a noisy one, given the strength of the noise.
    noise : tensor
        Standard normal, (sample, Y, X, predictand).
    strengths : sequence of float
        As of `levels`; each but the last asks for one guess.

    Returns
    -------
    tensor
        Shape of ``noise``: residuals in units of their deviation.

    References
    ----------
    Lu, C. et al. (2022). DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.
    doi:10.48550/arXiv.2211.01095
    """
    x, before, width = noise * float(strengths[0]), None, 0.0
    for now, then in pairwise(map(float, strengths)):
        guess = guess_at(x, now)
        if not then:
            break
        h = math.log(now / then)
        ahead = guess if before is None else guess + (guess - before) * (h / (2 * width))
        x = (then / now) * x - math.expm1(-h) * ahead
        before, width = guess, h
    return guess


@keras.saving.register_keras_serializable("dl4ds_core")
class ResidualDiffusion(keras.Model):
    """The network of a model together with the denoiser of its residuals, as they are saved.

    Called as the network itself, it gives what that gives: the mean, where it is trained by squared errors.

    Parameters
    ----------
    mean : keras.Model
        As ``models.networks.build_network`` returns it.
    denoiser : keras.Model
        As ``models.denoiser.build_denoiser`` returns it.
    fine_shape : (int, int)
        Fine cells of the domain along Y and X.

    Attributes
    ----------
    deviations : Keras variable
        Root of the mean squared residual of the training period, (predictand,), normalised units.
    valid : Keras variable
        One in cells that have truth in the training period, else zero, (Y, X, predictand): elsewhere the denoiser has
        learnt nothing.
    """

    def __init__(self, mean: keras.Model, denoiser: keras.Model, fine_shape: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.denoiser, self.fine_shape = mean, denoiser, tuple(fine_shape)
        outputs = denoiser.output_shape[-1]
        self.deviations = self.add_weight(name="deviations", shape=(outputs,), initializer="ones", trainable=False)
        self.valid = self.add_weight(
            name="valid", shape=(*self.fine_shape, outputs), initializer="ones", trainable=False
        )
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the mean."""
        return self.mean(inputs, training=training)

    def guess(self, noisy: Any, level: Any, mean: Any, coarse: Any, static: Any) -> Any:
        """Return the best guess of residuals of the whole domain behind noisy ones; see `denoised`."""
        return denoised(self.denoiser, noisy, level, mean, self.valid, coarse, static)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("mean", "denoiser")}
        return {**super().get_config(), **parts, "fine_shape": list(self.fine_shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> ResidualDiffusion:
        """Build both networks anew."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects) for name in ("mean", "denoiser")
        }
        return cls(**{**config, **parts})


def denoised(
    denoiser: keras.Model,
    noisy: Any,
    level: Any,
    mean: Any,
    valid: Any,
    coarse: Any,
    static: Any,
    *,
    training: bool = False,
) -> Any:
    """Return the best guess of residuals behind noisy ones.

    Parameters
    ----------
    denoiser : keras.Model
        As ``models.denoiser.build_denoiser`` returns it.
    noisy : tensor
        (sample, Y, X, predictand), in units of the residuals' deviation.
    level : tensor
        Strength of the noise, (sample,).
    mean : tensor
        What the network gives, in the shape of ``noisy``.
    valid : tensor
        One where there is truth, else zero, in a shape that can be broadcast to that of ``noisy``.
    coarse : tensor
        (sample, [window,] Y, X, channel).
    static : tensor or None
        (1 or sample, Y, X, field).
    training : bool
        Whether the denoiser is trained now.

    Returns
    -------
    tensor
        In the shape of ``noisy``, float32; zero where there is no truth.
    """
    strength = ops.reshape(level, (-1, 1, 1, 1))
    size = ops.sqrt(strength**2 + 1.0)
    valid = ops.broadcast_to(valid, ops.shape(noisy))
    hint = ops.reshape(ops.log(level), (-1, 1)) / 4.0
    given = [noisy * valid / size, hint, mean, valid, coarse, static]
    output = denoiser([ops.convert_to_tensor(each) for each in given if each is not None], training=training)
    return (noisy / size**2 + ops.cast(output, "float32") * strength / size) * valid
