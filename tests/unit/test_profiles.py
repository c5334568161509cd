"""The profiles that are shipped: what stands in them exists, in Snakemake and in the rules."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("snakemake_executor_plugin_slurm")

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "profiles"
NAMES = ("local", "slurm")
SLURM = {"sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"}
#: What Snakemake and its SLURM executor read, besides what the rules name themselves.
KNOWN = {
    *("mem_mb", "runtime", "tasks", "nodes", "cpus_per_task", "mem_mb_per_cpu", "tmpdir", "gpu", "gres", "constraint"),
    *("slurm_partition", "slurm_account", "slurm_extra", "qos", "clusters", "disk_mb", "ntasks_per_node"),
}
COMMENTED = re.compile(r"^( *)# ([a-z][\w-]*: *(?:\S.*)?)$")


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8")))


def with_suggestions(name: str) -> dict[str, Any]:
    """Return a profile with all keys in it that are commented out."""
    lines = (PROFILES / name / "config.yaml").read_text(encoding="utf-8").splitlines()
    content = yaml.safe_load("\n".join(COMMENTED.sub(r"\1\2", line) for line in lines))
    del content["mem_mb"]  # an example, in the text above the requests by rule
    return dict(content)


@pytest.fixture(scope="module")
def options() -> dict[str, argparse.Action]:
    """The options of Snakemake, those of its executors included, by name without dashes."""
    from snakemake.cli import get_argument_parser

    return {text.lstrip("-"): action for action in get_argument_parser()._actions for text in action.option_strings}


def rules() -> dict[str, str]:
    """Return the text of every rule by name."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text(encoding="utf-8")
        parts = re.split(r"^ *rule (\w+):\n", text, flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
        found |= {name: found[base] for base, name in re.findall(r"^use rule (\w+) as (\w+)", text, re.MULTILINE)}
    return found


def is_job(rule: str) -> bool:
    """Whether a rule becomes a job of a cluster."""
    return "    localrule: True" not in rules()[rule]


@pytest.mark.parametrize(("name", "profile"), [("local", read), ("slurm", read), ("slurm", with_suggestions)])
def test_every_key_is_an_option(options: Mapping[str, argparse.Action], name: str, profile: Any) -> None:
    content = profile(name)
    assert [key for key in content if key not in options] == []
    for key, value in content.items():
        assert not isinstance(options[key], argparse._StoreTrueAction) or isinstance(value, bool), key


def test_the_suggestions_are_found() -> None:
    found = with_suggestions("slurm")
    assert {"conda-prefix", "slurm-status-command", "software-deployment-method"} <= set(found) - set(read("slurm"))
    assert {"slurm_account", "mem_mb_per_cpu", "qos"} <= set(found["default-resources"])
    assert {"tasks", "mem_mb", "slurm_partition", "launcher"} <= set(found["set-resources"]["fit"])


@pytest.mark.parametrize("name", NAMES)
def test_snakemake_reads_the_profile(name: str, tmp_path: Path) -> None:
    """By its own parser, with all types checked; `--version` alone would not read it."""
    code = (
        "import sys; from snakemake.cli import parse_args\n"
        "_, args = parse_args(sys.argv[1:])\n"
        "print(args.executor, args.retries, sorted(str(trigger) for trigger in args.rerun_triggers))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, "--profile", str(PROFILES / name)], capture_output=True, text=True, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split()[:2] == (["slurm", "3"] if name == "slurm" else ["None", "0"])


def test_both_profiles_rerun_for_the_same_reasons() -> None:
    """Otherwise a change of the profile would make products out of date."""
    local, slurm = (read(name) for name in NAMES)
    assert local["rerun-triggers"] == slurm["rerun-triggers"] == ["mtime", "params", "input", "software-env"]
    for key in ("keep-going", "rerun-incomplete", "show-failed-logs"):
        assert local[key] is slurm[key] is True


@pytest.mark.parametrize("profile", [read, with_suggestions])
def test_rules_that_are_named_exist(profile: Any) -> None:
    content = profile("slurm")
    jobs = {name for name in rules() if is_job(name)}
    assert {"fit", "coarsen"} <= set(content["set-resources"]) <= jobs
    groups = dict(entry.split("=") for entry in content["groups"])
    assert set(groups) <= jobs
    assert {entry.split("=")[0] for entry in content["group-components"]} == set(groups.values())


def test_rules_listed_in_its_comments_become_jobs() -> None:
    text = (PROFILES / "slurm" / "config.yaml").read_text(encoding="utf-8")
    (listing,) = re.findall(r"# (coarsen, remap .*?\(report\)\.)", text, re.DOTALL)
    named = set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", listing))) - {"and"}
    assert named == {name for name in rules() if is_job(name)}


@pytest.mark.parametrize("profile", [read, with_suggestions])
def test_resources_that_are_named_mean_something(profile: Any) -> None:
    content = profile("slurm")
    limited = set(content["resources"])
    assert set(content["set-resource-scopes"]) == limited
    of_fit = set(re.findall(r"^        (\w+)=", rules()["fit"].partition("    resources:\n")[2], re.MULTILINE))
    assert set(content["default-resources"]) <= KNOWN
    for rule, resources in content["set-resources"].items():
        assert set(resources) <= KNOWN | limited | (of_fit if rule == "fit" else set()), rule


def test_a_group_asks_for_the_resource_that_limits_it() -> None:
    """Otherwise all jobs of the group would run at the same time, with the memory of all of them together."""
    content = read("slurm")
    for rule in (entry.split("=")[0] for entry in content["groups"]):
        assert content["set-resources"][rule]["stack"] == 1


def test_retries_are_in_the_profile_alone() -> None:
    """In a rule they would be repeated inside of the job."""
    assert read("slurm")["retries"] > 0
    assert not [name for name, text in rules().items() if re.search(r"^    retries:", text, re.MULTILINE)]


def test_the_launcher_of_the_profile_is_one_for_ranks() -> None:
    launcher = read("slurm")["set-resources"]["fit"]["launcher"].split()
    assert launcher[0] == "srun"
    assert {"--kill-on-bad-exit=1", "--ntasks=$WORKERS", "--cpus-per-task=$RANK_THREADS"} <= set(launcher)
    # With B: the signal would go to the batch shell alone.
    assert re.fullmatch(r"--signal=USR1@\d+", read("slurm")["set-resources"]["fit"]["slurm_extra"])


@pytest.mark.parametrize("name", ["slurm_partition", "slurm_account", "qos", "constraint", "slurm_extra", "clusters"])
def test_no_rule_names_what_depends_on_the_site(name: str) -> None:
    assert not [rule for rule, text in rules().items() if re.search(rf"\b{name}\b", text)]


@pytest.fixture
def laptop(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine without SLURM."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for name in os.listdir(folder):
            if name not in SLURM and not (programs / name).is_symlink():
                (programs / name).symlink_to(Path(folder) / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{programs}"
    assert not [name for name in SLURM if shutil.which(name, path=path)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return variables | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}


def snakemake(folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
            *("--profile", str(PROFILES / "slurm"), *arguments),
        ],
        env=variables,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )


def test_a_run_for_slurm_can_be_planned_without_slurm(laptop: dict[str, str], tmp_path: Path, demo_file: Path) -> None:
    planned = snakemake(tmp_path, laptop, "--dry-run")
    assert planned.returncode == 0, planned.stdout
    assert re.search(r"^fit +\d+$", planned.stdout, re.MULTILINE)
    assert not (tmp_path / "logs").exists()


def test_a_run_for_slurm_without_slurm_is_refused_at_once(
    laptop: dict[str, str], tmp_path: Path, demo_file: Path
) -> None:
    """The executor itself would try for ever."""
    refused = snakemake(tmp_path, laptop, "regrid")
    assert refused.returncode != 0
    assert "Error: this profile submits jobs to SLURM, whose commands were not found." in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not (tmp_path / "logs").exists()
    assert not list(tmp_path.glob(".snakemake/locks/*"))
