"""Opening all files of an input: headers only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.check.inventory import Inventory, Row, on_disk, volume
from dl4ds_core.config import Config
from dl4ds_core.config.inputs import Predictor, Regrid, Source
from dl4ds_core.errors import DataError, DownscalingError, ProblemList
from dl4ds_core.grids import Grid
from dl4ds_core.sources import source_paths
from dl4ds_core.time import seconds, step_of, text


@dataclass
class Seen:
    """An input that was looked at.

    Attributes
    ----------
    name : str
        In the results.
    place : str
        The grid that it is brought to, such as ``fine grid``; with the name of a scenario, if it is for one.
    entry : Predictor
        What the configuration says about it.
    source : Source
        Where it comes from.
    regrid : Regrid
        How it is remapped.
    fields : dict
        The lazy field of each file that could be opened, by path.
    complete : bool
        Whether all files are there and could be opened.
    grid : Grid or None
        That of the first file.
    """

    name: str
    place: str
    entry: Predictor
    source: Source
    regrid: Regrid
    fields: dict[str, xr.DataArray] = field(default_factory=dict)
    complete: bool = True
    grid: Grid | None = None

    @property
    def label(self) -> str:
        """Name and place, for messages."""
        return f"{self.name!r} ({self.place})"

    @property
    def first(self) -> xr.DataArray:
        """The field of the first file."""
        return next(iter(self.fields.values()))

    @property
    def units(self) -> str:
        """Units after conversion."""
        return str(self.first.attrs.get("units", ""))


class _Noting:
    """Notes a problem and goes on, so that all of them are found."""

    def __init__(self, problems: ProblemList) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if isinstance(error, DownscalingError):
            self._problems.add(error)
            return True
        return False


class Look:
    """Opens inputs, and notes what it finds.

    Parameters
    ----------
    config : Config
        The configuration.
    inventory : Inventory
        Gets a row per input.
    problems : ProblemList
        Gets all that is wrong.
    """

    def __init__(self, config: Config, inventory: Inventory, problems: ProblemList) -> None:
        self.config, self.inventory, self.problems = config, inventory, problems

    def noting(self) -> _Noting:
        """Note a problem and go on, so that all of them are found."""
        return _Noting(self.problems)

    def paths(self, source: str) -> tuple[list[str], bool]:
        """Return the files of a source that are there, and whether these are all of them."""
        try:
            paths = source_paths(source, self.config.sources[source])
        except DownscalingError as error:
            self.problems.add(error)
            return [], False
        absent = [path for path in paths if self.config.sources[source].downloads and not Path(path).exists()]
        self.inventory.note(*(f"to be downloaded: {path}" for path in absent))
        return [path for path in paths if path not in absent], not absent

    def at(self, group: str, place: str, name: str, entry: Predictor, units: str | None) -> Seen:
        """Look at all files of an input that varies in time; ``place`` names the grid it is brought to."""
        source = self.config.sources[entry.source]
        seen = Seen(name, place, entry, source, entry.regrid or self.config.data.regrid)
        paths, seen.complete = self.paths(entry.source)
        for path in paths:
            before = len(self.problems.problems)
            with self.noting():
                seen.fields[path] = self._opened(seen, path, units)
            seen.complete &= len(self.problems.problems) == before
        if seen.fields:
            self.inventory.rows.append(_row(group, seen))
        return seen

    def _opened(self, seen: Seen, path: str, units: str | None) -> xr.DataArray:
        entry, where = seen.entry, f"{path}: {seen.entry.variable}"
        found = io.open_variable(
            path,
            entry.variable,
            units,
            level=entry.level,
            select=entry.select,
            filters=seen.source.filter,
            minimum=entry.minimum,
        )
        io.require_time(found, where)
        seconds(found["time"], where)
        if not seen.fields:
            seen.grid = Grid.of(found)
            return found
        first = next(iter(seen.fields))
        if str(found.attrs.get("units", "")) != seen.units:
            raise DataError(
                f"{where}: expected the units {seen.units!r} of {first}, found {str(found.attrs.get('units', ''))!r}; "
                "set `units` to convert both"
            )
        if seen.grid is not None and not _same_place(seen.first, found) and not seen.grid.same(Grid.of(found)):
            raise DataError(
                f"{where}: expected the grid of {first} ({seen.grid.describe()}), found {Grid.of(found).describe()}; "
                "make files of different grids different sources"
            )
        return found


def _same_place(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Tell quickly whether two files have the same coordinates to the last bit."""
    names = [name for name in one.coords if name != "time" and one[name].ndim]
    return one.dims == other.dims and all(
        name in other.coords and np.array_equal(one[name].values, other[name].values) for name in names
    )


def _row(group: str, seen: Seen) -> Row:
    times = [found["time"] for found in seen.fields.values()]
    first, last = min(times, key=_first), max(times, key=_last)
    step = step_of(max(times, key=lambda time: int(time.size)))
    count = sum(time.size for time in times)
    chosen = [f"{dim} {value}" for dim, value in seen.entry.select.items()]
    chosen += [f"level {seen.entry.level:g}"] if seen.entry.level is not None else []
    return Row(
        group=group,
        name=seen.name,
        variable=seen.entry.variable + (f" ({', '.join(chosen)})" if chosen else ""),
        files=tuple(seen.fields),
        units=seen.units,
        grid=seen.grid.describe() if seen.grid is not None else "",
        period=f"{text(first.values.min())} to {text(last.values.max())}",
        steps=f"{count} x {length(step.total_seconds())}" if step else str(count),
        size=volume(sum(on_disk(path) for path in seen.fields)),
    )


def _first(time: xr.DataArray) -> int:
    return int(seconds(time).min())


def _last(time: xr.DataArray) -> int:
    return int(seconds(time).max())


def length(duration: float) -> str:
    """Return seconds as a short text in the largest unit of which they are a whole number."""
    units = (("d", 86_400), ("h", 3600), ("min", 60))
    unit, size = next((pair for pair in units if duration and duration % pair[1] == 0), ("s", 1))
    return f"{duration / size:g} {unit}"
