"""What a check found, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from dl4ds_core.errors import DownscalingError


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    state : str
        `ok`, `note` or `FAILED`.
    about : str
        What was looked at.
    found : str
        What was found.
    advice : tuple of str
        What to change; lines.
    """

    state: str
    about: str
    found: str
    advice: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the workflow can't run like this."""
        return self.state == "FAILED"


def ok(about: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding("ok", about, found)


def note(about: str, found: str) -> Finding:
    """Return something to know that stops nothing."""
    return Finding("note", about, found)


def failed(about: str, found: str, *advice: str) -> Finding:
    """Return a failure, and what to change."""
    return Finding("FAILED", about, found, advice)


#: Before further lines of a text.
INDENT = "\n        "


class Report:
    """Prints findings as they come, and counts failures."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.failures = 0
        self._told = ""

    def add(self, check: Callable[..., list[Finding]], *arguments: object) -> None:
        """Run a check and print what it finds; SLURM giving no answer is a failure of this check alone."""
        try:
            findings = check(*arguments)
        except (DownscalingError, OSError) as error:
            findings = [failed(check.__name__.removeprefix("check_"), str(error))]
        for finding in findings:
            self.failures += finding.failed
            self._write(f"{finding.state:<7} {finding.about}: {finding.found.replace(chr(10), INDENT)}\n")
            for line in finding.advice:
                self._write(f"{INDENT[1:]}-> {line}\n")

    def tell(self, text: str) -> None:
        """Print what is waited for: over the last such line on a terminal, else only where it is another thing."""
        if self.stream.isatty():
            self.stream.write(f"\r\033[K...     {text}")
            self.stream.flush()
        elif text.split(",")[0] != self._told:
            self._write(f"...     {text}\n")
        self._told = text.split(",")[0]

    def end(self, profile: str) -> int:
        """Print the verdict and return the exit status."""
        if self.failures:
            failures = "1 check failed" if self.failures == 1 else f"{self.failures} checks failed"
            self._write(f"\n{failures}. Change what -> says in {profile}, then call this again.\n")
            return 1
        self._write(f"\nThis cluster can run the workflow: snakemake --profile {profile}\n")
        return 0

    def _write(self, text: str) -> None:
        if self.stream.isatty():
            self.stream.write("\r\033[K")
        self.stream.write(text)
        self.stream.flush()
