"""The documentation of the configuration, generated from its models: a JSON schema and a table of all keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dl4ds_core.config.schema import Config
from dl4ds_core.errors import ConfigError

#: The generated files, below the root of the project.
SCHEMA_FILE = Path("workflow", "schemas", "config.schema.json")
KEYS_FILE = Path("docs", "config.md")

#: What stands before this line of the key table's page is written by hand.
MARKER = "<!-- From here on generated from the models of the configuration by `dl4ds schema`. -->"

#: Units of the keys that are measured in something; all others are counts, names or choices.
UNITS: dict[str, str] = {
    "data.domain.lat": "degrees north",
    "data.domain.lon": "degrees east",
    "data.scale": "fine cells",
    "split.train": "dates",
    "split.validation": "dates",
    "split.test": "dates",
    "training.epochs": "epochs",
    "training.batch_size": "samples",
    "training.patience": "epochs",
    "verification.bootstrap.block": "min, h, d, w, month or y",
    "execution.checkpoint_minutes": "minutes",
}


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    Attributes
    ----------
    path : str
        Dotted, with ``<name>`` for a name that the user chooses and ``[]`` for each entry of a list.
    kind : str
        Type or allowed values, as Markdown.
    default : str
        As it would be written in YAML, as Markdown; ``required`` where there is none.
    unit : str
        Empty where none applies.
    description : str
        One sentence.
    """

    path: str
    kind: str
    default: str
    unit: str
    description: str


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(by_alias=True),
    }


