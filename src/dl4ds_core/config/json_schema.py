"""The JSON schema of a configuration file, in which a network may have lists of values (a sweep)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dl4ds_core.config.schema import Config

Schema = dict[str, Any]
#: What says something about a key, and nothing about its values.
_NOTES = ("title", "description", "default")


def json_schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of a configuration file."""
    schema = Config.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    models = schema["properties"]["models"]["patternProperties"]
    found: dict[str, Schema] = {}
    for pattern, network in models.items():
        models[pattern] = _reference(network["$ref"], definitions, found)
    del definitions["Model"]  # nothing else is one
    schema["$defs"] = dict(sorted((definitions | found).items()))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _reference(reference: str, definitions: Mapping[str, Schema], found: dict[str, Schema]) -> Schema:
    """Return a reference to a section whose keys may have lists, which is added to those found."""
    name = reference.rpartition("/")[2]
    swept = f"{name}WithLists"
    if swept not in found:
        section = found[swept] = dict(definitions[name])
        section["properties"] = {
            key: _value_or_list(value, definitions, found) for key, value in section["properties"].items()
        }
    return {"$ref": f"#/$defs/{swept}"}


def _value_or_list(value: Schema, definitions: Mapping[str, Schema], found: dict[str, Schema]) -> Schema:
    """Return the schema of a value, inside which there may be lists too, or a list of such values."""
    notes = {key: value[key] for key in _NOTES if key in value}
    single = {key: entry for key, entry in value.items() if key not in _NOTES}
    choices = [_with_lists(choice, definitions, found) for choice in single.get("anyOf", [single])]
    return {**notes, "anyOf": [*choices, {"type": "array", "items": single, "minItems": 1, "uniqueItems": True}]}


def _with_lists(choice: Schema, definitions: Mapping[str, Schema], found: dict[str, Schema]) -> Schema:
    if "$ref" in choice:
        return _reference(choice["$ref"], definitions, found)
    changed = dict(choice)
    if isinstance(choice.get("additionalProperties"), dict):
        changed["additionalProperties"] = _value_or_list(choice["additionalProperties"], definitions, found)
    if "patternProperties" in choice:
        changed["patternProperties"] = {
            pattern: _value_or_list(entry, definitions, found) for pattern, entry in choice["patternProperties"].items()
        }
    return changed
