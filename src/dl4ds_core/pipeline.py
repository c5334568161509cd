"""Samples for the networks: batches that are a pure function of (seed, epoch, step), shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.scaling import Scaler

#: Data sets up to this size are kept in memory; larger ones are read batch by batch.
CACHE_BYTES = 2_000_000_000


class Samples:
    """Scaled pairs of coarse and fine fields, read on demand.

    Parameters
    ----------
    coarse, fine : str or Path
        Files of one split.
    scalers : mapping
        As of ``dl4ds_core.scaling.fit_all``.
    cache_bytes : int
        Keep the fields in memory if they need no more than this.
    """

    def __init__(
        self, coarse: str | Path, fine: str | Path, scalers: Mapping[str, Scaler], cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._scalers = scalers
        self._fields = {"coarse": io.open_dataset(coarse), "fine": io.open_dataset(fine)}
        self.predictands = [str(name) for name in self._fields["fine"].data_vars]
        extra = [str(name) for name in self._fields["coarse"].data_vars if name not in self.predictands]
        self.channels = self.predictands + extra
        self._cached: tuple[np.ndarray, np.ndarray] | None = None
        if sum(dataset.nbytes for dataset in self._fields.values()) <= cache_bytes:
            self._cached = self.take(np.arange(len(self)))

    def __len__(self) -> int:
        return int(self._fields["fine"].sizes["time"])

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Coarse cells along latitude and longitude."""
        return self._fields["coarse"].sizes["lat"], self._fields["coarse"].sizes["lon"]

    @property
    def fine(self) -> xr.Dataset:
        """The fine fields, in physical units."""
        return self._fields["fine"]

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coarse and fine fields in normalised units, each (sample, lat, lon, channel), float32."""
        if self._cached is not None:
            return self._cached[0][indices], self._cached[1][indices]
        return self._stacked("coarse", self.channels, indices), self._stacked("fine", self.predictands, indices)

    def _stacked(self, grid: str, names: Sequence[str], indices: np.ndarray) -> np.ndarray:
        # Files are read in ascending order, each step once, then put in the order asked for.
        unique, order = np.unique(indices, return_inverse=True)
        chosen = self._fields[grid].isel(time=unique)
        return np.stack([self._scalers[f"{grid}.{name}"].apply(chosen[name].values) for name in names], axis=-1)[order]


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch.

    Attributes
    ----------
    coarse, fine : numpy.ndarray
        Shapes (part, lat, lon, channel); the same number of samples in every step and on every rank.
    weights : numpy.ndarray
        Shape (part,): one for a sample, zero for padding.
    """

    coarse: np.ndarray
    fine: np.ndarray
    weights: np.ndarray


def epoch_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the samples in an epoch: one permutation for all ranks."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def rank_parts(order: np.ndarray, batch_size: int, rank: int, ranks: int) -> list[np.ndarray]:
    """Share out batches over ranks.

    Every index of ``order`` is in one part of one rank exactly, whatever the number of ranks; the last batch may be
    smaller, and parts may be empty.

    Parameters
    ----------
    order : numpy.ndarray
        Shape (samples,).
    batch_size : int
        Of all ranks together.

    Returns
    -------
    list of numpy.ndarray
        This rank's indices, one array per step; the number of steps is the same on all ranks.
    """
    return [order[start : start + batch_size][rank::ranks] for start in range(0, len(order), batch_size)]


def batches(samples: Samples, order: np.ndarray, batch_size: int, rank: int, ranks: int) -> Iterator[Batch]:
    """Yield this rank's part of each batch, padded to one size so that a compiled step fits all of them."""
    size = -(-batch_size // ranks)
    for part in rank_parts(order, batch_size, rank, ranks):
        weights = np.zeros(size, dtype=np.float32)
        weights[: len(part)] = 1.0
        padded = np.zeros(size, dtype=np.int64)
        padded[: len(part)] = part
        coarse, fine = samples.take(padded)
        yield Batch(coarse, fine, weights)


def static_input(path: str | Path | None, scalers: Mapping[str, Scaler]) -> np.ndarray | None:
    """Return static fields in normalised units, shape (1, lat, lon, field), or None where there are none."""
    if path is None:
        return None
    with io.open_dataset(path) as dataset:
        fields = [scalers[f"static.{name}"].apply(dataset[name].values) for name in dataset.data_vars]
    return np.stack(fields, axis=-1)[None]
