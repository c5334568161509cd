"""Patches and turns: parts that belong together, drawn anew in each epoch, the same on any rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dl4ds_core.errors import ConfigError
from dl4ds_core.patches import Cutting
from dl4ds_core.pipeline import Batch, batches, epoch_order

SCALE, CONTEXT, SAMPLES = 4, 1, 23
ROWS, COLUMNS = 24, 36
ALL = ("flip-y", "flip-x", "rotate")
INDICES = np.arange(SAMPLES)


def coarsened(fine: np.ndarray) -> np.ndarray:
    """Means of blocks of fields (..., Y, X, channel)."""
    *before, rows, columns, channels = fine.shape
    return fine.reshape(*before, rows // SCALE, SCALE, columns // SCALE, SCALE, channels).mean(axis=(-4, -2))


class Fields:
    """Stands for samples: random fields, whose second predictand is the number of the sample."""

    def __init__(self, rows: int = ROWS, columns: int = COLUMNS, window: int | None = None) -> None:
        random, edge = np.random.default_rng(1), CONTEXT * SCALE
        steps = () if window is None else (window,)
        larger = random.normal(size=(SAMPLES, *steps, rows + 2 * edge, columns + 2 * edge, 2))
        larger[..., 1] = np.arange(SAMPLES).reshape(-1, *[1] * (larger.ndim - 2))
        self.coarse = coarsened(larger)
        self.fine = (larger if window is None else larger[:, -1])[:, edge:-edge, edge:-edge]
        self.mask = (random.uniform(size=self.fine.shape) < 0.8).astype(np.float32)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.coarse[indices], self.fine[indices], self.mask[indices]


def cutting(patch_size: int | None = 12, rows: int = ROWS, columns: int = COLUMNS, **arguments: Any) -> Cutting:
    """Static fields say which cell each is: its row and its column; areas are different for each."""
    static = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)[None]
    area = np.random.default_rng(2).uniform(0.5, 1.5, size=(rows, columns, 1))
    arguments = {"seed": 1, "scale": SCALE, "context": CONTEXT, "area": area, "static": static} | arguments
    return Cutting(patch_size=patch_size, **arguments)


def places(cut: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that the cells of cut samples come from, shape (sample, Y, X)."""
    return cut.static[..., 0], cut.static[..., 1]


AUGMENTATIONS = [(), ("flip-y",), ("flip-x",), ("rotate",), ALL]


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids="+".join)
@pytest.mark.parametrize("patch_size", [4, 12, 24])
@pytest.mark.parametrize("window", [None, 3])
def test_all_fields_are_cut_and_turned_alike(augment: tuple[str, ...], patch_size: int, window: int | None) -> None:
    fields, how = Fields(window=window), cutting(patch_size, augment=augment)
    cut = how.cut(INDICES, 5, *fields.take(INDICES))
    rows, columns = places(cut)
    assert rows.shape == (SAMPLES, patch_size, patch_size)
    for number in INDICES:
        cells = rows[number], columns[number]
        np.testing.assert_array_equal(cut.fine[number], fields.fine[number][cells])
        np.testing.assert_array_equal(cut.mask[number], fields.mask[number][cells])
        np.testing.assert_array_equal(cut.area[number], how.area[cells])
    inner = cut.coarse[..., CONTEXT:-CONTEXT, CONTEXT:-CONTEXT, :]
    np.testing.assert_allclose(inner if window is None else inner[:, -1], coarsened(cut.fine), rtol=1e-12)


