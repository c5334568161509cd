"""The state of a training: what is saved comes back, what does not fit is refused."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from dl4ds_core.errors import TrainingError
from dl4ds_core.training import checkpoints, standing
from dl4ds_core.training.checkpoints import NAME, Progress

pytestmark = pytest.mark.usefixtures("keras_reset")
PROGRESS = Progress(
    epoch=7,
    step=3,
    total=1e-17 + 2 / 3,
    count=21.0,
    terms={"pixel_loss": 2 / 7},
    seconds=0.7,
    best_epoch=5,
    best=0.1 + 0.2,
    history=[{"epoch": 1, "loss": 1 / 3, "seconds": 0.1}],
)


def state_of(units: int = 3) -> tuple[keras.Model, list]:
    """A small network that has been trained a little, and all its variables with those of the optimiser."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(units)(inputs))
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    for step in range(3):
        optimizer.apply(
            [np.full(v.shape, step + 1.0, np.float32) for v in model.trainable_variables], model.trainable_variables
        )
    return model, [*model.variables, *optimizer.variables]


def values_of(state: list) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in state]


@pytest.fixture
def saved(tmp_path):
    """A folder with a checkpoint, and what is in it."""
    model, state = state_of()
    best = [variable.numpy() * 2 for variable in model.variables]
    checkpoints.save(tmp_path / "checkpoints", "me", PROGRESS, state, best)
    return tmp_path / "checkpoints", values_of(state), best


def test_epochs_without_gain():
    """A gain counts from the last one that counted, so that many small ones add up to one."""
    progress = Progress()
    found = []
    for score in (2.0, 1.9, 1.7, float("nan"), 1.65):
        progress.end_epoch({"validation_mae": score})
        found.append([progress.epochs_without_gain("validation_mae", delta) for delta in (0.0, 0.25)])
    assert found == [[0, 0], [0, 1], [0, 0], [1, 1], [0, 2]]
    assert Progress().epochs_without_gain("validation_mae", 0.0) == 0


def test_round_trip_bit_by_bit(saved):
    folder, expected, best = saved
    keras.utils.set_random_seed(99)
    _, state = state_of()
    for variable in state:
        variable.assign(np.zeros(variable.shape))
    restored = checkpoints.restore(folder, "me", state)
    assert restored is not None
    assert restored[0] == PROGRESS
    for found, wanted in zip([*values_of(state), *restored[1]], [*expected, *best], strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_the_steps_of_the_optimiser_come_back(saved):
    _, state = state_of()
    iterations = next(variable for variable in state if "iteration" in variable.path)
    iterations.assign(0)
    checkpoints.restore(saved[0], "me", state)
    assert int(iterations.numpy()) == 3


def test_before_the_first_epoch_there_is_no_best(tmp_path):
    _, state = state_of()
    checkpoints.save(tmp_path, "me", Progress(), state, [])
    assert checkpoints.restore(tmp_path, "me", state) == (Progress(best=float("inf")), [])


def test_more_than_ten_arrays_keep_their_order(tmp_path):
    _, state = state_of()
    best = [np.full(2, number) for number in range(25)]
    checkpoints.save(tmp_path, "me", PROGRESS, state, best)
    restored = checkpoints.restore(tmp_path, "me", state)
    assert restored is not None
    np.testing.assert_array_equal(np.stack(restored[1]), np.stack(best))


def test_nothing_to_resume(tmp_path):
    assert checkpoints.restore(tmp_path / "nowhere", "me", []) is None


def test_another_training_is_ignored_with_a_warning(saved, caplog):
    _, state = state_of()
    before = values_of(state)
    with caplog.at_level(logging.WARNING, logger="dl4ds_core"):
        assert checkpoints.restore(saved[0], "somebody else", state) is None
    assert "other settings or data; training starts anew" in caplog.text
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [truncated, flipped, lambda content: b"", lambda content: b"no archive at all"],
    ids=["truncated", "one byte", "empty", "text"],
)
def test_a_corrupted_checkpoint_is_refused(saved, spoil):
    path = saved[0] / NAME
    path.write_bytes(spoil(path.read_bytes()))
    _, state = state_of()
    with pytest.raises(TrainingError, match=r"state\.npz: the checkpoint can't be read .*delete it"):
        checkpoints.restore(saved[0], "me", state)


