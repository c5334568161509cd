"""What a generator and a discriminator play for.

Judgements are numbers without bounds, (batch, height, width, 1), one for each coarse cell: the higher, the more its
surroundings look like truth.
"""

from __future__ import annotations

from typing import Any

from keras import ops

KINDS = ("vanilla", "least-squares", "wasserstein")


def discriminator_loss(kind: str, real: Any, fake: Any) -> Any:
    """Return the loss of the discriminator for each pair of judgements, of truth and of prediction.

    Parameters
    ----------
    kind : {"vanilla", "least-squares", "wasserstein"}
        Cross entropy (Goodfellow et al. 2014, doi:10.48550/arXiv.1406.2661); squared distance from 1 and 0 (Mao et al.
        2017, doi:10.1109/ICCV.2017.304); or the difference (Arjovsky et al. 2017, doi:10.48550/arXiv.1701.07875), which
        needs the `gradient_penalty` besides.
    """
    if kind == "vanilla":
        return ops.softplus(-real) + ops.softplus(fake)
    if kind == "least-squares":
        return 0.5 * (ops.square(real - 1.0) + ops.square(fake))
    return fake - real


def generator_loss(kind: str, fake: Any) -> Any:
    """Return the loss of the generator for each judgement of its prediction, in the form that doesn't saturate."""
    if kind == "vanilla":
        return ops.softplus(-fake)
    return 0.5 * ops.square(fake - 1.0) if kind == "least-squares" else -fake


def gradient_penalty(gradient: Any, cells: Any) -> Any:
    """Return by how much the slope of a critic is not one, squared, for each sample, (batch,).

    Parameters
    ----------
    gradient : tensor
        Of the mean judgement by the field, (batch, height, width, channels); zero where a cell is missing. The slope is
        that over a change of the field by a root mean square of one, so that it doesn't depend on the number of cells.
    cells : tensor
        Number of values of each field that are not missing, (batch,).

    References
    ----------
    Gulrajani, I. et al. (2017). Improved training of Wasserstein GANs. doi:10.48550/arXiv.1704.00028
    """
    # Rounded off near zero, where the root has no slope.
    slope = ops.sqrt(cells * ops.sum(ops.square(gradient), axis=(1, 2, 3)) + 1e-12)
    return ops.square(slope - 1.0)
