"""Where a key is among the models of the configuration, also where a section has alternatives."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag

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
        current = _inside(current, part)
    return Place(path, section)


def union_members(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation but None; itself, if it has none."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return [member for member in get_args(bare) if member is not type(None)]
    return [bare]


def alternatives(values: Sequence[object]) -> str:
    """Return values as 'a', 'b' or 'c'."""
    quoted = [repr(value) for value in values]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def method_of(section: Any) -> str | None:
    """Return the value of `method` that a section is for, if it is one of several alternatives."""
    field = section.model_fields.get("method") if hasattr(section, "model_fields") else None
    values = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    return str(values[0]) if len(values) == 1 else None


def sections_in(path: str, annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Find the sections in an annotation, through maps, lists and alternatives, with their paths."""
    for member in map(_bare, union_members(annotation)):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield path, member
        elif get_origin(member) is dict:
            yield from sections_in(f"{path}.<name>", get_args(member)[1])
        elif get_origin(member) is list:
            yield from sections_in(f"{path}[]", get_args(member)[0])


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _tagged(member: Any, part: str | int) -> bool:
    """Tell whether pydantic means this alternative by a part of a location."""
    tags = [data.tag for data in get_args(member)[1:] if isinstance(data, Tag)] if member is not _bare(member) else []
    bare = _bare(member)
    return part in (*tags, method_of(bare), getattr(bare, "__name__", None))


def _inside(annotation: Any, part: str | int) -> Any:
    """Return the annotation of a key of a section, or of an entry of a map or list."""
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        fields = {field.alias or name: field for name, field in bare.model_fields.items()}
        return fields[str(part)].annotation if str(part) in fields else None
    arguments = [argument for argument in get_args(bare) if argument is not Ellipsis]
    return arguments[-1] if arguments else None
