"""What a profile of Snakemake asks SLURM for, rule by rule, without running Snakemake."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dl4ds_core.errors import ClusterError

#: What may stand in the arithmetic of a request, such as `4000 * attempt`.
_KNOWN = {"attempt": 1, "min": min, "max": max, "int": int, "round": round}
_ARITHMETIC = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.Call,
)
_MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}


@dataclass(frozen=True)
class Request:
    """What one rule asks for.

    Attributes
    ----------
    rule : str
        Its name.
    resources : dict
        By name, as Snakemake's SLURM executor reads them. What depends on input files is left out.
    threads : int
        Its threads.
    general : frozenset of str
        Names that come from `default-resources` of the profile.
    group : str
        For rules of which several jobs go into one of SLURM: how many, and how many of them at a time, in words.
    """

    rule: str
    resources: dict[str, Any]
    threads: int
    general: frozenset[str]
    group: str = ""

    def __str__(self) -> str:
        return f"{self.rule}{f' ({self.group})' if self.group else ''}"

    def key(self, name: str) -> str:
        """Return where the profile says this, or is to say it."""
        return f"default-resources: {name}" if name in self.general else f"set-resources: {self.rule}: {name}"

    def text(self, name: str) -> str:
        """Return a resource as text, empty where it isn't asked for."""
        value = self.resources.get(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> int | None:
        """Return a resource as a whole number, None where there is none."""
        value = self.resources.get(name)
        return value if isinstance(value, int) else None


@dataclass(frozen=True)
class Profile:
    """A profile of Snakemake.

    Attributes
    ----------
    path : Path
        Its file.
    settings : dict
        All that stands in it.
    default : dict
        `default-resources`, by name.
    rules : dict
        `set-resources`, by rule and name.
    """

    path: Path
    settings: dict[str, Any]
    default: dict[str, Any]
    rules: dict[str, dict[str, Any]]

    def requests(self, own: Mapping[str, Mapping[str, int]]) -> list[Request]:
        """Return what each rule asks for: by itself, by the profile's defaults, by the profile for this rule.

        Parameters
        ----------
        own : mapping
            Requests that rules make themselves, by rule and name; see `rule_requests`.
        """
        threads = _pairs(self.settings.get("set-threads"), "set-threads", self.path)
        found = []
        for rule, mine in own.items():
            given = self.rules.get(rule, {})
            resources = _usable(self.default | dict(mine) | given)
            count = threads.get(rule, resources.pop("threads", 1))
            general = {*self.default, "slurm_partition", "slurm_account", "qos"} - {*mine, *given}
            found.append(self._grouped(Request(rule, resources, int(count), frozenset(general))))
        return found

    def _grouped(self, request: Request) -> Request:
        """Return what a full group of a rule's jobs asks for: some side by side, the others after them."""
        sections = ("groups", "group-components", "resources", "set-resource-scopes")
        groups, sizes, limits, scopes = (
            _pairs(self.settings.get(name), name, self.path) if self.settings.get(name) else {} for name in sections
        )
        size = int(sizes.get(groups.get(request.rule, ""), 1))
        room = [
            int(limit) // int(request.resources[name])
            for name, limit in limits.items()
            if scopes.get(name) == "local" and request.number(name)
        ]
        abreast = max(1, min([size, *room]))
        if size == 1:
            return request
        wider = {name: value * abreast for name in ("mem_mb",) if (value := request.number(name))}
        longer = {name: value * -(-size // abreast) for name in ("runtime",) if (value := request.number(name))}
        return replace(
            request,
            resources=request.resources | wider | longer,
            threads=request.threads * abreast,
            group=f"{size} in a job, {abreast} at a time",
        )


def read(path: str | Path) -> Profile:
    """Read a profile: a folder with a config.yaml, or the file itself.

    Raises
    ------
    ClusterError
        If there is none, or it has another form than Snakemake's.
    """
    file = Path(path)
    if file.is_dir():
        file = max(file.glob("config.v*+.yaml"), default=file / "config.yaml")
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClusterError(f"{path}: expected a profile with a config.yaml, found none ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ClusterError(f"{file}: this is no YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ClusterError(f"{file}: expected a mapping of keys, found {type(settings).__name__}")
    default = _pairs(settings.get("default-resources"), "default-resources", file)
    rules: dict[str, dict[str, Any]] = {}
    for target, value in _entries(settings.get("set-resources"), "set-resources", file):
        if isinstance(value, dict):
            rules.setdefault(target, {}).update({name: _evaluated(entry) for name, entry in value.items()})
        else:
            rule, _, name = target.partition(":")
            rules.setdefault(rule, {})[name] = _evaluated(value)
    return Profile(file, settings, default, rules)


def rule_requests(files: Iterable[Path]) -> dict[str, dict[str, int]]:
    """Return what rules ask for themselves: the first number of each line `threads: ...`, `mem_mb=...`, `runtime=...`.

    Rules that run where Snakemake runs are left out.
    """
    found: dict[str, dict[str, int]] = {}
    for file in files:
        for block in re.split(r"^(?=rule \w+:)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            rule = re.match(r"rule (\w+)", block)
            if rule and not re.search(r"^ +localrule: True", block, re.MULTILINE):
                numbers = re.findall(r"^ +(threads|mem_mb|runtime)\s*[=:][^\n\d]*(\d+)", block, re.MULTILINE)
                found[rule[1]] = {name: int(number) for name, number in numbers}
        for base, rule_name in re.findall(r"^use rule (\w+) as (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            if base in found:
                found[rule_name] = found[base]
    return found


def _pairs(section: Any, key: str, file: Path) -> dict[str, Any]:
    return {name: _evaluated(value) for name, value in _entries(section, key, file)}


def _entries(section: Any, key: str, file: Path) -> list[tuple[str, Any]]:
    if section is None:
        return []
    if isinstance(section, dict):
        return [(str(name), value) for name, value in section.items()]
    if isinstance(section, list) and all(isinstance(entry, str) and "=" in entry for entry in section):
        return [(name, value) for name, _, value in (entry.partition("=") for entry in section)]
    raise ClusterError(f"{file}: {key}: expected a mapping or a list of NAME=VALUE, found {section!r}")


def _evaluated(value: Any) -> Any:
    """Return a value of the profile as Snakemake takes it: arithmetic is worked out, for the first attempt."""
    if not isinstance(value, str):
        return value
    try:
        tree = ast.parse(value.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return value
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if not names <= _KNOWN.keys() or not all(isinstance(node, _ARITHMETIC) for node in ast.walk(tree)):
        return value
    try:
        return eval(compile(tree, "profile", "eval"), {"__builtins__": {}}, dict(_KNOWN))
    except (ArithmeticError, TypeError, ValueError):
        return value


def _usable(resources: dict[str, Any]) -> dict[str, Any]:
    """Return resources with wall time and memory as numbers; what can't be known before the run is left out."""
    usable = dict(resources)
    if "runtime" in usable:
        usable["runtime"] = minutes_of(usable["runtime"])
    if "mem" in usable and "mem_mb" not in resources:
        usable["mem_mb"] = _megabytes_of(usable["mem"])
    for name in ("mem_mb", "mem_mb_per_cpu", "tasks", "nodes", "cpus_per_task", "gpu"):
        if isinstance(usable.get(name), float):
            usable[name] = int(usable[name])
        if not isinstance(usable.get(name), int):
            usable.pop(name, None)
    return {name: value for name, value in usable.items() if value is not None}


def minutes_of(value: Any) -> int | None:
    """Return a wall time in minutes: a number of them, or `4h`, `1d 12h`; None for anything else."""
    if isinstance(value, int | float):
        return round(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", str(value))
    return round(sum(float(number) * _MINUTES[unit] for number, unit in parts)) if parts else None


def _megabytes_of(value: Any) -> int | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MGT])i?B?", str(value).strip())
    return round(float(match[1]) * {"M": 1, "G": 1000, "T": 1000**2}[match[2]]) if match else None
