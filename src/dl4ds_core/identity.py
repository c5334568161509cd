"""What identifies a product: the code a stage uses, and the global attributes that say how it was made."""

from __future__ import annotations

import ast
import hashlib
import logging
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dl4ds_core.config import Config, digest, model_settings, parse

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
#: Folders and files whose new files count as a change.
CODE = ("Snakefile", "rules", "scripts", "src", "workflow")
#: These say what is asked for, which reaches a stage as parameters, or how it is logged; they don't shape results.
IGNORED = ("dl4ds_core.config", "dl4ds_core.errors", "dl4ds_core.files", "dl4ds_core.identity", "dl4ds_core.jobs")
_ADDRESS = re.compile(r"(https?|ssh|git)://|[\w.-]+@[\w.-]+:")


def code_digest(script: str | Path) -> str:
    """Return a hash of a script and of all the library code it imports, directly or not.

    Comments, docstrings and formatting don't count: only what can change a result does.

    Parameters
    ----------
    script : str or Path
        A Python file.
    """
    seen: dict[str, str] = {}
    canonical, imported = _read(Path(script))
    _follow(imported, "", seen)
    content = [canonical] + [seen[name] for name in sorted(seen)]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]


def _follow(names: Iterable[str], module: str, seen: dict[str, str]) -> None:
    for name in names:
        path = _file_of(name, PACKAGE)
        if path is None or name in seen or name == module or name.startswith(IGNORED):
            continue
        seen[name], imported = _read(path)
        _follow(imported, name, seen)


@cache
def _file_of(module: str, package: Path) -> Path | None:
    base = package.parent.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _read(path: Path) -> tuple[str, list[str]]:
    """Return what counts of a file, as text, and the modules that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imported: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree), sorted(name for name in imported if name.split(".")[0] == PACKAGE.name)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all statements below it, far fewer than its nodes: every command of Snakemake reads all code."""
    yield node
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        parts = getattr(node, block, None)
        for part in parts if isinstance(parts, list) else ():
            yield from _statements(part)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def config_digest(config: Config) -> str:
    """Return the short hash of all that identifies a result: the configuration without ``execution`` and citations.

    Of each model it takes what it inherits and overrides together: two ways to write the same are equal.
    """
    content = config.model_dump(mode="json", by_alias=True, exclude={"execution", "title"})
    for source in content["sources"].values():
        del source["citation"], source["licence"]
    content["models"] = {name: model_settings(config, name).model_dump(mode="json") for name in config.models}
    return digest(content)


def about(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what all products of an experiment say of it; ``config`` is the configuration as nested mappings."""
    parsed = parse(config)
    return {
        "title": parsed.title or parsed.experiment,
        "experiment": parsed.experiment,
        "source": "; ".join(source.citation or name for name, source in parsed.sources.items()),
        "references": "https://doi.org/10.1017/eds.2022.37",
        "config_digest": config_digest(parsed),
    }


def product_attributes(about: Mapping[str, str], stage: str) -> dict[str, Any]:
    """Return the global attributes of a netCDF product.

    Parameters
    ----------
    about : mapping
        As of `about`; empty values are left out.
    stage : str
        Name of the stage, for the history.
    """
    version = metadata.version("dl4ds_core")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **{key: value for key, value in about.items() if value},
        "history": f"{now}: {stage} (dl4ds_core {version})",
        "dl4ds_core_version": version,
        "dl4ds_core_commit": commit() or "not a git checkout",
    }


@cache
def commit() -> str | None:
    """Return the commit of the checkout the library runs from, and whether files differ; None outside of one."""
    state = git_state(PACKAGE.parent.parent)
    return f"{state['commit']}{' with changes' if state['dirty'] else ''}" if state else None


def git_state(checkout: str | Path) -> dict[str, Any] | None:
    """Return the commit, whether the code was changed since, and where it can be cloned; None outside a checkout.

    Changed means: a tracked file differs from the commit, or there are new files among the code. A remote repository
    that is a folder, which others can't reach, is none.
    """
    commit = output_of(["git", "-C", str(checkout), "rev-parse", "HEAD"])
    if not commit:
        return None
    modified = output_of(["git", "-C", str(checkout), "status", "--porcelain", "--untracked-files=no"])
    added = output_of(["git", "-C", str(checkout), "ls-files", "--others", "--exclude-standard", "--", *CODE])
    remote = output_of(["git", "-C", str(checkout), "remote", "get-url", "origin"]) or ""
    return {"commit": commit, "dirty": bool(modified or added), "remote": remote if _ADDRESS.match(remote) else None}


def output_of(command: list[str], *, both: bool = False) -> str | None:
    """Return what a program prints, or None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("%s: %s", " ".join(command), error)
        return None
    return (done.stdout + done.stderr if both else done.stdout).strip()
