"""What the annotations of sections say: alternatives, sections inside, and the kind of a key's value."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def bare(annotation: Any) -> Any:
    """Return an annotation without its metadata."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def union_members(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation but None; itself, if it has none."""
    kind = bare(annotation)
    if get_origin(kind) in (Union, types.UnionType):
        return [member for member in get_args(kind) if member is not type(None)]
    return [kind]


def inside(annotation: Any, part: str | int) -> Any:
    """Return the annotation of a key of a section, or of an entry of a map or list; None where there is no such key."""
    kind = bare(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        return fields[str(part)].annotation if str(part) in fields else None
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    return arguments[-1] if arguments else None


def method_of(section: Any) -> str | None:
    """Return the value of `method` that a section is for, if it is one of several alternatives."""
    field = section.model_fields.get("method") if hasattr(section, "model_fields") else None
    values = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    return str(values[0]) if len(values) == 1 else None


def sections_in(path: str, annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Find the sections in an annotation, through maps, lists and alternatives, with their paths."""
    for member in map(bare, union_members(annotation)):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield path, member
        elif get_origin(member) is dict:
            yield from sections_in(f"{path}.<name>", get_args(member)[1])
        elif get_origin(member) is list:
            yield from sections_in(f"{path}[]", get_args(member)[0])
