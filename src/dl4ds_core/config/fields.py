"""What all sections of the configuration share: their base class, and types of values."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from dl4ds_core.config.periods import parse_period

#: Characters of a name, which becomes that of a folder.
LONGEST_NAME = 80
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=80)]
Method = Literal["conservative", "bilinear", "bicubic", "nearest"]
CellMethod = Literal["point", "mean", "sum"]


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values can't be changed after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )


def partial(section: type[Section], name: str) -> type[Section]:
    """Return a section with the same keys, all optional: what a model may override."""
    fields: dict[str, Any] = {}
    for key, field in section.model_fields.items():
        kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        fields[key] = (kind, Field(default=None, description=field.description))
    return create_model(name, __base__=Section, __doc__=f"{section.__name__} keys, overridden for one model.", **fields)


def as_list(value: Any) -> Any:
    """Return a single text as a list of one."""
    return [value] if isinstance(value, str) else value


def _duration(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(min|h|d|w|month|y)", value):
        raise ValueError("expected a whole number and min, h, d, w, month or y, such as 24h, 5d or 10y")
    return value


def _block(value: str) -> str:
    return value if value == "auto" else _duration(value)


def _offset(value: str) -> str:
    if not re.fullmatch(r"[+-]?\d+(min|h|d)", value):
        raise ValueError("expected a whole number and min, h or d, such as -12h")
    return value


def _span(value: str) -> str:
    if not re.fullmatch(r"\d+(min|h|d)", value):
        raise ValueError(f"expected a whole number, not below 0, and min, h or d, such as 3d; found {value!r}")
    return value


#: Minutes of each unit; of a month and a year, the longest ones.
_MINUTES = {"min": 1, "h": 60, "d": 1440, "w": 10080, "month": 31 * 1440, "y": 366 * 1440}


def minutes(length: str) -> int:
    """Return a length of time such as ``3d`` or ``-12h`` in minutes; months and years count as long ones."""
    number, unit = re.fullmatch(r"([+-]?\d+)(\w+?)", length).groups()  # type: ignore[union-attr]
    return int(number) * _MINUTES[unit]


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"expected text without line breaks or other control characters, found {value!r}")
    return value


def _label(value: Any) -> Any:
    """Refuse what YAML reads as true, a date, a list or nothing: a label is a word or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        hint = "; quote it to have it as text" if isinstance(value, bool | datetime.date) else ""
        raise ValueError(f"expected text or a number, found {value!r}{hint}")
    return _text(value) if isinstance(value, str) else value


def _folder(value: str) -> str:
    """Snakemake has braces for wildcards; nothing expands what only a shell would."""
    if any(sign in value for sign in "{}$") or value.startswith(("~", "-")):
        raise ValueError(
            f"expected a folder that doesn't start with ~ or - and has no $ or braces, found {value!r}: nothing is "
            "expanded here, write the path out"
        )
    return _text(value)


def _date(value: Any) -> Any:
    """YAML reads 2019 as a number and 2019-03-01 as a date; periods are handled as ISO 8601 text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:04d}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


IsoDate = Annotated[str, BeforeValidator(_date, json_schema_input_type=str | int)]
PeriodField = Annotated[tuple[IsoDate, IsoDate], AfterValidator(lambda ends: (parse_period(ends), ends)[1])]
Duration = Annotated[str, AfterValidator(_duration)]
#: A length of time, or `auto`.
Block = Annotated[str, AfterValidator(_block)]
Offset = Annotated[str, AfterValidator(_offset)]
#: A length of time that may be 0.
Span = Annotated[str, AfterValidator(_span)]
#: Free text that is never empty: names inside files, units, file names. None of it reaches a shell.
Text = Annotated[str, AfterValidator(_text)]
#: A path that becomes part of the names of Snakemake's files.
Folder = Annotated[str, AfterValidator(_folder)]
#: A word, a number or a label of a dimension.
Label = Annotated[str | int | float, BeforeValidator(_label)]


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"expected [lower, upper], found {list(limits)}")
    return limits


Limits = Annotated[tuple[float, float], AfterValidator(_ascending)]
