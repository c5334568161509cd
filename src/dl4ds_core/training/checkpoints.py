"""The state of a training under way: written now and then, so that a rerun goes on where it stood."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dl4ds_core import io
from dl4ds_core.errors import TrainingError

logger = logging.getLogger(__name__)

NAME = "state.npz"


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    epoch : int
        Epochs done.
    best_epoch : int
        Epoch of the lowest validation RMSE so far; 0 before the first.
    best : float
        That RMSE.
    history : list of dict
        One row per epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


def save(
    folder: str | Path, identity: str, progress: Progress, state: Sequence[Any], best: Sequence[np.ndarray]
) -> None:
    """Write the state atomically.

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
    with io.atomic(Path(folder) / NAME) as temporary:
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
        found, progress = note["identity"], Progress(**note["progress"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"{path}: the checkpoint can't be read ({error}); delete it to train from the start"
        ) from error
    if found != identity:
        logger.warning("%s: the checkpoint is of other settings or data; training starts anew", path)
        return None
    for number, variable in enumerate(state):
        values = arrays.get(f"state{number}")
        if values is None or values.shape != tuple(variable.shape):
            raise TrainingError(f"{path}: the checkpoint doesn't fit the network; delete it to train from the start")
        variable.assign(values)
    best = [arrays[f"best{number}"] for number in range(sum(name.startswith("best") for name in arrays))]
    return progress, best


def remove(folder: str | Path) -> None:
    """Delete the checkpoint of a finished training."""
    (Path(folder) / NAME).unlink(missing_ok=True)
    if Path(folder).is_dir() and not any(Path(folder).iterdir()):
        Path(folder).rmdir()
