"""The state of a training under way: written now and then, so that a rerun goes on where it stood."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dl4ds_core.errors import TrainingError
from dl4ds_core.files import atomic
from dl4ds_core.training import standing

logger = logging.getLogger(__name__)

NAME = "state.npz"


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    epoch : int
        Epochs done.
    step : int
        Steps done in the epoch under way.
    total, count : float
        Sums over these steps: the loss, and the samples.
    terms : dict of float
        Sums over these steps of further losses and scores, by their columns in the history.
    seconds : float
        Time these steps took, in this job and earlier ones.
    best_epoch : int
        Epoch whose weights are kept: that of the lowest score of the validation, or the last; 0 before the first.
    best : float
        The lowest score; infinite before the first, and where the last epoch is kept.
    history : list of dict
        One row per epoch.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    count: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best_epoch: int = 0
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def position(self, steps: int) -> str:
        """Return the last thing done, in words; ``steps`` are those of an epoch."""
        return f"step {self.step} of {steps} of epoch {self.epoch + 1}" if self.step else f"epoch {self.epoch}"

    def add_step(self, total: float, count: float, terms: Mapping[str, float], seconds: float) -> None:
        """Count one more step of the epoch under way."""
        self.step += 1
        self.total += total
        self.count += count
        self.terms = {name: self.terms.get(name, 0.0) + value for name, value in terms.items()}
        self.seconds += seconds

    def epochs_without_gain(self, column: str, delta: float, after: int = 0) -> int:
        """Return how many epochs are done since a score of the history last fell by more than ``delta``.

        Epochs up to ``after`` don't count.
        """
        lowest, last = float("inf"), after
        for row in self.history[after:]:
            if row[column] < lowest - delta:
                lowest, last = row[column], int(row["epoch"])
        return self.epoch - last

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """Count one more epoch and add its row to the history."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **row})
        self.step, self.total, self.count, self.terms, self.seconds = 0, 0.0, 0.0, {}, 0.0


def save(
    folder: str | Path, identity: str, progress: Progress, state: Sequence[Any], best: Sequence[np.ndarray]
) -> None:
    """Write the state atomically; it is on the disk before it takes the place of the one before.

    Parameters
    ----------
    identity : str
        What the training is: settings, seed and data.
    state : sequence of Keras variables
        Weights and the optimiser's variables.
    best : sequence of numpy.ndarray
        Weights of the best epoch.
    """
    arrays = {f"state{number}": variable.numpy() for number, variable in enumerate(state)}
    arrays |= {f"best{number}": values for number, values in enumerate(best)}
    note = json.dumps({"identity": identity, "progress": asdict(progress)})
    with atomic(Path(folder) / NAME) as temporary:
        np.savez(temporary, note=np.array(note), **arrays)


def restore(folder: str | Path, identity: str, state: Sequence[Any]) -> tuple[Progress, list[np.ndarray]] | None:
    """Load the state into the variables given, if there is one of the same training.

    Returns
    -------
    tuple or None
        Progress and the weights of the best epoch; None where there is nothing to resume.

    Raises
    ------
    TrainingError
        If the checkpoint can't be read or doesn't fit.
    """
    path = Path(folder) / NAME
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream) as stored:
            arrays = {name: stored[name] for name in stored.files}
        note = json.loads(str(arrays["note"]))
        if note["identity"] != identity:
            logger.warning("%s: the checkpoint is of other settings or data; training starts anew", path)
            return None
        progress = _progress(note["progress"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"{path}: the checkpoint can't be read ({error}); delete it to train from the start"
        ) from error
    for number, variable in enumerate(state):
        values = arrays.get(f"state{number}")
        if values is None or values.shape != tuple(variable.shape):
            raise TrainingError(f"{path}: the checkpoint doesn't fit the network; delete it to train from the start")
        variable.assign(values)
    best = [arrays[f"best{number}"] for number in range(sum(name.startswith("best") for name in arrays))]
    return progress, best


def _progress(values: Any) -> Progress:
    """Return the progress that a checkpoint tells of.

    Raises
    ------
    ValueError, TypeError
        If it isn't one.
    """
    names = {entry.name for entry in fields(Progress)}
    if not isinstance(values, dict) or set(values) != names:
        raise ValueError(f"its progress has other entries than {', '.join(sorted(names))}")
    for name in ("epoch", "step", "best_epoch"):
        if type(values[name]) is not int or values[name] < 0:
            raise ValueError(f"{name} is {values[name]!r}, not a whole number")
    for name in ("total", "count", "seconds", "best"):
        values[name] = float(values[name])
    if not isinstance(values["terms"], dict):
        raise ValueError("its terms aren't sums by name")
    if not isinstance(values["history"], list) or not all(isinstance(row, dict) for row in values["history"]):
        raise ValueError("its history isn't a list of rows")
    return Progress(**values)


def tidy(folder: str | Path) -> None:
    """Delete what a job left that was killed while it wrote a checkpoint or the standing."""
    for name in (NAME, standing.NAME):
        for leftover in Path(folder).glob(f".{Path(name).stem}.*{Path(name).suffix}"):
            leftover.unlink(missing_ok=True)


def remove(folder: str | Path) -> None:
    """Delete checkpoint and standing of a finished training."""
    (Path(folder) / NAME).unlink(missing_ok=True)
    standing.remove(folder)
    tidy(folder)
    if Path(folder).is_dir() and not any(Path(folder).iterdir()):
        Path(folder).rmdir()
