"""Reading a configuration, with one line per problem."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dl4ds_core.config.schema import Config, Model, Normalization, Section, Training
from dl4ds_core.errors import ConfigError, ProblemList


class ModelSettings(Section):
    """All that determines a trained network, resolved: what `models.<name>` says and what it inherits."""

    network: Model
    training: Training
    normalization: dict[str, Normalization]
    scalers: str


def load(path: str | Path) -> Config:
    """Read and check a configuration file.

    Parameters
    ----------
    path : str or Path
        A YAML file.

    Raises
    ------
    ConfigError
        If the file can't be read, is no YAML mapping, or any key is wrong; all problems are listed.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't read the configuration: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    return parse(content, str(path))


def parse(content: Any, origin: str = "config") -> Config:
    """Check a configuration given as nested mappings.

    Raises
    ------
    ConfigError
        Listing every problem, with the path of the key.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{origin}: expected a mapping of keys, found {type(content).__name__}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = ProblemList()
        for item in error.errors():
            problems.extend(f"{origin}: {line}" for line in _describe(item))
        problems.raise_if_any(ConfigError)
        raise


def model_settings(config: Config, name: str) -> ModelSettings:
    """Return the settings of one model with everything it inherits."""
    model = config.models[name]
    override: dict[str, Any] = model.training.model_dump(exclude_unset=True) if model.training else {}
    normalization = {"default": Normalization()} | config.normalization | (model.normalization or {})
    fields = {*config.data.predictands, *config.data.static}
    return ModelSettings(
        network=model.model_copy(update={"training": None, "normalization": None}),
        training=Training.model_validate(config.training.model_dump() | override),
        normalization={field: normalization.get(field, normalization["default"]) for field in sorted(fields)},
        scalers=f"of-{name}" if model.normalization else "default",
    )


def digest(content: Any) -> str:
    """Return a short hash of a section or plain value; equal content gives equal hashes, in any order of keys."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json", by_alias=True)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _describe(item: Any) -> list[str]:
    """Turn one pydantic error into lines 'key: what is wrong'."""
    location = [part for part in item["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        return [f"{key}: unknown key{_suggestion(location)}"]
    if item["type"] == "missing":
        return [f"{key}: this key is required"]
    if item["type"] == "value_error":
        lines = str(item["ctx"]["error"]).splitlines()
        return [f"{key}: {line}" if key else line for line in lines]
    return [f"{key}: {item['msg'][:1].lower()}{item['msg'][1:]}, found {item['input']!r}"]


def _suggestion(location: list[Any]) -> str:
    section = _section_at(location[:-1])
    if section is None:
        return ""
    allowed = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed here: {', '.join(allowed)}"


def _section_at(location: list[Any]) -> type[BaseModel] | None:
    """Find the section a path leads to, through maps and lists."""
    current: Any = Config
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            by_alias = {field.alias or name: field for name, field in current.model_fields.items()}
            if part not in by_alias:
                return None
            current = by_alias[part].annotation
        else:
            current = get_args(current)[-1]
        current = _without_optional(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _without_optional(annotation: Any) -> Any:
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    return arguments[0] if len(arguments) == 1 and type(None) in get_args(annotation) else annotation
