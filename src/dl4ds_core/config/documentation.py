"""The documentation of the configuration, generated from its models: a JSON schema and a table of all keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dl4ds_core.config.annotations import method_of, sections_in
from dl4ds_core.config.json_schema import json_schema
from dl4ds_core.config.schema import Config
from dl4ds_core.errors import ConfigError

#: The generated files, below the root of the project.
SCHEMA_FILE = Path("workflow", "schemas", "config.schema.json")
KEYS_FILE = Path("docs", "config.md")

#: What stands before this line of the key table's page is written by hand.
MARKER = "<!-- From here on generated from the models of the configuration by `dl4ds schema`. -->"

#: Units of the keys that are measured in something; all others are counts, names or choices.
UNITS: dict[str, str] = {
    "sources.<name>.time_offset": "min, h or d",
    "data.predictands.<name>.level": "of the file, or hPa",
    "data.predictands.<name>.minimum": "`units`",
    "data.predictands.<name>.dry_below": "`units`",
    "data.domain.lat": "degrees north",
    "data.domain.lon": "degrees east",
    "data.domain.y": "of the axis: m or degrees",
    "data.domain.x": "of the axis: m or degrees",
    **{f"data.grid.lat.{key}": "degrees" for key in ("first", "last", "step")},
    "data.scale": "fine cells",
    "data.context": "coarse cells",
    "data.regrid.min_valid_fraction": "part of the area",
    "data.time.tolerance": "min, h or d",
    "split.train": "dates or years",
    "split.validation": "dates or years",
    "split.test": "dates or years",
    "split.first_month": "month",
    "split.block": "min, h, d, w, month or y",
    "split.gap": "min, h or d",
    "split.fractions.validation": "part of the record",
    "split.fractions.test": "part of the record",
    "split.folds": "groups of years",
    "normalization.<name>.dry_below": "that of the field",
    "models.<name>.time_window": "time steps",
    "models.<name>.dropout.rate": "part of the features",
    "training.data_range": "normalised",
    "training.adversarial.pretrain_epochs": "epochs",
    "training.diffusion.pretrain_epochs": "epochs",
    "prediction.members.steps": "steps",
    "training.members": "draws",
    "models.<name>.quantiles": "probability",
    "models.<name>.noise": "channels",
    "prediction.members.count": "members",
    "models.<name>.neighbourhood": "coarse cells",
    "training.epochs": "epochs",
    "training.batch_size": "samples",
    "training.weight_decay": "part of a weight",
    "training.piecewise": "epochs; factor",
    "training.warmup_epochs": "epochs",
    "training.patience": "epochs",
    "training.min_delta": "of `best_by`",
    "training.patch_size": "fine cells",
    "verification.bootstrap.block": "min, h, d, w, month or y",
    "verification.thresholds": "of the predictand",
    "verification.explain.steps": "time steps",
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


def schema_text() -> str:
    """Return the content of the schema file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def sections() -> dict[str, list[type[BaseModel]]]:
    """Return the sections by path, the whole configuration as ``""``; each is there once, at its shortest path.

    A path has several sections where the user chooses among them, as by the method of a split.
    """
    found: dict[str, list[type[BaseModel]]] = {"": [Config]}
    level: list[tuple[str, type[BaseModel]]] = [("", Config)]
    while level:
        level = [child for path, section in level for child in _children(path, section)]
        for path, section in level:
            if _described(section, found) is None:
                found.setdefault(path, []).append(section)
    return found


def all_keys() -> list[Key]:
    """Return all keys in the order of the models, those of a section that occurs twice only once.

    Keys of the same name in sections that the user chooses among are one key, which says where it belongs.
    """
    merged: dict[str, list[tuple[str, Key]]] = {}
    for method, key in _keys("", Config, sections()):
        merged.setdefault(key.path, []).append((method, key))
    return [_merged(alternatives) for alternatives in merged.values()]


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