@pytest.mark.parametrize(
    "content", ["null", "{}", '{"identity": "me"}', '{"identity": "me", "progress": {"epochs": 1}}']
)
def test_an_archive_of_another_kind_is_refused(tmp_path, content):
    _, state = state_of()
    arrays = {f"state{number}": value for number, value in enumerate(values_of(state))}
    np.savez(tmp_path / NAME, note=np.array(content), **arrays)
    with pytest.raises(TrainingError, match="checkpoint"):
        checkpoints.restore(tmp_path, "me", state)


def renoted(folder, **values):
    """Change the note of a checkpoint; None removes an entry of the progress."""
    with np.load(folder / NAME) as stored:
        arrays = dict(stored)
    note = json.loads(str(arrays.pop("note")))
    note["progress"] = {name: value for name, value in (note["progress"] | values).items() if value is not None}
    np.savez(folder / NAME, note=np.array(json.dumps(note)), **arrays)


@pytest.mark.parametrize(
    "values",
    [
        {"step": None},
        {"history": None},
        {"steps": 3},
        {"epoch": 1.5},
        {"step": -1},
        {"step": True},
        {"total": "much"},
        {"history": {"epoch": 1}},
    ],
    ids=str,
)
def test_missing_unknown_or_wrong_entries_are_refused(saved, values):
    renoted(saved[0], **values)
    _, state = state_of()
    before = values_of(state)
    with pytest.raises(TrainingError, match=r"state\.npz: the checkpoint can't be read .*delete it"):
        checkpoints.restore(saved[0], "me", state)
    for value, variable in zip(before, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_other_code_may_have_other_entries(saved):
    """The code is part of the identity: what an earlier version wrote is as foreign as other settings."""
    renoted(saved[0], step=None, further=1)
    assert checkpoints.restore(saved[0], "somebody else", []) is None


@pytest.mark.parametrize("units", [2, 4])
def test_a_network_of_another_shape_is_refused(saved, units):
    _, state = state_of(units)
    with pytest.raises(TrainingError, match="doesn't fit the network; delete it"):
        checkpoints.restore(saved[0], "me", state)


def test_a_larger_network_is_refused(saved):
    _, state = state_of()
    with pytest.raises(TrainingError, match="doesn't fit"):
        checkpoints.restore(saved[0], "me", [*state, keras.Variable(np.zeros(3))])


def test_a_failed_save_keeps_the_checkpoint_before(saved, monkeypatch):
    def fail(*arguments: object, **more: object) -> None:
        raise OSError("no space left")

    before = (saved[0] / NAME).read_bytes()
    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save(saved[0], "me", PROGRESS, [], [])
    assert (saved[0] / NAME).read_bytes() == before
    assert [path.name for path in saved[0].iterdir()] == [NAME]


def test_a_checkpoint_is_on_the_disk_before_it_replaces_another(saved, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("flushed"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: done.append("renamed") or replace(path, target))
    checkpoints.save(saved[0], "me", PROGRESS, [], [])
    assert done == ["flushed", "renamed"]


def test_tidy_deletes_what_a_killed_job_left(saved):
    for name in (".state.abc.npz", ".standing.xyz.json", "notes.txt"):
        (saved[0] / name).touch()
    checkpoints.tidy(saved[0])
    assert sorted(path.name for path in saved[0].iterdir()) == ["notes.txt", NAME]


def test_remove(saved, tmp_path):
    (saved[0] / standing.NAME).touch()
    (saved[0] / ".state.abc.npz").touch()
    checkpoints.remove(saved[0])
    assert not saved[0].exists()
    checkpoints.remove(tmp_path / "nowhere")


def test_remove_leaves_what_is_not_its_own(saved):
    (saved[0] / "notes.txt").write_text("mine")
    checkpoints.remove(saved[0])
    assert [path.name for path in saved[0].iterdir()] == ["notes.txt"]
