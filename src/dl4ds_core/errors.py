"""Exceptions a user can meet; their text is all that is shown, so each says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class DownscalingError(Exception):
    """Base class of the project's own exceptions.

    Scripts and the command line print its text without a traceback; any other exception is a bug.
    """


class ConfigError(DownscalingError):
    """The configuration file is wrong."""


class DataError(DownscalingError):
    """An input or an intermediate file is missing, unreadable or does not fit the configuration."""


class RegridError(DownscalingError):
    """Regridding failed, or its engine is not installed."""


class TrainingError(DownscalingError):
    """A training can't start, go on or be resumed."""


class ClusterError(DownscalingError):
    """SLURM gives no answer, or another one than expected."""


class ProblemList:
    """Collects problems, so that a user sees all of them at once and not only the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, problem: str | Exception) -> None:
        """Note one problem (the text of an exception, or a sentence)."""
        text = str(problem)
        if text not in self.problems:
            self.problems.append(text)

    def extend(self, problems: Iterable[str | Exception]) -> None:
        """Note several problems."""
        for problem in problems:
            self.add(problem)

    def raise_if_any(self, kind: type[DownscalingError] = DataError) -> None:
        """Raise one exception that lists all problems noted.

        Raises
        ------
        DownscalingError
            Of the given ``kind``, if there is any problem.
        """
        if len(self.problems) == 1:
            raise kind(self.problems[0])
        if self.problems:
            listing = "\n".join(f"  {number}. {text}" for number, text in enumerate(self.problems, 1))
            raise kind(f"{len(self.problems)} problems:\n{listing}")
