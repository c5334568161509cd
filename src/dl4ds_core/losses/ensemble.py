"""Losses of several predictions of each sample, drawn by a network that takes noise."""

from __future__ import annotations

from typing import Any

from keras import ops

from dl4ds_core.losses.cells import error_where_valid


def fair_crps(truth: Any, members: Any, weights: Any) -> Any:
    r"""Continuous ranked probability score of an ensemble, as of one without end.

    .. math::
        \frac{1}{m} \sum_i |x_i - y| - \frac{1}{2 m (m - 1)} \sum_{i, j} |x_i - x_j|

    Parameters
    ----------
    truth : tensor
        (batch, height, width, channels) in normalised units.
    members : tensor
        (member, batch, height, width, channels), two members or more.
    weights : tensor
        See `cells`.

    Returns
    -------
    tensor
        Mean of weights times score for each sample, (batch,).

    Raises
    ------
    ValueError
        With less than two members.

    References
    ----------
    Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. doi:10.1002/qj.2270
    Lang, S. et al. (2024). AIFS-CRPS: ensemble forecasting using a model trained with a loss function based on the
    continuous ranked probability score. doi:10.48550/arXiv.2412.15832
    """
    count = members.shape[0]
    if count is None or count < 2:
        raise ValueError(f"expected two members or more, found {count}")
    errors = [error_where_valid(truth, member, weights) for member in ops.unstack(members, axis=0)]
    accuracy = sum(ops.abs(error) for error in errors) / count
    # A difference of errors is one of members, and zero where the truth is missing.
    pairs = [ops.abs(errors[i] - errors[j]) for i in range(count) for j in range(i)]
    spread = sum(pairs) / (count * (count - 1))
    return ops.mean((accuracy - spread) * weights, axis=(1, 2, 3))