def _keys(
    path: str, section: type[BaseModel], models: Mapping[str, list[type[BaseModel]]], method: str = ""
) -> Iterator[tuple[str, Key]]:
    """Yield the keys of a section and those below it, each with the method that it belongs to, or an empty text."""
    properties = section.model_json_schema(by_alias=True)
    for key, field in _fields(section):
        inner = f"{path}.{key}".lstrip(".")
        yield (
            method,
            Key(
                path=inner,
                kind=_kind(
                    properties["properties"][key], properties.get("$defs", {}), _reference(inner, field, models)
                ),
                default=_default(field),
                unit=UNITS.get(inner, ""),
                description=field.description or "",
            ),
        )
        children = _children_of(inner, field)
        for deeper, child in children:
            if child in models.get(deeper, []):
                own = method_of(child) if len(children) > 1 else None
                yield from _keys(deeper, child, models, own or method)


def _merged(alternatives: list[tuple[str, Key]]) -> Key:
    """Return one key for those of several methods, saying what holds for which."""
    methods, keys = [method for method, _ in alternatives], [key for _, key in alternatives]
    if not methods[0]:
        return keys[0]

    def said(value: Callable[[Key], str], join: str, form: str) -> str:
        parts: dict[str, list[str]] = {}
        for method, key in alternatives:
            parts.setdefault(value(key), []).append(f"`{method}`")
        if len(parts) == 1:
            return next(iter(parts))
        return join.join(form.format(text=text, methods=", ".join(named)) for text, named in parts.items())

    kind = said(lambda key: key.kind, " or ", "{text} ({methods})")
    default = said(lambda key: key.default, "; ", "{text} ({methods})")
    if keys[0].path.endswith(".method"):
        values = [key.kind.strip("`") for key in keys]
        given = [key.default for key in keys if key.default != "required"]
        return replace(keys[0], kind=_alternatives(list(values)), default=given[0] if given else "required")
    description = said(lambda key: key.description, " ", "{methods}: {text}")
    if len({key.description for key in keys}) == 1:
        description = f"{', '.join(f'`{method}`' for method in methods)}: {description}"
    return replace(keys[0], kind=kind, default=default, description=description)


def _fields(section: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        yield field.alias or name, field


def _children(path: str, section: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    return [child for key, field in _fields(section) for child in _children_of(f"{path}.{key}".lstrip("."), field)]


def _children_of(path: str, field: FieldInfo) -> list[tuple[str, type[BaseModel]]]:
    return list(sections_in(path, field.annotation))


def _meanings(model: type[BaseModel]) -> dict[str, str | None]:
    return {key: field.description for key, field in _fields(model)}


def _described(
    section: type[BaseModel], models: Mapping[str, list[type[BaseModel]]]
) -> tuple[str, type[BaseModel]] | None:
    """Return where a section with these keys and meanings is found: itself, one that it overrides, or one with more."""
    meanings = _meanings(section)
    for path, known in models.items():
        for model in known:
            if _meanings(model) == meanings or (
                issubclass(model, section) and meanings.items() <= _meanings(model).items()
            ):
                return path, model
    return None


def _reference(path: str, field: FieldInfo, models: Mapping[str, list[type[BaseModel]]]) -> str:
    """Return where the keys of a section are described, if not right here."""
    for deeper, child in _children_of(path, field):
        found = _described(child, models)
        if found is not None and found[0] != deeper:
            where, model = found
            further = [f"`{key}`" for key in _meanings(model) if key not in _meanings(child)]
            return f"`{where}`" + (f" but {', '.join(further)}" if further else "")
    return ""


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], reference: str) -> str:
    """Describe the type or the allowed values of a key as Markdown."""
    listed = schema.get("anyOf") or schema.get("oneOf") or [schema]
    choices = [choice for choice in listed if choice.get("type") != "null"]
    words = [_one_kind(choice, definitions, reference) for choice in choices]
    return " or ".join(dict.fromkeys(words))


def _one_kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], reference: str = "") -> str:
    if "$ref" in schema:
        return f"section, keys as in {reference}" if reference else "section"
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
    return f"map: {key} to {_kind(values, definitions, reference)}"


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
