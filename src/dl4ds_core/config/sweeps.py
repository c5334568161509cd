"""Sweeps: a list in place of a value stands for a network with each of its values.

A network and all its values are told by its name, so that a list may grow and what is trained already stays as it is:
``resnet: {filters: [16, 32]}`` is ``resnet_filters-16`` and ``resnet_filters-32``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, get_origin

from dl4ds_core.config.annotations import bare, inside, union_members
from dl4ds_core.config.fields import LONGEST_NAME
from dl4ds_core.config.models import Model

#: The most networks that one section may stand for: more is a slip rather than a plan.
LIMIT = 200


class Choice(NamedTuple):
    """A key with several values.

    Attributes
    ----------
    path : tuple
        Keys, from the section of the network down.
    values : list
        As given.
    """

    path: tuple[Any, ...]
    values: list[Any]


def expand(models: Any) -> Any:
    """Return the section ``models`` with all its networks, each with one value per key.

    The product of all lists of a network is taken. A key whose value is a list by itself (such as ``calendar``) is
    swept by a list of lists. What has no lists is returned as it is, so expanding twice changes nothing.

    Parameters
    ----------
    models : mapping
        Of names to sections, not validated yet; anything else is returned as it is.

    Raises
    ------
    ValueError
        With one line per problem: a list that is empty or has equal values, too many networks, or names that are too
        long or taken.
    """
    if not isinstance(models, Mapping):
        return models
    expanded: dict[Any, Any] = {}
    problems: list[str] = []
    for name, model in models.items():
        choices = list(_choices(model, Model))
        wrong = list(_problems(f"models.{name}", choices))
        networks = [] if wrong else list(_networks(name, model, choices))
        if networks and choices:
            wrong = list(_wrong_names(f"models.{name}", [key for key, _ in networks], {*expanded, *models}))
        problems += wrong
        expanded.update(networks)
    if problems:
        raise ValueError("\n".join(problems))
    return expanded


def said_once(lines: Iterable[str], models: Any) -> Iterator[str]:
    """Yield lines such as ``models.<name>.<key>: what is wrong``, one for all networks of sweeps with the same problem.

    Parameters
    ----------
    lines : iterable of str
        What is wrong with a configuration.
    models : mapping
        Its section ``models``, as given.
    """
    try:
        swept = sorted({*expand(models)} - {*models}, key=len, reverse=True)
    except (ValueError, TypeError):
        swept = []  # That it can't be expanded is one of the lines.
    alike: dict[str, list[str]] = {}
    for line in lines:
        name = next((name for name in swept if line.startswith((f"models.{name}.", f"models.{name}:"))), "")
        alike.setdefault(line.removeprefix(f"models.{name}") if name else line, []).append(line)
    for first, *others in alike.values():
        yield f"{first} (and so in {len(others)} more)" if others else first


def _choices(value: Any, annotation: Any, path: tuple[Any, ...] = ()) -> Iterator[Choice]:
    """Find the lists that stand for several values, in an order that does not depend on how the file is written."""
    if annotation is None:
        return  # An unknown key, which validation names.
    kind = bare(union_members(annotation)[0])
    if isinstance(value, Mapping):
        known = list(getattr(kind, "model_fields", ()))
        for key in sorted(value, key=lambda key: (known.index(key) if key in known else len(known), str(key))):
            yield from _choices(value[key], inside(kind, key), (*path, key))
    elif path and isinstance(value, list):
        by_itself = get_origin(kind) is list
        if not by_itself or any(isinstance(entry, list) for entry in value):
            yield Choice(path, value)


def _problems(where: str, choices: Sequence[Choice]) -> Iterator[str]:
    for path, values in choices:
        key = ".".join(map(str, path))
        if not values:
            yield f"{where}.{key}: expected at least one value, found an empty list; leave the key out for its default"
        if any(value in values[:number] for number, value in enumerate(values)):
            yield f"{where}.{key}: expected different values, found {values}"
    number = math.prod(len(values) for _, values in choices)
    if number > LIMIT:
        lists = ", ".join(f"{len(values)} of {'.'.join(map(str, path))}" for path, values in choices)
        yield (
            f"{where}: expected no more than {LIMIT} networks, found {number} ({lists}); shorten a list, or make "
            "several sections of those combinations that you want to compare"
        )


def _wrong_names(where: str, names: Sequence[str], taken: set[Any]) -> Iterator[str]:
    twice = [name for number, name in enumerate(names) if name in taken or name in names[:number]]
    if twice:
        yield (
            f"{where}: two networks would have the name {twice[0]}; rename the section, or give one of them a section "
            "of its own"
        )
    longest = max(names, key=len)
    if len(longest) > LONGEST_NAME:
        yield (
            f"{where}: expected names of no more than {LONGEST_NAME} characters, found {longest} with {len(longest)}; "
            "shorten the name of the section, or have fewer keys with lists of values"
        )


def _networks(name: Any, model: Any, choices: Sequence[Choice]) -> Iterator[tuple[Any, Any]]:
    """Yield each network with its name."""
    for values in product(*(choice.values for choice in choices)):
        key, network = name, model
        for (path, _), value in zip(choices, values, strict=True):
            # No key of `training` is one of the network too, so it is known without that word.
            told = path[1:] if path[0] == "training" and len(path) > 1 else path
            key = f"{key}_{_word('.'.join(map(str, told)))}-{_word(value)}"
            network = _changed(network, path, value)
        yield key, network


def _changed(section: Mapping[Any, Any], path: Sequence[Any], value: Any) -> dict[Any, Any]:
    """Return a copy of a section with another value at a path."""
    first, *rest = path
    return {**section, first: _changed(section[first], rest, value) if rest else value}


def _word(value: Any) -> str:
    """Return a value as a part of a name: numbers as Python writes them, all other signs as ``-``."""
    if isinstance(value, Mapping):
        words = [f"{_word(key)}-{_word(value[key])}" for key in sorted(value, key=str)]
    elif isinstance(value, list):
        words = [_word(entry) for entry in value]
    else:
        text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
        words = [re.sub(r"[^A-Za-z0-9_.-]+", "-", text.replace("+", "")).strip("-")]
    return "-".join(words) or "none"
