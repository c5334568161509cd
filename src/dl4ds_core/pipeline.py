"""Samples for the networks: batches that are a pure function of (seed, epoch, step), shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.channels import channel_names, field_names, filled, origin, require_no_infinity
from dl4ds_core.errors import TrainingError
from dl4ds_core.scaling import Scaler

#: Data sets up to this size are kept in memory; larger ones are read batch by batch.
CACHE_BYTES = 2_000_000_000

#: Coarse and fine fields and, where truth is missing, where it is valid.
Fields = tuple[np.ndarray, np.ndarray, np.ndarray | None]


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

    Attributes
    ----------
    predictands : list of str
        The fields of the fine file: what networks give.
    channels : list of str
        The fields of the coarse file: what networks take; coarse predictands first, in the order of ``predictands``.
    base : list of int or None
        Number of the channel that is the coarse field of each predictand; None where one of them has none.
    """

    def __init__(
        self, coarse: str | Path, fine: str | Path, scalers: Mapping[str, Scaler], cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._scalers = scalers
        self._fields = {"coarse": io.open_dataset(coarse), "fine": io.open_dataset(fine)}
        self.predictands = field_names(self._fields["fine"])
        self.channels = channel_names(self._fields["coarse"], self.predictands)
        paired = all(name in self.channels for name in self.predictands)
        self.base = [self.channels.index(name) for name in self.predictands] if paired else None
        self._cached: Fields | None = None
        if sum(dataset.nbytes for dataset in self._fields.values()) <= cache_bytes:
            self._cached = self._read(np.arange(len(self)))

    def __len__(self) -> int:
        return int(self._fields["fine"].sizes["time"])

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Coarse cells along Y and X, those of the context included."""
        return _shape(self._fields["coarse"], self.channels)

    @property
    def fine_shape(self) -> tuple[int, int]:
        """Fine cells along Y and X."""
        return _shape(self._fields["fine"], self.predictands)

    @property
    def fine(self) -> xr.Dataset:
        """The fine fields, in physical units."""
        return self._fields["fine"]

    @property
    def attributes(self) -> dict[str, dict[str, str]]:
        """What each field says of itself, by name; predictands as on the fine grid."""
        kept = ("units", "long_name", "standard_name")
        fields = [self._fields["coarse"][name] for name in self.channels] + [self.fine[n] for n in self.predictands]
        return {str(field.name): {key: field.attrs[key] for key in kept if key in field.attrs} for field in fields}

    def require_shapes(self, scale: int, context: int) -> None:
        """Check that the two grids belong together.

        Raises
        ------
        TrainingError
            If they don't.
        """
        expected = tuple((size - 2 * context) * scale for size in self.coarse_shape)
        if expected != self.fine_shape:
            raise TrainingError(
                f"{origin(self.fine[self.predictands[0]])}: expected {expected[0]} x {expected[1]} cells, as coarse.nc "
                f"has {self.coarse_shape[0]} x {self.coarse_shape[1]} with data.scale: {scale} and data.context: "
                f"{context}, found {self.fine_shape[0]} x {self.fine_shape[1]}; make the samples anew"
            )

    def take(self, indices: np.ndarray) -> Fields:
        """Return some samples in normalised units.

        Returns
        -------
        coarse, fine : numpy.ndarray
            Shape (sample, Y, X, channel), float32. Missing coarse cells are filled from the nearest ones; missing
            fine cells are zero.
        mask : numpy.ndarray or None
            One where the fine field is valid, else zero, in the shape of ``fine``, float32; None where all of it is.

        Raises
        ------
        TrainingError
            If a value is infinite.
        """
        if self._cached is None:
            coarse, fine, valid = self._read(indices)
        else:
            coarse, fine, valid = self._cached
            coarse, fine, valid = coarse[indices], fine[indices], None if valid is None else valid[indices]
        return coarse, fine, None if valid is None else valid.astype(np.float32)

    def _read(self, indices: np.ndarray) -> Fields:
        coarse = self._stacked("coarse", self.channels, indices)
        fine = self._stacked("fine", self.predictands, indices)
        valid = ~np.isnan(fine)
        if valid.all():
            return coarse, fine, None
        fine[~valid] = 0.0
        return coarse, fine, valid

    def _stacked(self, grid: str, names: Sequence[str], indices: np.ndarray) -> np.ndarray:
        # Files are read in ascending order, each step once, then put in the order asked for.
        unique, order = np.unique(indices, return_inverse=True)
        chosen = self._fields[grid].isel(time=unique)
        return np.stack([self._scaled(grid, chosen[name]) for name in names], axis=-1)[order]

    def _scaled(self, grid: str, field: xr.DataArray) -> np.ndarray:
        scaler = self._scalers[f"{grid}.{field.name}"]
        if grid == "coarse":
            return scaler.apply(filled(field).values)
        values = field.values
        require_no_infinity(field, values)
        return scaler.apply(values)


def _shape(dataset: xr.Dataset, names: Sequence[str]) -> tuple[int, int]:
    height, width = dataset[names[0]].shape[-2:]
    return height, width


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch.

    Attributes
    ----------
    coarse, fine : numpy.ndarray
        Shapes (part, Y, X, channel); the same number of samples in every step and on every rank.
    mask : numpy.ndarray or None
        One where the fine field is valid, else zero, in the shape of ``fine``; None where all of it is.
    weights : numpy.ndarray
        Shape (part,): one for a sample, zero for padding.
    """

    coarse: np.ndarray
    fine: np.ndarray
    mask: np.ndarray | None
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
        yield Batch(*samples.take(padded), weights)


def static_input(path: str | Path | None, scalers: Mapping[str, Scaler]) -> np.ndarray | None:
    """Return static fields in normalised units, shape (1, Y, X, field), or None where there are none.

    Missing cells are filled from the nearest ones.
    """
    if path is None:
        return None
    with io.open_dataset(path) as dataset:
        fields = [scalers[f"static.{name}"].apply(filled(dataset[name]).values) for name in field_names(dataset)]
    return np.stack(fields, axis=-1)[None]
