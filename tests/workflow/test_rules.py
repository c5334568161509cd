"""The rules themselves: what each has to have, and that all configurations that are shipped can be planned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dl4ds_core.config import parse

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = [REPOSITORY / "config" / "config.yaml", *sorted((REPOSITORY / "config" / "experiments").glob("*.yaml"))]


def rules() -> dict[str, str]:
    """Return the text of every rule that does something, by name."""
    found: dict[str, str] = {}
    for file in sorted((REPOSITORY / "rules").glob("*.smk")):
        # Rules that there are only under a condition are indented.
        _, *parts = re.split(r"^( *)rule (\w+):\n", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for indent, name, text in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
            found[name] = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
    return {name: text for name, text in found.items() if re.search(r"^    (script|shell|run):", text, re.MULTILINE)}


def test_rules_are_found() -> None:
    assert {"coarsen", "split", "fit", "pool", "score", "page"} <= set(rules())


@pytest.mark.parametrize("name", rules())
def test_rule_is_complete(name: str) -> None:
    directives = set(re.findall(r"^    (\w+):", rules()[name], re.MULTILINE))
    assert {"output", "log", "benchmark", "message", "resources", "params", "conda"} <= directives
    resources = rules()[name].partition("    resources:\n")[2]
    # A local job has the memory of its machine; a training asks for more only after starts that got no further.
    memory = r"\d+" if "    localrule: True" in rules()[name] else r"lambda .*" if name == "fit" else r"growing\(\d+\)"
    assert re.search(rf"^        mem_mb={memory},$", resources, re.MULTILINE)
    assert re.search(r"^        runtime=(\d+|longer\(\d+\)),$", resources, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in rules() if name != "download"])
def test_rule_depends_on_its_code(name: str) -> None:
    """A download is identified by its checksum."""
    script = re.search(r"scripts/(\w+)\.py|SCRIPTS / \"(\w+)\.py\"", rules()[name])
    assert script
    # What launches a training only looks after the ranks; what it starts is code of the product.
    started = {"launch": "train"}.get(script[1] or script[2], script[1] or script[2])
    assert f'code=code("{started}")' in rules()[name]


def test_lint_finds_nothing(fresh: Any, tiny: dict[str, Any]) -> None:
    outcome = fresh.snakemake(tiny, "--lint")
    assert outcome.status == 0, outcome.output
    assert "Lints for" not in outcome.output


def test_profiles_name_no_unknown_option(fresh: Any) -> None:
    profile = yaml.safe_load((REPOSITORY / "profiles" / "local" / "config.yaml").read_text(encoding="utf-8"))
    options = fresh.command("snakemake", "--help").output
    assert not [key for key in profile if f"--{key}" not in options]


@pytest.mark.parametrize(
    "path",
    # Of those that are much alike, one is enough.
    [pytest.param(path, marks=[] if path in CONFIGS[::4] else pytest.mark.full) for path in CONFIGS],
    ids=lambda path: path.stem,
)
def test_shipped_configurations_can_be_planned(
    fresh: Any, demo_file: Path, path: Path, request: pytest.FixtureRequest
) -> None:
    text = path.read_text(encoding="utf-8")
    if "data://" in text:
        fresh.variables["DL4DS_DATA"] = str(request.getfixturevalue("data_dir"))
    config = yaml.safe_load(text)
    outcome = fresh.snakemake(config, "--dry-run", "report", "archive")
    if "no file matches" in outcome.output:
        pytest.skip(f"the data of {path.name} are not here: {outcome.output.strip().splitlines()[-1]}")
    assert outcome.status == 0, outcome.output
    settings = parse(config)  # which expands lists of values into models
    assert re.search(rf"^fit +{len(settings.models) * len(settings.seeds)}$", outcome.output, re.MULTILINE)


def test_the_demo_is_the_default(fresh: Any, demo_file: Path) -> None:
    """Without a configuration on the command line the demo runs; only then is config/config.yaml read."""
    outcome = fresh.command(
        *("snakemake", "--snakefile", str(fresh.repository / "Snakefile"), "--dry-run"),
        *("--profile", str(fresh.repository / "profiles" / "local"), "--directory", str(fresh.repository)),
    )
    assert outcome.status == 0, outcome.output
    assert "results/demo/report.html" in outcome.output
