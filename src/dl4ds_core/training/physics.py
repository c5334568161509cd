"""What the constraints of a network must know of the fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from dl4ds_core import io
from dl4ds_core.config import ModelSettings
from dl4ds_core.layers import DistributionParameters
from dl4ds_core.layers.constraints import LOWEST
from dl4ds_core.pipeline import Samples
from dl4ds_core.scaling import Scaler


def constraints_of(
    settings: ModelSettings, predictands: Sequence[str], scalers: Mapping[str, Scaler]
) -> list[tuple[str, str]]:
    """Return constraint and transform of each predictand, in their order; nothing where there are no constraints."""
    wanted = settings.network.constraints
    if not wanted:
        return []
    return [(wanted.get(name, "none"), scalers[f"fine.{name}"].transform) for name in predictands]


def set_physics(
    network: keras.Model,
    constraints: Mapping[str, str],
    samples: Samples,
    scalers: Mapping[str, Scaler],
    area: np.ndarray,
    valid: str | Path,
) -> None:
    """Give the constraints of a network areas, valid cells and scalings; networks without any are left alone.

    Parameters
    ----------
    constraints : mapping
        By predictand.
    area : numpy.ndarray
        Areas of the fine cells, shape (Y, X, 1).
    valid : str or Path
        File of the cells with truth in the training period: predictions elsewhere are not written, and do not count.
    """
    names, layers = samples.predictands, {layer.name: layer for layer in network.layers}
    if "floor" in layers:
        # Zero stays zero under every transform.
        zeros = [-scalers[f"fine.{name}"].offset / scalers[f"fine.{name}"].factor for name in names]
        wanted = [constraints.get(name) == "non-negative" for name in names]
        layers["floor"].floors.assign(np.where(wanted, zeros, LOWEST))
    if "constraints" not in layers:
        return
    cells = known_cells(valid, names)

    def scaling(grid: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        fitted = [scalers[f"{grid}.{name}"] for name in names]
        offset, factor = (
            np.stack([np.broadcast_to(getattr(scaler, part), shape) for scaler in fitted], axis=-1)
            for part in ("offset", "factor")
        )
        return offset, factor

    layers["constraints"].set_physics(
        cell_weights=np.where(cells, area, 0.0),
        fine=scaling("fine", samples.fine_shape),
        coarse=scaling("coarse", samples.coarse_shape),
    )


def known_cells(valid: str | Path, predictands: Sequence[str]) -> np.ndarray:
    """Return the cells with truth in the training period, from the file that says so, (Y, X, predictand)."""
    with io.open_dataset(valid) as known:
        return np.stack([known[name].values > 0 for name in predictands], axis=-1)


def zeros_of(predictands: Sequence[str], scalers: Mapping[str, Scaler]) -> np.ndarray:
    """Return what zero is of each predictand in normalised units, (predictand,): zero stays zero in every transform.

    Raises
    ------
    ValueError
        If a scaler has numbers of its own for each cell.
    """
    fitted = [scalers[f"fine.{name}"] for name in predictands]
    return np.array([-np.asarray(scaler.offset).item() / np.asarray(scaler.factor).item() for scaler in fitted])


def set_zeros(network: keras.Model, predictands: Sequence[str], scalers: Mapping[str, Scaler]) -> None:
    """Give the distribution of a network what zero is, if it has to know it."""
    layer = next((layer for layer in network.layers if isinstance(layer, DistributionParameters)), None)
    if layer is not None and layer.kind == "bernoulli-gamma":
        layer.set_zeros(zeros_of(predictands, scalers))
