"""Where a key is among the models of the configuration, also where a section has alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, Tag

from dl4ds_core.config.annotations import bare, inside, method_of, union_members
from dl4ds_core.config.schema import Config


class Place(NamedTuple):
    """A key as the user writes it, and the section it is in.

    Attributes
    ----------
    path : list of str
        Without the tags by which pydantic tells the alternatives of a section apart.
    section : type or None
        The section that the last part of the path is a key of, or should be; None if it is in a map or list.
    """

    path: list[str]
    section: type[BaseModel] | None


def place(location: Sequence[str | int]) -> Place:
    """Return the place that a location of a pydantic error stands for."""
    current: Any = Config
    path: list[str] = []
    section: type[BaseModel] | None = None
    for part in location:
        members = union_members(current)
        if len(members) > 1:
            current = next((member for member in members if _tagged(member, part)), None)
            if current is not None:
                continue
        elif members:
            current = members[0]
        path.append(str(part))
        section = current if isinstance(current, type) and issubclass(current, BaseModel) else None
        current = inside(current, part)
    return Place(path, section)


def alternatives(values: Sequence[object]) -> str:
    """Return values as 'a', 'b' or 'c'."""
    quoted = [repr(value) for value in values]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _tagged(member: Any, part: str | int) -> bool:
    """Tell whether pydantic means this alternative by a part of a location."""
    tags = [data.tag for data in get_args(member)[1:] if isinstance(data, Tag)] if member is not bare(member) else []
    kind = bare(member)
    return part in (*tags, method_of(kind), getattr(kind, "__name__", None))