def schema_text() -> str:
    """Return the content of the schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def sections() -> dict[str, type[BaseModel]]:
    """Return the sections by path, the whole configuration as ``""``; each is there once, at its shortest path."""
    found: dict[str, type[BaseModel]] = {"": Config}
    level: list[tuple[str, type[BaseModel]]] = [("", Config)]
    while level:
        level = [child for path, section in level for child in _children(path, section)]
        for path, section in level:
            if _same_keys(section, found.values()) is None:
                found[path] = section
    return found


def all_keys() -> list[Key]:
    """Return all keys in the order of the models, those of a section that occurs twice only once."""
    return list(_keys("", Config, sections()))


def key_table() -> str:
    """Return the table of all keys as Markdown, one part per section at the top of the file."""
    parts = {"": [key for key in all_keys() if "." not in key.path]}
    for name in Config.model_fields:
        parts[name] = [key for key in all_keys() if key.path.split(".")[0] == name and "." in key.path]
    return "\n".join(_part(name, rows) for name, rows in parts.items() if rows)


def keys_page(page: str) -> str:
    """Return the page of the key table with its generated part renewed.

    Parameters
    ----------
    page : str
        The page as it is; what stands before `MARKER` is kept.

    Raises
    ------
    ConfigError
        If the page lacks the marker.
    """
    head, marker, _ = page.partition(MARKER)
    if not marker:
        raise ConfigError(
            f"{KEYS_FILE}: expected the line {MARKER!r}, below which the key table is written; restore it"
        )
    return f"{head}{MARKER}\n\n{key_table()}"


def contents(root: str | Path = ".") -> dict[Path, str]:
    """Return the generated files and what belongs in them.

    Parameters
    ----------
    root : str or Path
        Root of the project.

    Raises
    ------
    ConfigError
        If the page of the key table is missing, or lacks the marker.
    """
    path = Path(root) / KEYS_FILE
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't read the page: {error}; run this in the root of the project") from error
    return {Path(root) / SCHEMA_FILE: schema_text(), path: keys_page(page)}


def outdated(root: str | Path = ".") -> list[Path]:
    """Return the generated files that differ from what belongs in them."""
    return [path for path, text in contents(root).items() if not path.is_file() or path.read_text("utf-8") != text]


def write(root: str | Path = ".") -> list[Path]:
    """Write the generated files that are out of date, and return their paths."""
    texts, changed = contents(root), outdated(root)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path], encoding="utf-8")
    return changed


def _keys(path: str, section: type[BaseModel], models: Mapping[str, type[BaseModel]]) -> Iterator[Key]:
    properties = section.model_json_schema(by_alias=True)
    for key, field in _fields(section):
        inner = f"{path}.{key}".lstrip(".")
        yield Key(
            path=inner,
            kind=_kind(properties["properties"][key], properties.get("$defs", {}), _reference(field, inner, models)),
            default=_default(field),
            unit=UNITS.get(inner, ""),
            description=field.description or "",
        )
        for deeper, child in _children_of(inner, field):
            if deeper in models:
                yield from _keys(deeper, child, models)


def _fields(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        yield field.alias or name, field


def _children(path: str, section: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    return [child for key, field in _fields(section) for child in _children_of(f"{path}.{key}".lstrip("."), field)]


def _children_of(path: str, field: FieldInfo) -> list[tuple[str, type[BaseModel]]]:
    return list(_sections_in(path, field.annotation))


def _sections_in(path: str, annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Find sections in an annotation, through maps, lists and what may be empty."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
        return
    origin, arguments = getattr(annotation, "__origin__", None), get_args(annotation)
    if origin is dict:
        yield from _sections_in(f"{path}.<name>", arguments[1])
    elif origin is list:
        yield from _sections_in(f"{path}[]", arguments[0])
    else:
        for argument in arguments:
            yield from _sections_in(path, argument)


def _same_keys(section: type[BaseModel], known: Any) -> type[BaseModel] | None:
    """Return the section that has the same keys with the same meanings, as one that overrides it has."""

    def meanings(model: type[BaseModel]) -> dict[str, str | None]:
        return {key: field.description for key, field in _fields(model)}

    return next((model for model in known if meanings(model) == meanings(section)), None)


def _reference(field: FieldInfo, path: str, models: Mapping[str, type[BaseModel]]) -> str:
    """Return where the keys of a section are described, if not right here."""
    for deeper, child in _children_of(path, field):
        if deeper not in models:
            known = _same_keys(child, models.values())
            return next(where for where, model in models.items() if model is known)
    return ""


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], reference: str) -> str:
    """Describe the type or the allowed values of a key as Markdown."""
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    words = [_one_kind(choice, definitions, reference) for choice in choices]
    return " or ".join(dict.fromkeys(words))


def _one_kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], reference: str = "") -> str:
    if "$ref" in schema:
        return f"section, keys as in `{reference}`" if reference else "section"
    if "enum" in schema or "const" in schema:
        return _alternatives(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object":
        return _map_kind(schema, definitions, reference)
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(_kind(item, definitions, '') for item in schema['prefixItems'])}]"
        return f"list: {_kind(schema['items'], definitions, reference)}"
    names = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
    return names[str(kind)] + _limits(schema)


def _map_kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], reference: str) -> str:
    values = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
    names = schema.get("propertyNames", {})
    if "$ref" in names:
        names = definitions[names["$ref"].rpartition("/")[2]]
    key = _alternatives(names["enum"]) if "enum" in names else "name"
    return f"map: {key} to {_one_kind(values, definitions, reference)}"


def _alternatives(values: list[Any]) -> str:
    quoted = [f"`{value}`" for value in values]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _limits(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(limits)}" if limits else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "defaults of its keys"
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {entry}' for key, entry in value.items())}}}`"
    return f"`[{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{value}`"


def _part(name: str, rows: list[Key]) -> str:
    section = Config.model_fields[name] if name else None
    title = f"`{name}`" if name else "At the top of the file"
    lines = [f"### {title}", "", *([section.description or "", ""] if section else [])]
    lines += ["| Key | Type or values | Default | Unit | Meaning |", "|---|---|---|---|---|"]
    for key in rows:
        cells = (f"`{key.path}`", key.kind, key.default, key.unit, key.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
