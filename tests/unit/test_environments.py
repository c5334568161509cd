"""Locks, conda environments and pyproject.toml name the same packages in the same versions."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# The build for GPUs is not locked: it has the version of the one for CPUs.
STANDS_FOR = {"tensorflow": "tensorflow-cpu"}


def read_lock(path: Path) -> dict[str, str]:
    """Version by name of all packages of a lock."""
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


LOCKED = {name: version for path in LOCKS for name, version in read_lock(path).items()}


def pip_section(path: Path) -> list[Requirement]:
    """Requirements that an environment installs with pip."""
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    sections = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return [Requirement(line) for section in sections for line in section]


def conda_section(path: Path) -> dict[str, str]:
    """Version (empty where any will do) by name of what an environment installs with conda."""
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    pairs = [entry.partition("=")[::2] for entry in dependencies if isinstance(entry, str)]
    return dict(pairs)


def declared() -> list[Requirement]:
    """Everything that pyproject.toml asks for."""
    project = PROJECT["project"]
    groups = [*project["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
    return [Requirement(line) for group in [project["dependencies"], *groups] for line in group]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_locks_hold_what_the_project_declares(requirement: Requirement) -> None:
    assert LOCKED[canonicalize_name(requirement.name)] in requirement.specifier


def test_locks_agree_with_each_other() -> None:
    for path in LOCKS:
        assert read_lock(path).items() <= LOCKED.items()


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locks_have_hashes_and_no_addresses(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "--index" not in text
    for entry in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_conda_environment_has_the_locked_versions(path: Path) -> None:
    environment = yaml.safe_load(path.read_text())
    assert environment["name"] == f"dl4ds-{path.stem}"
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    conda = conda_section(path)
    assert conda["python"] in PROJECT["project"]["requires-python"]
    for name in conda.keys() & LOCKED.keys():
        assert conda[name] in ("", LOCKED[name])
    for requirement in pip_section(path):
        locked = LOCKED[canonicalize_name(STANDS_FOR.get(requirement.name, requirement.name))]
        assert str(requirement.specifier) == f"=={locked}"


def test_conda_environments_are_installed_with_the_library() -> None:
    assert {path.stem for path in ENVIRONMENTS} == {"data", "train", "train-gpu", "verify"}
    for path in ENVIRONMENTS:
        assert "--editable ." in path.with_suffix(".post-deploy.sh").read_text()


def test_conda_environments_of_all_stages_hold_all_dependencies() -> None:
    installed = {canonicalize_name(entry.name) for path in ENVIRONMENTS for entry in pip_section(path)}
    runtime = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    assert runtime <= installed


@pytest.mark.parametrize("stage", ["data", "verify"])
def test_conda_environments_without_training_have_no_tensorflow(stage: str) -> None:
    names = {entry.name for entry in pip_section(ROOT / "envs" / f"{stage}.yaml")}
    assert not names & {"tensorflow", "tensorflow-cpu", "keras", "horovod"}


def stages_in_environments() -> list[tuple[str, str]]:
    """Environment and script of each rule that has both."""
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    found = re.findall(
        r"conda:\n\s+\"../envs/(\w+)\.yaml\"\n(?:(?!conda:).)*?script:\n\s+\"../scripts/(\w+)", text, re.S
    )
    return sorted({*found, ("train", "train"), ("train-gpu", "train"), ("train-gpu", "predict")})


def loaded_at_once(path: Path, seen: set[Path]) -> Iterator[str]:
    """Packages that are imported together with a file, by the file itself or by modules of the library."""
    seen.add(path)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "dl4ds_core":
                yield parts[0]
                continue
            for number in range(len(parts)):
                base = ROOT / "src" / Path(*parts[: number + 1])
                for module in (base.with_suffix(".py"), base / "__init__.py"):
                    if module.is_file() and module not in seen:
                        yield from loaded_at_once(module, seen)


@pytest.mark.parametrize(("environment", "script"), stages_in_environments(), ids=str)
def test_conda_environments_hold_what_their_stages_import(environment: str, script: str) -> None:
    names = set(loaded_at_once(ROOT / "scripts" / f"{script}.py", set())) - sys.stdlib_module_names
    distributions = metadata.packages_distributions()
    needed = {canonicalize_name(distributions[name][0]) for name in names - {"horovod"}}
    path = ROOT / "envs" / f"{environment}.yaml"
    there = {canonicalize_name(STANDS_FOR.get(entry.name, entry.name)) for entry in pip_section(path)}
    assert needed
    assert needed <= there


@pytest.mark.parametrize(
    ("environment", "packages"),
    [
        ("data", {"cfgrib", "pyproj"}),
        ("train", {"pyproj"}),
        ("train-gpu", {"pyproj"}),
        ("verify", {"pyproj", "scipy", "threadpoolctl", "xsdba"}),
    ],
)
def test_conda_environments_hold_what_their_stages_import_late(environment: str, packages: set[str]) -> None:
    assert packages <= {entry.name for entry in pip_section(ROOT / "envs" / f"{environment}.yaml")}


def test_the_engine_that_pip_has_not_comes_with_conda() -> None:
    assert {"cdo", "xesmf"} <= set(conda_section(ROOT / "envs" / "data.yaml"))


RECIPE = ROOT / "envs" / "container.def"


def stages_of_recipe() -> list[dict[str, str]]:
    """Header keys and sections of each stage of the container recipe; sections are named as in it, such as `%post`."""
    stages: list[dict[str, str]] = []
    section = ""
    for line in RECIPE.read_text().splitlines(keepends=True):
        if line.startswith("Bootstrap:"):
            stages.append({})
            section = ""
        if line.startswith("%"):
            section = line.strip().removesuffix(" -c /bin/bash")
            stages[-1][section] = ""
        elif section:
            stages[-1][section] += line
        elif line.strip() and not line.startswith("#"):
            key, colon, value = line.partition(":")
            assert colon, line
            stages[-1][key] = value.strip()
    return stages


def test_container_recipe_parses() -> None:
    cuda, final = stages_of_recipe()
    assert cuda == {"Bootstrap": "docker", "From": cuda["From"], "Stage": "cuda"}
    assert final["From"] == "debian:12"
    assert final.keys() >= {"%files", "%files from cuda", "%post", "%environment"}
    for section in ("%post", "%environment", "%runscript"):
        subprocess.run(["bash", "-n"], input=final[section], text=True, check=True)
    for line in final["%files"].split("\n"):
        assert not line or (ROOT / line.split()[0]).exists()
    assert "NOT RUN" in RECIPE.read_text().split("Bootstrap")[0]
    assert "://" not in RECIPE.read_text()


def test_container_installs_the_locked_versions(tmp_path: Path) -> None:
    _, final = stages_of_recipe()
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "envs" / "train-gpu.yaml", tmp_path)
    lines = [line for line in final["%post"].splitlines() if line.strip().startswith("sed ")]
    subprocess.run(["bash", "-eu"], input="\n".join(lines), text=True, check=True, cwd=tmp_path)
    packages = [Requirement(line) for line in (tmp_path / "packages.txt").read_text().splitlines()]
    assert packages == pip_section(ROOT / "envs" / "train-gpu.yaml")
    constraints = [Requirement(line) for line in (tmp_path / "constraints.txt").read_text().splitlines()]
    locked = read_lock(ROOT / "requirements" / "lock.txt")
    assert {canonicalize_name(entry.name): str(entry.specifier)[2:] for entry in constraints} == locked
    assert not re.search(r"[a-z]==\d", final["%post"])  # no version is written down a second time
    assert "requirements/horovod.sh" in final["%post"]


def test_container_is_built_as_the_conda_environment_for_gpus_is() -> None:
    cuda, final = stages_of_recipe()
    (version,) = re.findall(r"cuda:(\d+\.\d+)\.\d+-devel", cuda["From"])
    assert conda_section(ROOT / "envs" / "train-gpu.yaml")["cuda-nvcc"] == version
    assert {*re.findall(r"cuda-(\d+\.\d+)", final["%files from cuda"] + final["%post"])} == {version}
    for setting in ("HOROVOD_GPU=CUDA", "HOROVOD_GPU_OPERATIONS=NCCL"):
        assert setting in final["%post"]
        assert setting in (ROOT / "envs" / "train-gpu.post-deploy.sh").read_text()
    wanted = re.findall(
        r"\) (?:echo|printf '%s\\n') ([a-z][\w.$+ -]+?) ;;", (ROOT / "requirements/setup.sh").read_text()
    )
    names = {name.replace("$wanted_python", "3.11") for line in wanted for name in line.split()} - {"cdo"}
    assert names == {"python3.11-venv", "g++", "libopenmpi-dev", "openmpi-bin"}
    assert names <= {*final["%post"].split()}


@pytest.fixture
def bare_machine(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine without apt-get, compiler, cdo and MPI; HOME is the copy to set up."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "dirname", "flock", "id", "mv", "rm", "sed", "sha256sum", "tail", "xargs"):
        if path := shutil.which(tool):
            (tools / tool).symlink_to(path)
    return {"PATH": str(tools), "HOME": str(tmp_path), "LC_ALL": "C"}


def set_up(machine: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    script = Path(machine["HOME"]) / "requirements" / "setup.sh"
    command = [os.fspath(script)]
    return subprocess.run(command, env=machine | variables, capture_output=True, text=True, check=False)


def test_setup_without_rights_says_what_is_missing(bare_machine: dict[str, str]) -> None:
    result = set_up(bare_machine, PYTHON=sys.executable)
    assert result.returncode == 1
    assert "a C++ compiler" in result.stderr
    assert "module load" in result.stderr
    assert "conda install" in result.stderr
    assert "Python 3.11" not in result.stderr
    assert not (Path(bare_machine["HOME"]) / ".venv").exists()


def test_setup_refuses_another_interpreter(bare_machine: dict[str, str]) -> None:
    result = set_up(bare_machine, PYTHON="/no/such/python")
    assert result.returncode == 1
    assert "/no/such/python" in result.stderr
