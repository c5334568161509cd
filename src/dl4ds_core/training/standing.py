"""Where a training under way stands: a small file that can be read from anywhere, without TensorFlow."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dl4ds_core.files import atomic

logger = logging.getLogger(__name__)

NAME = "standing.json"
#: What the validation may be judged by, as people say it.
SCORES = {"rmse": "RMSE", "mae": "MAE", "loss": "loss"}


@dataclass(frozen=True)
class Standing:
    """Where a training stands.

    Attributes
    ----------
    epoch, step : int
        Epochs done, and steps done in the epoch under way.
    epochs, steps : int
        Epochs asked for, and steps of each.
    seconds_left : float or None
        Estimate; None before anything has been measured in this job.
    validation_rmse : float or None
        RMSE over the validation period after the last epoch; None before the first.
    best : float or None
        Lowest score of the validation period so far; None before the first.
    best_epoch : int
        Epoch of the lowest; 0 before the first.
    updated : float
        When this was written, seconds since 1970 UTC.
    job : str
        SLURM's job id; empty outside of a job.
    host : str
        Where rank 0 runs.
    stopped : str or None
        Name of the signal that stopped the training at a checkpoint; None while it runs, and after a failure.
    checkpoint_epoch, checkpoint_step : int
        Position of the last checkpoint; both 0 if there is none.
    best_by : str
        Which score that is, a key of ``SCORES``.
    """

    epoch: int
    step: int
    epochs: int
    steps: int
    seconds_left: float | None
    validation_rmse: float | None
    best: float | None
    best_epoch: int
    updated: float
    job: str
    host: str
    stopped: str | None = None
    checkpoint_epoch: int = 0
    checkpoint_step: int = 0
    best_by: str = "rmse"

    @property
    def best_text(self) -> str:
        """The best score and its epoch in words, such as '0.429 (11)' or, for another than the RMSE, 'MAE 0.31 (9)'."""
        if self.best is None:
            return "-"
        name = "" if self.best_by == "rmse" else f"{SCORES[self.best_by]} "
        return f"{name}{self.best:.4g} ({self.best_epoch})"


def write(folder: str | Path, standing: Standing) -> None:
    """Write the standing atomically.

    Parameters
    ----------
    folder : str or Path
        That of the checkpoints.
    """
    with atomic(Path(folder) / NAME) as temporary:
        temporary.write_text(json.dumps(asdict(standing)) + "\n", encoding="utf-8")


def read(folder: str | Path) -> Standing | None:
    """Return the standing of a training, or None where there is none or it can't be read.

    Parameters
    ----------
    folder : str or Path
        That of the checkpoints, ``<model>/seed<k>/checkpoints``.
    """
    path = Path(folder) / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.debug("%s: %s", path, error)
        return None
    if not _valid(values):
        logger.debug("%s: other keys or values than expected", path)
        return None
    return Standing(**values)


def remove(folder: str | Path) -> None:
    """Delete the standing of a finished training."""
    (Path(folder) / NAME).unlink(missing_ok=True)


def duration(seconds: float) -> str:
    """Return a duration as people say it, such as '48 s', '3 min 20 s', '3 h 12 min' or '2 d 4 h'."""
    whole = max(0, round(seconds))
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit} {rest // part} {smaller}" if rest // part else f"{count} {unit}"
    return f"{whole} s"


def _valid(values: Any) -> bool:
    names = {field.name for field in fields(Standing)}
    if not isinstance(values, dict) or set(values) != names:
        return False
    kinds = all(_KINDS[str(field.type)](values[field.name]) for field in fields(Standing))
    return kinds and values["best_by"] in SCORES


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


#: How values are checked, by the type of the field.
_KINDS: dict[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
}
