"""What identifies a product: the digest follows code, not comments; attributes say how it was made."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dl4ds_core import identity
from dl4ds_core.config import parse
from dl4ds_core.identity import about, code_digest, commit, config_digest, product_attributes

pytestmark = pytest.mark.xdist_group("digests")  # those of the unchanged code are found once, in one process
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Library and scripts as they are when the tests begin."""
    folder = tmp_path_factory.mktemp("original")
    for name, source in (("dl4ds_core", ROOT / "src" / "dl4ds_core"), ("scripts", ROOT / "scripts")):
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def tree(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of library and scripts that may be changed; the digest looks at the copy."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(identity, "PACKAGE", tmp_path / "dl4ds_core")
    return tmp_path


def digests(tree: Path) -> dict[str, str]:
    """The digest of each script, as a new process would find it."""
    identity._read.cache_clear()
    found = {path.stem: code_digest(path) for path in sorted((tree / "scripts").glob("*.py"))}
    identity._read.cache_clear()
    return found


@pytest.fixture(scope="module")
def before(original: Path) -> dict[str, str]:
    """The digest of each script as it is; those of an unchanged copy are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "PACKAGE", original / "dl4ds_core")
        return digests(original)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} no longer has {old!r}: adapt this test"
    path.write_text(text.replace(old, new, 1))


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_copy_has_the_digest_of_the_original(tree, before):
    found = digests(tree)
    assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in found.values())
    assert found == before


def test_the_digest_is_the_same_each_time_in_one_process(tree):
    scripts = sorted((tree / "scripts").glob("*.py"))
    assert [code_digest(path) for path in scripts] == [code_digest(path) for path in scripts]


def test_comments_docstrings_and_formatting_do_not_count(tree, before):
    for path in tree.rglob("*.py"):
        source = path.read_text()
        source = source.replace("\n\n\n", "\n\n\n\n# A new comment.\n").replace('"""', '"""Reworded: ', 1)
        path.write_text(ast.unparse(ast.parse(source)) + "\n# the end\n")
    change(tree / "dl4ds_core" / "grids" / "coarsening.py", "Return area-weighted block means", "Return block means")
    assert changed(before, digests(tree)) == set()


def test_code_of_the_script_counts(tree, before):
    change(tree / "scripts" / "scalers.py", 'product_attributes(about, "prepare")', 'product_attributes(about, "x")')
    assert changed(before, digests(tree)) == {"scalers"}


def test_code_that_is_imported_directly_counts(tree, before):
    change(tree / "dl4ds_core" / "baselines" / "quantiles.py", "QUANTILES = 50", "QUANTILES = 20")
    # Scenarios are harmonised with the mapping of the baseline.
    assert changed(before, digests(tree)) == {"baseline", "harmonise", "change", "outside_range"}


def test_code_that_is_imported_by_what_is_imported_counts(tree, before):
    # No script imports this module itself: baselines and layers do.
    change(tree / "dl4ds_core" / "interpolation.py", "KEYS = -0.5", "KEYS = -0.75")
    found = changed(before, digests(tree))
    assert found >= {"baseline", "train", "predict"}
    assert found.isdisjoint({"coarsen", "prepare", "scalers", "verify", "summarise", "remap"})


def test_imports_within_functions_count(tree):
    module = tree / "dl4ds_core" / "late.py"
    module.write_text("VALUE = 1\n")
    change(tree / "scripts" / "coarsen.py", "    field = ", "    from dl4ds_core.late import VALUE\n    field = ")
    before = digests(tree)  # not that of the original
    module.write_text("VALUE = 2\n")
    assert changed(before, digests(tree)) == {"coarsen"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        pytest.param("layers/localized.py", {"train", "predict", "explain"}, marks=pytest.mark.full),
        pytest.param("explaining/gradients.py", {"explain"}, marks=pytest.mark.full),
        ("training/supervised.py", {"train"}),
        ("grids/grid.py", {"grids", "coarsen", "remap", "static", "baseline", "predict", "verify", "change"}),
        pytest.param("regrid/entries.py", {"grids", "coarsen", "remap"}, marks=pytest.mark.full),
        pytest.param("masks.py", {"prepare", "baseline", "train", "predict"}, marks=pytest.mark.full),
        ("scenarios.py", {"harmonise", "outside_range", "change"}),
        pytest.param("verification/moments.py", {"verify"}, marks=pytest.mark.full),
    ],
)
def test_a_change_reaches_the_stages_that_use_it(tree, before, module, stages):
    with (tree / "dl4ds_core" / module).open("a") as stream:
        stream.write("\nADDED = 1\n")
    assert stages <= changed(before, digests(tree))


@pytest.mark.parametrize(
    "module",
    [
        "config/schema.py",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("errors.py", "jobs.py", "identity.py")),
    ],
)
def test_what_reaches_a_stage_as_parameters_does_not_count(tree, before, module):
    with (tree / "dl4ds_core" / module).open("a") as stream:
        stream.write("\nADDED = 1\n")
    assert changed(before, digests(tree)) == set()


def test_the_library_uses_no_imports_that_the_digest_overlooks():
    for path in (ROOT / "src" / "dl4ds_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports are not followed by code_digest"


def test_attributes_say_how_a_product_was_made():
    found = product_attributes({"title": "A trial", "source": "ERA5", "comment": ""}, "regrid")
    version = metadata.version("dl4ds_core")
    assert found["title"] == "A trial"
    assert "comment" not in found
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ: regrid \(dl4ds_core {re.escape(version)}\)", found["history"]
    )
    assert found["dl4ds_core_version"] == version
    assert re.fullmatch(r"[0-9a-f]{40}( with changes)?|not a git checkout", found["dl4ds_core_commit"])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of one commit that the library seems to lie in."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "repository" / "src" / "dl4ds_core").mkdir(parents=True)
    monkeypatch.setattr(identity, "PACKAGE", tmp_path / "repository" / "src" / "dl4ds_core")
    (tmp_path / "repository" / "src" / "a.py").write_text("one\n")
    git = ["git", "-C", str(tmp_path / "repository"), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    commit.cache_clear()
    yield tmp_path / "repository"
    commit.cache_clear()


def test_the_commit_of_a_checkout(checkout):
    expected = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, check=True)
    assert commit() == expected.stdout.decode().strip()
    (checkout / "notes.txt").write_text("no code\n")
    commit.cache_clear()
    assert commit() == expected.stdout.decode().strip()


@pytest.mark.parametrize("path", ["src/a.py", "src/new.py", "rules/new.smk"])
def test_changed_and_new_code_is_told(checkout, path):
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("two\n")
    assert str(commit()).endswith(" with changes")


def test_outside_a_checkout_and_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() is None
    monkeypatch.undo()
    monkeypatch.setattr(identity, "PACKAGE", checkout.parent / "elsewhere" / "src" / "dl4ds_core")
    commit.cache_clear()
    assert commit() is None


class TestConfigDigest:
    def digest(self, content: dict[str, Any]) -> str:
        return config_digest(parse(content))

    def test_what_never_changes_a_result_does_not_count(self, configuration):
        plain, told = configuration("a.nc"), configuration("a.nc", execution={"workers": 7, "results": "scratch"})
        told["title"] = "Another title"
        told["sources"]["input"] |= {"citation": "Somebody (2020)", "licence": "free"}
        told = dict(reversed(list(told.items())))
        assert self.digest(told) == self.digest(plain)

    def test_two_ways_to_say_the_same_are_equal(self, configuration):
        inherited = configuration("a.nc", training={"epochs": 7})
        overridden = configuration("a.nc", training={"epochs": 7})
        overridden["models"]["small"]["training"] = {"epochs": 7}
        assert self.digest(inherited) == self.digest(overridden)

    @pytest.mark.parametrize(
        "change",
        [
            {"data": {"scale": 5}},
            {"split": {"train": ["2000-01-02", "2000-01-20"]}},
            {"training": {"epochs": 7}},
            {"normalization": {"default": {"method": "minmax"}}},
            {"seeds": [2]},
            {"sources": {"input": {"paths": ["b.nc"]}}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_all_else_counts(self, configuration, change):
        plain = configuration("a.nc")
        changed = {
            **plain,
            **{
                key: {**plain.get(key, {}), **value} if isinstance(value, dict) else value
                for key, value in change.items()
            },
        }
        assert self.digest(changed) != self.digest(plain)

    def test_about_is_what_products_say(self, configuration):
        content = configuration("a.nc")
        content["sources"]["input"]["citation"] = "Somebody (2020)"
        found = about(content)
        assert found["title"] == found["experiment"] == "trial"
        assert found["source"] == "Somebody (2020)"
        assert found["config_digest"] == self.digest(content)
