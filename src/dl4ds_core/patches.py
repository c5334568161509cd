"""Patches of training samples, and flips and quarter turns: drawn anew in each epoch, the same on any rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dl4ds_core.errors import ConfigError

#: Sets the draws of a sample apart from those of the order of an epoch, which has the same seed.
_STREAM = 1
#: Axes of Y and X: all arrays end in (Y, X, channel).
_Y, _X = -3, -2


@dataclass(frozen=True, eq=False)
class Cut:
    """Parts of samples that belong together.

    Attributes
    ----------
    coarse : numpy.ndarray
        Shape (sample, [window,] Y, X, channel), with the context around the patch.
    fine : numpy.ndarray
        Shape (sample, Y, X, predictand).
    mask : numpy.ndarray or None
        In the shape of ``fine``.
    static : numpy.ndarray or None
        Shape (sample, Y, X, field).
    area : numpy.ndarray
        Shape (sample, Y, X, 1).
    """

    coarse: np.ndarray
    fine: np.ndarray
    mask: np.ndarray | None
    static: np.ndarray | None
    area: np.ndarray


@dataclass(frozen=True)
class _Draw:
    """What happens to one sample: first coarse cells of its patch along Y and X, then flips, then quarter turns."""

    row: int
    column: int
    flip_y: bool
    flip_x: bool
    turns: int


@dataclass(frozen=True, eq=False)
class Cutting:
    """How training samples are cut and turned.

    Patches are drawn evenly from all places where one lies wholly in the domain and begins with a coarse cell. Flips
    are made for half of the samples, and each number of quarter turns, 0 to 3, for a quarter. Values are moved, but not
    changed: components of vectors, such as eastward wind, aren't turned into each other, so don't flip or rotate where
    these are among the inputs or the predictands.

    Attributes
    ----------
    seed : int
        Of the draws.
    scale : int
        Fine cells per coarse cell, along each axis.
    context : int
        Coarse cells around the domain, and around each patch.
    area : numpy.ndarray
        Relative areas of the fine cells of the domain, shape (Y, X, 1).
    static : numpy.ndarray or None
        Static fields of the domain, shape (1, Y, X, field).
    patch_size : int or None
        Fine cells of a patch along each axis; None: the whole domain.
    augment : sequence of str
        Some of ``flip-y``, ``flip-x``, ``rotate``.

    Raises
    ------
    ConfigError
        If the patch is no multiple of ``scale``, doesn't fit into the domain, or a domain to be rotated isn't square.
    """

    seed: int
    scale: int
    context: int
    area: np.ndarray
    static: np.ndarray | None = None
    patch_size: int | None = None
    augment: Sequence[str] = ()

    def __post_init__(self) -> None:
        height, width = self._domain
        if self.patch_size is None:
            if "rotate" in self.augment and height != width:
                raise ConfigError(
                    f"training.augment: `rotate` needs as many cells along Y as along X, found {height} x {width}; set "
                    "`training.patch_size`, choose a square domain, or leave `rotate` out"
                )
            return
        if self.patch_size % self.scale:
            raise ConfigError(
                f"training.patch_size: expected a multiple of `data.scale`, {self.scale}, found {self.patch_size}"
            )
        if self.patch_size > min(height, width):
            raise ConfigError(
                f"training.patch_size: a patch of {self.patch_size} x {self.patch_size} fine cells is larger than the "
                f"domain, {height} x {width}; choose {min(height, width)} or less, or leave it out"
            )

    @property
    def _domain(self) -> tuple[int, int]:
        height, width = self.area.shape[:2]
        return height, width

    @property
    def _cells(self) -> tuple[int, int]:
        """Coarse cells of a patch along Y and X, without context."""
        height, width = self._domain if self.patch_size is None else (self.patch_size, self.patch_size)
        return height // self.scale, width // self.scale

    def cut(
        self, indices: np.ndarray, epoch: int, coarse: np.ndarray, fine: np.ndarray, mask: np.ndarray | None
    ) -> Cut:
        """Cut and turn some samples.

        What is drawn for a sample depends on the seed, the epoch and the number of the sample alone: not on the rank,
        on how many there are, or on the other samples.

        Parameters
        ----------
        indices : numpy.ndarray
            Numbers of the samples, shape (sample,).
        epoch : int
            Counted from zero.
        coarse, fine, mask : numpy.ndarray
            As of ``Samples.take(indices)``.
        """
        draws = [self._draw(int(index), epoch) for index in indices]
        return Cut(
            self._parts(coarse, draws, coarse=True),
            self._parts(fine, draws),
            None if mask is None else self._parts(mask, draws),
            None if self.static is None else self._parts([self.static[0]] * len(draws), draws),
            self._parts([self.area] * len(draws), draws),
        )

    def _draw(self, index: int, epoch: int) -> _Draw:
        random = np.random.default_rng([self.seed, epoch, index, _STREAM])
        room = [size // self.scale - cells + 1 for size, cells in zip(self._domain, self._cells, strict=True)]
        # All are drawn whether they are wanted or not: so patches stay the same when `augment` is changed.
        row, column = (int(random.integers(places)) for places in room)
        flip_y, flip_x = (bool(flip) for flip in random.integers(2, size=2))
        turns = int(random.integers(4))
        wanted = self.augment
        return _Draw(
            row,
            column,
            flip_y and "flip-y" in wanted,
            flip_x and "flip-x" in wanted,
            turns if "rotate" in wanted else 0,
        )

    def _parts(
        self, fields: Sequence[np.ndarray] | np.ndarray, draws: Sequence[_Draw], *, coarse: bool = False
    ) -> np.ndarray:
        """Return parts of fields of shape (..., Y, X, channel), one per draw; those of coarse ones with the context."""
        factor, extra = (1, 2 * self.context) if coarse else (self.scale, 0)
        height, width = (cells * factor + extra for cells in self._cells)
        parts = []
        for field, draw in zip(fields, draws, strict=True):
            row, column = draw.row * factor, draw.column * factor
            parts.append(_turned(field[..., row : row + height, column : column + width, :], draw))
        return np.stack(parts)


def _turned(field: np.ndarray, draw: _Draw) -> np.ndarray:
    flipped = [axis for axis, wanted in ((_Y, draw.flip_y), (_X, draw.flip_x)) if wanted]
    return np.rot90(np.flip(field, flipped), draw.turns, axes=(_Y, _X))
