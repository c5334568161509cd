"""What rank 0 does beside the training: checkpoints, the standing, and lines of progress."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from dl4ds_core.errors import TrainingError
from dl4ds_core.training import standing
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.standing import SCORES, Standing, duration

logger = logging.getLogger(__name__)

#: Seconds between lines of progress after epochs, and between updates of the standing.
PROGRESS_SECONDS = 5.0
#: Seconds between lines of progress within an epoch.
STEP_SECONDS = 30.0
#: In long jobs lines come further apart: this part of the time the job has run.
SPACING = 0.01


class Pace:
    """Mean duration of what happens again and again.

    Attributes
    ----------
    first : float or None
        Seconds of the first time, which is slow and so not in the mean: the network is compiled then.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self._total, self._number = 0.0, 0

    def add(self, seconds: float) -> None:
        """Add one more."""
        if self.first is None:
            self.first = seconds
        else:
            self._total, self._number = self._total + seconds, self._number + 1

    @property
    def mean(self) -> float | None:
        """The mean in seconds; None before the second."""
        return self._total / self._number if self._number else None


class Keeper:
    """Keeps checkpoint, standing and log of a training up to date.

    Parameters
    ----------
    folder : str or Path
        For the standing.
    save : callable
        Writes a checkpoint.
    minutes : float
        Between checkpoints.
    epochs, steps : int
        Epochs of the training, and steps of each.
    best_by : str
        What of the validation says which epoch is the best: ``rmse``, ``mae`` or ``loss``.
    """

    def __init__(
        self,
        folder: str | Path,
        save: Callable[[Progress], None],
        minutes: float,
        epochs: int,
        steps: int,
        best_by: str = "rmse",
    ) -> None:
        self.folder, self.epochs, self.steps, self.best_by = folder, epochs, steps, best_by
        self._save, self._pause = save, 60.0 * minutes
        self._pace, self._validation_pace = Pace(), Pace()
        self._saved = (0, 0)
        self._started = self._saved_at = self._noted_at = self._shown_at = time.monotonic()
        self._warned = False

    def begin(self, progress: Progress) -> None:
        """Start: from a checkpoint if ``progress`` isn't empty."""
        self._saved = (progress.epoch, progress.step)
        self._started = self._saved_at = self._shown_at = time.monotonic()
        self._note(progress)

    def after_step(self, progress: Progress, seconds: float) -> None:
        """Do what is due after a step that took some time."""
        self._pace.add(seconds)
        self._save_if_due(progress)
        if self._due(self._noted_at, PROGRESS_SECONDS):
            self._note(progress)
        if self._due(self._shown_at, STEP_SECONDS, spaced=True):
            self._show_step(progress)

    def after_epoch(self, progress: Progress, seconds: float) -> None:
        """Do what is due after an epoch whose validation took some time."""
        self._validation_pace.add(seconds)
        self._save_if_due(progress)
        if self._due(self._noted_at, PROGRESS_SECONDS):
            self._note(progress)
        if progress.epoch in (1, self.epochs) or self._due(self._shown_at, PROGRESS_SECONDS, spaced=True):
            self._show_epoch(progress)

    def finish(self, progress: Progress) -> None:
        """Write a last checkpoint: what fails between here and the end of the job costs no training."""
        self._pause = 0.0
        self._save_if_due(progress)

    def stop(self, progress: Progress, signal: str) -> None:
        """Write checkpoint and standing of a training that stops because of a signal.

        Raises
        ------
        TrainingError
            If the checkpoint can't be written.
        """
        if self._saved != (progress.epoch, progress.step):
            try:
                self._checkpoint(progress)
            except OSError as error:
                raise TrainingError(
                    f"{self.folder}: the training was to stop because of {signal}, but its checkpoint can't be written "
                    f"({error}); the next job goes on from the one before"
                ) from error
        self._note(progress, signal)

    def begin_part(self) -> None:
        """Measure the pace anew, as another network is trained from now on."""
        self._pace, self._validation_pace = Pace(), Pace()

    def kept(self) -> str:
        """Say which checkpoint is the last good one."""
        epoch, step = self._saved
        if not (epoch or step):
            return "there is no checkpoint yet;"
        where = f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"
        return f"the last good checkpoint is that after {where}, in {self.folder};"

    def seconds_left(self, progress: Progress) -> float | None:
        """Estimate the time to the end, not counting that patience may end it earlier."""
        if self._pace.mean is None:
            return None
        epochs = self.epochs - progress.epoch
        validation = self._validation_pace.mean or self._validation_pace.first or 0.0
        return (epochs * self.steps - progress.step) * self._pace.mean + epochs * validation

    def _due(self, last: float, pause: float, *, spaced: bool = False) -> bool:
        now = time.monotonic()
        return now - last > max(pause, SPACING * (now - self._started) if spaced else 0.0)

    def _save_if_due(self, progress: Progress) -> None:
        if not self._due(self._saved_at, self._pause):
            return
        try:
            self._checkpoint(progress)
        except OSError as error:
            self._saved_at = time.monotonic()
            logger.warning("%s: the checkpoint can't be written (%s); the training goes on", self.folder, error)
        else:
            self._note(progress)

    def _checkpoint(self, progress: Progress) -> None:
        self._save(progress)
        self._saved = (progress.epoch, progress.step)
        self._saved_at = time.monotonic()

    def _note(self, progress: Progress, stopped: str | None = None) -> None:
        row = progress.history[-1] if progress.history else {}
        now = Standing(
            epoch=progress.epoch,
            step=progress.step,
            epochs=self.epochs,
            steps=self.steps,
            seconds_left=self.seconds_left(progress),
            validation_rmse=_finite(row.get("validation_rmse")),
            best=_finite(progress.best),
            best_epoch=progress.best_epoch,
            best_by=self.best_by,
            updated=time.time(),
            job=os.environ.get("SLURM_JOB_ID", ""),
            host=socket.gethostname(),
            stopped=stopped,
            checkpoint_epoch=self._saved[0],
            checkpoint_step=self._saved[1],
        )
        self._noted_at = time.monotonic()
        try:
            standing.write(self.folder, now)
        except OSError as error:
            # A full disk must not end a training that doesn't need it now.
            if not self._warned:
                logger.warning("%s: where the training stands can't be written (%s)", self.folder, error)
            self._warned = True

    def _show_step(self, progress: Progress) -> None:
        self._shown_at = time.monotonic()
        logger.info(
            "epoch %d of %d: step %d of %d, loss %.4f, %.2f s per step%s",
            *(progress.epoch + 1, self.epochs, progress.step, self.steps),
            *(progress.total / max(progress.count, 1e-9), self._pace.mean or self._pace.first, self._left(progress)),
        )

    def _show_epoch(self, progress: Progress) -> None:
        self._shown_at = time.monotonic()
        row = progress.history[-1]
        logger.info(
            "epoch %d of %d: loss %.4f, validation loss %.4f, validation RMSE %.4f%s; %.2f s per epoch%s",
            *(progress.epoch, self.epochs, row["loss"], row["validation_loss"], row["validation_rmse"]),
            *(self._best(progress), row["seconds"], self._left(progress)),
        )

    def _best(self, progress: Progress) -> str:
        if not math.isfinite(progress.best):
            return ""
        score = "" if self.best_by == "rmse" else f" {SCORES[self.best_by]}"
        return f" (best{score} {progress.best:.4f} in epoch {progress.best_epoch})"

    def _left(self, progress: Progress) -> str:
        seconds = self.seconds_left(progress)
        return "" if not seconds else f", about {duration(seconds)} left"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
