"""Samples for the networks: batches that are a pure function of (seed, epoch, step), shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.channels import (
    channel_names,
    field_names,
    filled,
    normalised_channel,
    origin,
    require_no_infinity,
)
from dl4ds_core.errors import TrainingError
from dl4ds_core.patches import Cutting
from dl4ds_core.scaling import Scaler
from dl4ds_core.time import calendar_channels, windows

#: Data sets up to this size are kept in memory; larger ones are read batch by batch.
CACHE_BYTES = 2_000_000_000

#: Coarse and fine fields and, where truth is missing, where it is valid.
Fields = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Samples:
    """Scaled pairs of coarse and fine fields, read on demand; one for each time step of the files.

    Parameters
    ----------
    coarse, fine : str or Path
        Files of one split.
    scalers : mapping
        As of ``dl4ds_core.scaling.fit_all``.
    calendar : sequence of str
        Channels to add, as in ``models.<name>.calendar``.
    window : int, optional
        Coarse time steps of a sample, as of ``dl4ds_core.time.windows``; by default it has the one of the fine field,
        and no axis for it.
    cache_bytes : int
        Keep the fields in memory if they need no more than this.

    Attributes
    ----------
    predictands : list of str
        The fields of the fine file: what networks give.
    channels : list of str
        What networks take: the fields of the coarse file, predictands first, in the order of ``predictands``; then
        the channels of the calendar.
    base : list of int or None
        Number of the channel that is the coarse field of each predictand; None where one of them has none.
    """

    def __init__(
        self,
        coarse: str | Path,
        fine: str | Path,
        scalers: Mapping[str, Scaler],
        *,
        calendar: Sequence[str] = (),
        window: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._scalers = scalers
        self._fields = {"coarse": io.open_dataset(coarse), "fine": io.open_dataset(fine)}
        self.predictands = field_names(self._fields["fine"])
        self.channels = channel_names(self._fields["coarse"], self.predictands) + calendar_channels(calendar)
        paired = all(name in self.channels for name in self.predictands)
        self.base = [self.channels.index(name) for name in self.predictands] if paired else None
        # Steps of a sample: (sample,), or (sample, step) with windows.
        steps = np.arange(len(self))
        self._steps = steps if window is None else windows(self._fields["coarse"]["time"], window)
        self._cached: Fields | None = None
        if sum(dataset.nbytes for dataset in self._fields.values()) <= cache_bytes:
            self._cached = self._read(steps, steps)

    def __len__(self) -> int:
        return int(self._fields["fine"].sizes["time"])

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Coarse cells along Y and X, those of the context included."""
        return _shape(self._fields["coarse"])

    @property
    def fine_shape(self) -> tuple[int, int]:
        """Fine cells along Y and X."""
        return _shape(self._fields["fine"])

    @property
    def fine(self) -> xr.Dataset:
        """The fine fields, in physical units."""
        return self._fields["fine"]

    @property
    def attributes(self) -> dict[str, dict[str, str]]:
        """What each field says of itself, by name; predictands as on the fine grid."""
        kept = ("units", "long_name", "standard_name")
        given = {name: {"units": "1"} for name in self.channels}  # of the calendar, which are no fields
        given |= {name: self._fields["coarse"][name].attrs for name in field_names(self._fields["coarse"])}
        given |= {name: self.fine[name].attrs for name in self.predictands}
        return {name: {key: attrs[key] for key in kept if key in attrs} for name, attrs in given.items()}

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
        coarse : numpy.ndarray
            Shape (sample, Y, X, channel), or (sample, window, Y, X, channel), float32. Missing cells are filled from
            the nearest ones.
        fine : numpy.ndarray
            Shape (sample, Y, X, predictand), float32, at the last step of each window. Missing cells are zero.
        mask : numpy.ndarray or None
            One where the fine field is valid, else zero, in the shape of ``fine``, float32; None where all of it is.

        Raises
        ------
        TrainingError
            If a value is infinite.
        """
        if self._cached is None:
            coarse, fine, valid = self._read(self._steps[indices], indices)
        else:
            coarse, fine, valid = self._cached
            coarse, fine = coarse[self._steps[indices]], fine[indices]
            valid = None if valid is None else valid[indices]
        return coarse, fine, None if valid is None else valid.astype(np.float32)

    def _read(self, coarse_steps: np.ndarray, fine_steps: np.ndarray) -> Fields:
        coarse = self._stacked("coarse", self.channels, coarse_steps)
        fine = self._stacked("fine", self.predictands, fine_steps)
        valid = ~np.isnan(fine)
        if valid.all():
            return coarse, fine, None
        fine[~valid] = 0.0
        return coarse, fine, valid

    def _stacked(self, grid: str, names: Sequence[str], steps: np.ndarray) -> np.ndarray:
        # Files are read in ascending order, each step once, then put in the order asked for.
        unique, order = np.unique(steps, return_inverse=True)
        chosen = self._fields[grid].isel(time=unique)
        return np.stack([self._scaled(grid, chosen, name) for name in names], axis=-1)[order.reshape(steps.shape)]

    def _scaled(self, grid: str, chosen: xr.Dataset, name: str) -> np.ndarray:
        if grid == "coarse":
            return normalised_channel(chosen, name, self._scalers)
        values = chosen[name].values
        require_no_infinity(chosen[name], values)
        return self._scalers[f"fine.{name}"].apply(values)


def _shape(dataset: xr.Dataset) -> tuple[int, int]:
    height, width = dataset[field_names(dataset)[0]].shape[-2:]
    return height, width


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch.

    Attributes
    ----------
    coarse : numpy.ndarray
        Shape (part, Y, X, channel), or (part, window, Y, X, channel); the same number of samples in every step and on
        every rank.
    fine : numpy.ndarray
        Shape (part, Y, X, predictand).
    mask : numpy.ndarray or None
        One where the fine field is valid, else zero, in the shape of ``fine``; None where all of it is.
    static : numpy.ndarray or None
        Static fields of cut or turned samples, shape (part, Y, X, field); None: none, or those of the whole domain.
    area : numpy.ndarray or None
        Relative areas of the cells of cut or turned samples, shape (part, Y, X, 1); None: those of the whole domain.
    weights : numpy.ndarray
        Shape (part,): one for a sample, zero for padding.
    indices : numpy.ndarray
        Numbers of the samples, shape (part,); zero for padding.
    """

    coarse: np.ndarray
    fine: np.ndarray
    mask: np.ndarray | None
    static: np.ndarray | None
    area: np.ndarray | None
    weights: np.ndarray
    indices: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray | None, ...]:
        """What a step of a training takes."""
        return self.coarse, self.fine, self.mask, self.static, self.area, self.weights


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


