"""What a look at the inputs has found, as a table that fits a terminal."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass, field
from itertools import groupby

#: Columns of a terminal that a table should fit.
WIDTH = 120

_HEAD = ("name", "units", "grid", "period", "steps", "size")


@dataclass(frozen=True)
class Row:
    """One input.

    Attributes
    ----------
    group : str
        What the input is for: predictands, coarse input, static fields, or a scenario.
    name : str
        In the results.
    variable : str
        In the files, with level and selection.
    files : tuple of str
        All that could be opened.
    units, grid, period, steps, size : str
        Units after conversion; cells; first and last time; number and length of time steps; bytes on disk.
    """

    group: str
    name: str
    variable: str
    files: tuple[str, ...]
    units: str
    grid: str
    period: str
    steps: str
    size: str


@dataclass
class Inventory:
    """What a look at the inputs has found.

    Attributes
    ----------
    rows : list of Row
        One per input, however many files it has.
    notes : list of str
        What will be made of them.
    warnings : list of str
        What a user should know, but nothing that stops the run.
    """

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _subjects: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict, repr=False)

    def note_about(self, name: str, place: str, sentence: str) -> None:
        """Add a note about an input; what is the same for several in one place is one note."""
        number, names = self._subjects.setdefault((place, sentence), (len(self.notes), []))
        if name not in names:
            names.append(name)
        self.notes[number : number + 1] = [f"{', '.join(names)} ({place}): {sentence}"]

    def note(self, *sentences: str) -> None:
        """Add notes that aren't there yet."""
        self.notes += [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.notes]

    def warn(self, *sentences: str) -> None:
        """Add warnings that aren't there yet."""
        self.warnings += [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.warnings]

    def table(self) -> str:
        """Return all of it as text: two lines per input, then notes and warnings."""
        folder = _common_folder([file for row in self.rows for file in row.files])
        lines = [f"files below {folder}", ""] if folder else []
        lines += self._inputs(folder)
        lines += ["", *(_wrapped(note) for note in self.notes)]
        lines += [_wrapped(f"warning: {warning}") for warning in self.warnings]
        return "\n".join(lines) + "\n"

    def _inputs(self, folder: str) -> list[str]:
        cells = [(row.name, row.units, row.grid, row.period, row.steps, row.size) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
        lines = ["  " + _aligned(_HEAD, widths)]
        shown = zip(self.rows, cells, strict=True)
        for group, members in groupby(shown, key=lambda pair: pair[0].group):
            lines.append(f"{group}:")
            for row, texts in members:
                lines.append("  " + _aligned(texts, widths))
                lines.append(f"      {row.variable} in {_files(row.files, folder)}")
        return lines


def volume(size: float) -> str:
    """Return a number of bytes as text with three digits at most."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def on_disk(path: str) -> int:
    """Return the bytes of a file, or of all files of a Zarr store."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _common_folder(files: list[str]) -> str:
    """Return the folder that all files lie in, and without which their names are shown; empty for none."""
    if not files:
        return ""
    absolute = [os.path.dirname(os.path.abspath(file)) for file in files]
    common = os.path.commonpath(absolute)
    return common if len(common) > 1 else ""


def _files(files: tuple[str, ...], folder: str) -> str:
    names = [os.path.relpath(os.path.abspath(file), folder) if folder else file for file in files]
    return names[0] if len(names) == 1 else f"{len(names)} files: {names[0]} ... {names[-1]}"


def _wrapped(sentence: str) -> str:
    return textwrap.fill(sentence, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
