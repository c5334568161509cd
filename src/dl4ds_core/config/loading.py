"""Reading a configuration, with one line per problem."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dl4ds_core.config.fields import Section
from dl4ds_core.config.models import Model
from dl4ds_core.config.places import alternatives, place
from dl4ds_core.config.schema import Config
from dl4ds_core.config.sweeps import said_once
from dl4ds_core.config.training import Normalization, Training, merged
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
    return parse(read(path), str(path))


def read(path: str | Path) -> Any:
    """Read a YAML file in which no key comes twice.

    Raises
    ------
    ConfigError
        If the file can't be read or is no such YAML.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            return yaml.load(stream, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't read the configuration: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: its sections are nested too deeply") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # What YAML takes for a number or date, and Python doesn't.
        raise ConfigError(
            f"{path}: can't read the configuration: {error}; a value that is no number or date of the usual calendar, "
            "such as 2000-02-30, needs quotes"
        ) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice in one section: plain YAML would keep the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice in one section", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


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
        lines = dict.fromkeys(line for item in error.errors() for line in _describe(item))
        problems.extend(f"{origin}: {line}" for line in said_once(lines, content.get("models")))
        problems.raise_if_any(ConfigError)
        raise


def model_settings(config: Config, name: str) -> ModelSettings:
    """Return the settings of one model with everything it inherits."""
    model = config.models[name]
    fields = {*config.data.predictands, *config.data.predictors, *config.data.static}
    return ModelSettings(
        network=model.model_copy(update={"training": None, "normalization": None, "prediction": None}),
        training=merged(config.training, model.training, likelihood=model.distribution is not None),
        normalization={field: config.normalization_of(model, field) for field in sorted(fields)},
        scalers=f"of-{name}" if model.normalization else "default",
    )


def digest(content: Any) -> str:
    """Return a short hash of a section or plain value; equal content gives equal hashes, in any order of keys."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json", by_alias=True)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _describe(item: Any) -> list[str]:
    """Turn one pydantic error into lines 'key: what is wrong'."""
    found = place([part for part in item["loc"] if part != "[key]"])
    key = ".".join(found.path)
    if item["type"] == "extra_forbidden":
        return [f"{key}: unknown key{_suggestion(found.path[-1], found.section)}"]
    if item["type"] == "missing":
        return [f"{key}: this key is required"]
    if item["type"] == "value_error":
        lines = str(item["ctx"]["error"]).splitlines()
        # A line on something further down names it in full.
        return [line if not key or line.startswith(f"{key}.") else f"{key}: {line}" for line in lines]
    if item["type"] == "union_tag_invalid":
        return [_unknown_alternative(key, item)]
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return [f"{key}: expected a section of keys, found {_shown(item['input'])}"]
    return [f"{key}: {item['msg'][:1].lower()}{item['msg'][1:]}, found {_shown(item['input'])}"]


def _unknown_alternative(key: str, item: Any) -> str:
    """Describe a section whose kind, such as the method of a split, doesn't exist."""
    named, tag = item["ctx"]["discriminator"].strip("'"), item["ctx"]["tag"]
    known = [name.strip("'") for name in item["ctx"]["expected_tags"].split(", ")]
    close = difflib.get_close_matches(tag, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{key}.{named}: input should be {alternatives(known)}, found {tag!r}{hint}"


def _suggestion(key: str, section: type[BaseModel] | None) -> str:
    if section is None:
        return ""
    allowed = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(key, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; allowed here: {', '.join(allowed)}"


def _shown(value: Any) -> str:
    """Return a value as text of bounded length: it may be a whole section."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
