"""Write the locked versions into the conda environments; called by ``make lock``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^(\s+- )([\w.-]+)(\[[\w-]+\])?(==?)(\d[\w.]*)$", re.MULTILINE)
# The GPU build of TensorFlow has the version of the one for CPUs, which is the one that is locked.
STANDS_FOR = {"tensorflow": "tensorflow-cpu"}


def locked_versions() -> dict[str, str]:
    """Return version by name of every package in the locks."""
    versions: dict[str, str] = {}
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        versions |= dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE))
    return versions


def pin(environment: str, versions: dict[str, str]) -> str:
    """Return the text of an environment with the version of every locked package in it."""

    def replace(match: re.Match[str]) -> str:
        indent, name, extra, operator, version = match.groups(default="")
        return f"{indent}{name}{extra}{operator}{versions.get(STANDS_FOR.get(name, name), version)}"

    return PIN.sub(replace, environment)


def main() -> None:
    """Pin all environments in ``envs/``."""
    versions = locked_versions()
    for path in sorted((ROOT / "envs").glob("*.yaml")):
        path.write_text(pin(path.read_text(), versions))


if __name__ == "__main__":
    main()