@pytest.mark.parametrize("augment", [(), ALL], ids="+".join)
def test_the_coarse_patch_has_its_surroundings(augment: tuple[str, ...]) -> None:
    fields = Fields()
    cut = cutting(12, augment=augment).cut(INDICES, 0, *fields.take(INDICES))
    assert cut.coarse.shape == (SAMPLES, 5, 5, 2)
    for number in INDICES:
        # Coarse fields begin with the context: so what surrounds the patch begins where the patch does.
        row, column = (int(place[number].min()) // SCALE for place in places(cut))
        whole = fields.coarse[number, row : row + 5, column : column + 5]
        turned = [np.rot90(part, turns) for part in (whole, whole[::-1]) for turns in range(4)]
        assert [np.array_equal(cut.coarse[number], part) for part in turned[: 8 if augment else 1]].count(True) == 1


def test_without_turns_patches_are_slices_that_begin_with_a_coarse_cell() -> None:
    rows, columns = places(cutting(12).cut(INDICES, 0, *Fields().take(INDICES)))
    for place, other in ((rows, columns), (columns.swapaxes(1, 2), rows.swapaxes(1, 2))):
        assert not (place[:, 0] % SCALE).any()
        np.testing.assert_array_equal(np.diff(place, axis=1), 1)
        np.testing.assert_array_equal(np.diff(other, axis=1), 0)


def test_windows_are_cut_alike_in_all_steps() -> None:
    fields, how = Fields(window=3), cutting(augment=ALL)
    cut = how.cut(INDICES, 1, *fields.take(INDICES))
    for step in range(3):
        single = how.cut(INDICES, 1, fields.coarse[:, step], fields.fine, None)
        np.testing.assert_array_equal(cut.coarse[:, step], single.coarse)
        assert single.mask is None


def test_the_whole_domain_can_be_turned() -> None:
    fields = Fields()
    cut = cutting(None, augment=("flip-y", "flip-x")).cut(INDICES, 0, *fields.take(INDICES))
    for number in INDICES:
        field = fields.fine[number]
        choices = (field, field[::-1], field[:, ::-1], field[::-1, ::-1])
        assert sum(np.array_equal(cut.fine[number], choice) for choice in choices) == 1
    square = cutting(None, 24, 24, augment=ALL).cut(INDICES, 0, *Fields(24, 24).take(INDICES))
    assert square.fine.shape == (SAMPLES, 24, 24, 2)
    assert len({tuple(place[:2, 0]) + tuple(place[0, :2]) for place in places(square)[0]}) == 4


@pytest.mark.parametrize(
    ("augment", "directions"),
    [((), 1), (("flip-y",), 2), (("flip-y", "flip-x"), 4), (("rotate",), 4), (ALL, 8)],
    ids=str,
)
def test_all_places_and_directions_are_as_likely(augment: tuple[str, ...], directions: int) -> None:
    many = 6000
    coarse, fine = (np.broadcast_to(0.0, (many, *shape, 1)) for shape in ((8, 11), (ROWS, COLUMNS)))
    cut = cutting(16, augment=augment).cut(np.arange(many), 0, coarse, fine, None)
    corners = np.stack([cut.static[:, 0, 0], cut.static[:, -1, 0], cut.static[:, 0, -1]], axis=1)
    for values, expected in (
        (cut.static.min(axis=(1, 2)), 3 * 6),  # coarse cells along Y and X at which a patch may begin
        ((corners - corners[:, :1]).reshape(many, -1), directions),
    ):
        _, counts = np.unique(values, axis=0, return_counts=True)
        assert len(counts) == expected
        assert np.abs(counts - many / expected).max() <= 4.5 * np.sqrt(many / expected)


def test_epochs_and_seeds_have_draws_of_their_own() -> None:
    fields = Fields().take(INDICES)
    found = {
        cutting(augment=ALL, seed=seed).cut(INDICES, epoch, *fields).fine.tobytes()
        for seed in (1, 2)
        for epoch in range(4)
    }
    assert len(found) == 8


def test_patches_stay_the_same_when_turns_are_added() -> None:
    fields = Fields().take(INDICES)
    plain, turned = (places(cutting(augment=augment).cut(INDICES, 3, *fields)) for augment in ((), ALL))
    for one, other in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(one.min(axis=(1, 2)), other.min(axis=(1, 2)))
    assert not np.array_equal(plain[0], turned[0])


def epoch_of(epoch: int, ranks: int, first_step: int = 0) -> list[dict[int, Batch]]:
    """The samples of each step of an epoch, by their number, from all ranks."""
    order = epoch_order(SAMPLES, 1, epoch)[first_step * 6 :]
    steps: list[dict[int, Batch]] = [{} for _ in range(-(-len(order) // 6))]
    for rank in range(ranks):
        made = batches(Fields(), order, 6, rank, ranks, cutting(augment=ALL), epoch)
        for step, batch in enumerate(made):
            for number in np.flatnonzero(batch.weights):
                parts = (batch.coarse, batch.fine, batch.mask, batch.static, batch.area)
                single = Batch(*[part[number] for part in parts], batch.weights[number], number)
                steps[step][int(single.fine[0, 0, 1])] = single
    return steps


def assert_same(one: list[dict[int, Batch]], other: list[dict[int, Batch]]) -> None:
    assert [set(step) for step in one] == [set(step) for step in other]
    for step, same in zip(one, other, strict=True):
        for number, batch in step.items():
            for part in ("coarse", "fine", "mask", "static", "area"):
                np.testing.assert_array_equal(getattr(batch, part), getattr(same[number], part))


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_has_the_same_patches(ranks: int) -> None:
    alone = epoch_of(4, 1)
    assert sorted(number for step in alone for number in step) == list(range(SAMPLES))
    assert_same(alone, epoch_of(4, ranks))


def test_an_epoch_that_is_resumed_goes_on_with_the_same_patches() -> None:
    assert_same(epoch_of(2, 1)[2:], epoch_of(2, 2, first_step=2))


def test_batches_without_cutting_have_the_whole_domain() -> None:
    (batch,) = batches(Fields(), np.array([3, 1]), 2, 0, 1)
    assert batch.static is batch.area is None
    np.testing.assert_array_equal(batch.fine, Fields().fine[[3, 1]])


def test_without_static_fields_there_are_none() -> None:
    cut = cutting(static=None).cut(INDICES, 0, *Fields().take(INDICES))
    assert cut.static is None
    assert cut.area.shape == (SAMPLES, 12, 12, 1)


@pytest.mark.parametrize(
    ("patch_size", "augment", "message"),
    [
        (28, (), r"a patch of 28 x 28 fine cells is larger than the domain, 24 x 36; choose 24 or less"),
        (10, (), r"training\.patch_size: expected a multiple of `data\.scale`, 4, found 10"),
        (None, ("flip-x", "rotate"), r"training\.augment: `rotate` needs as many cells .* found 24 x 36; set"),
    ],
)
def test_what_does_not_fit_is_refused(patch_size: int | None, augment: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cutting(patch_size, augment=augment)