def batches(
    samples: Samples,
    order: np.ndarray,
    batch_size: int,
    rank: int,
    ranks: int,
    cutting: Cutting | None = None,
    epoch: int = 0,
) -> Iterator[Batch]:
    """Yield this rank's part of each batch, padded to one size so that a compiled step fits all of them.

    Parameters
    ----------
    samples : Samples
        Where the fields come from.
    order : numpy.ndarray
        Numbers of the samples of an epoch, or of what is left of it, shape (samples,).
    batch_size : int
        Of all ranks together.
    rank, ranks : int
        This rank and how many there are.
    cutting : Cutting, optional
        How samples are cut and turned; by default they aren't.
    epoch : int
        For what ``cutting`` draws.
    """
    size = -(-batch_size // ranks)
    for part in rank_parts(order, batch_size, rank, ranks):
        weights = np.zeros(size, dtype=np.float32)
        weights[: len(part)] = 1.0
        padded = np.zeros(size, dtype=np.int64)
        padded[: len(part)] = part
        coarse, fine, mask = samples.take(padded)
        if cutting is None:
            yield Batch(coarse, fine, mask, None, None, weights, padded)
        else:
            cut = cutting.cut(padded, epoch, coarse, fine, mask)
            yield Batch(cut.coarse, cut.fine, cut.mask, cut.static, cut.area, weights, padded)


def static_input(path: str | Path | None, scalers: Mapping[str, Scaler]) -> np.ndarray | None:
    """Return static fields in normalised units, shape (1, Y, X, field), or None where there are none.

    Missing cells are filled from the nearest ones.
    """
    if path is None:
        return None
    with io.open_dataset(path) as dataset:
        fields = [scalers[f"static.{name}"].apply(filled(dataset[name]).values) for name in field_names(dataset)]
    return np.stack(fields, axis=-1)[None]
