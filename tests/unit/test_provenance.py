"""The provenance record: complete, readable by JSON, and without secrets."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dl4ds_core import provenance
from dl4ds_core.config import Config, parse
from dl4ds_core.errors import DataError

BENCHMARK = "s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:01\t{memory}\t{cpu}\n"


def config(**changes: Any) -> Config:
    content: dict[str, Any] = {
        "experiment": "trial",
        "sources": {"src": {"paths": ["data/a.nc"]}},
        "data": {"predictands": {"t2m": {"source": "src", "variable": "t2m"}}, "scale": 4},
        "split": {"train": ["2001", "2002"], "validation": ["2003", "2003"], "test": ["2004", "2004"]},
        "models": {"net": {"backbone": "resnet", "upsampling": "spc", "training": {"epochs": 3}}},
        "training": {"patience": 5},
    }
    return parse(content | changes)


def benchmark(path: Path, end: float, seconds: object, memory: object = 10.0, cpu: object = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BENCHMARK.format(seconds=seconds, memory=memory, cpu=cpu))
    os.utime(path, (end, end))


def test_record_has_all_parts_and_survives_json(tmp_path: Path) -> None:
    source = tmp_path / "a.nc"
    source.write_bytes(b"abc")
    benchmark(tmp_path / "b" / "prepare.tsv", 1e9, 10)
    (tmp_path / "cost.csv").write_text("stage,jobs,cpu_hours\nprepare,1,0.5\ntotal,1,0.5\n")
    record = provenance.collect(
        config(), [source], cost=tmp_path / "cost.csv", benchmarks=tmp_path / "b", checkout=tmp_path
    )
    provenance.write(record, tmp_path / "out" / "provenance.json")
    read = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert read == record
    assert read["git"] is None
    assert read["cost"] == [{"stage": stage, "jobs": 1, "cpu_hours": 0.5} for stage in ("prepare", "total")]
    assert read["inputs"][0]["bytes"] == 3
    assert read["inputs"][0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (read["start"], read["end"]) == ("2001-09-09T01:46:30+00:00", "2001-09-09T01:46:40+00:00")
    assert read["software"]["packages"]["xarray"]
    assert read["host"]["cores"] >= 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["provenance.json"]


def test_without_benchmarks_and_checkout(tmp_path: Path) -> None:
    record = provenance.collect(config(), [])
    assert record["git"] is None
    assert record["start"] is None
    assert record["cost"] == []


def test_benchmarks_are_read_by_rule_and_file(tmp_path: Path) -> None:
    benchmark(tmp_path / "fit" / "net-1.tsv", 300, 50, 200.0, 90)
    benchmark(tmp_path / "split.tsv", 200, 1.5, "NA", "-")
    first, second = provenance.jobs_of(tmp_path)
    assert first == {
        **{"rule": "fit", "name": "fit/net-1.tsv", "seconds": 50.0, "cpu_seconds": 90.0, "max_rss_mib": 200.0},
        **{"start": 250.0, "end": 300.0},
    }
    assert (second["rule"], second["cpu_seconds"], second["max_rss_mib"]) == ("split", 0.0, 0.0)


def test_execution_is_no_part_of_the_identity_and_inherited_settings_are() -> None:
    reference = provenance.config_digest(config())
    assert provenance.config_digest(config(execution={"workers": 8})) == reference
    assert provenance.config_digest(config(training={"patience": 6})) != reference
    never = {"net": {"backbone": "resnet", "upsampling": "spc", "training": {"epochs": 3, "patience": None}}}
    assert provenance.config_digest(config(models=never)) != reference


def test_resolved_configuration_can_be_loaded_again() -> None:
    never = {"net": {"backbone": "resnet", "upsampling": "spc", "training": {"patience": None}}}
    for original in (config(), config(models=never)):
        content = provenance.resolved(original)
        assert provenance.config_digest(parse(content)) == provenance.config_digest(original)
        assert content["training"]["batch_size"] == 32


def test_secrets_and_the_home_folder_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    content = {
        "url": "https://user:pa55@host.org/f.nc?x=1&api_key=K3Y&X-Amz-Signature=S1G#part",
        "paths": ["/home/somebody/data/a.nc", "/home/somebodyelse/b.nc"],
        "number": 3,
    }
    assert provenance.redacted(content) == {
        "url": "https://[removed]@host.org/f.nc?x=1&api_key=[removed]&X-Amz-Signature=[removed]#part",
        "paths": ["~/data/a.nc", "/home/somebodyelse/b.nc"],
        "number": 3,
    }


def test_environment_and_secrets_are_not_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hidden-value")
    download = {"url": "https://me:hidden-word@host.org/f.nc", "sha256": "0" * 64}
    record = provenance.collect(config(sources={"src": {"downloads": [download]}}), [])
    text = json.dumps(record)
    assert "hidden" not in text
    assert "https://[removed]@host.org/f.nc" in text


def test_input_is_named_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nc").write_bytes(b"1")
    assert provenance.describe_input(tmp_path / "data" / "a.nc")["path"] == "data/a.nc"


def test_a_folder_has_a_checksum_of_names_and_contents(tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    (store / "t2m").mkdir(parents=True)
    (store / "t2m" / "0").write_bytes(b"1234")
    first = provenance.describe_input(store)
    assert first["bytes"] == 4
    (store / "t2m" / "0").rename(store / "t2m" / "1")
    assert provenance.describe_input(store)["sha256"] != first["sha256"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "Snakefile").write_text("rule all:\n")
    for command in (["init"], ["add", "."], ["commit", "-m", "first", "--no-verify"]):
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True, capture_output=True)
    return tmp_path


def test_commit_and_changes(checkout: Path) -> None:
    clean = provenance.git_state(checkout)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    assert clean["remote"] is None
    (checkout / "notes.txt").write_text("no code")
    assert provenance.git_state(checkout) == clean
    (checkout / "scripts").mkdir()
    (checkout / "scripts" / "new.py").write_text("")
    assert provenance.git_state(checkout) == clean | {"dirty": True}


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("https://example.org/group/work.git", True),
        ("git@example.org:group/work.git", True),
        ("ssh://git@example.org/work.git", True),
        ("folder/work.git", False),
        ("file:///folder/work.git", False),
    ],
)
def test_where_the_code_can_be_cloned(address: str, known: bool, checkout: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "remote", "add", "origin", address], check=True, capture_output=True)
    state = provenance.git_state(checkout)
    assert state is not None
    assert state["remote"] == (address if known else None)


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(TypeError):
        provenance.write({"a": object()}, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_missing_input_and_foreign_benchmark_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an input file"):
        provenance.describe_input(tmp_path / "none.nc")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match="column `s`"):
        provenance.jobs_of(tmp_path / "b")
    benchmark(tmp_path / "b" / "x.tsv", 1, "soon")
    with pytest.raises(DataError, match="expected a number, found 'soon'"):
        provenance.jobs_of(tmp_path / "b")


class TestArchive:
    def make(self, root: Path, target: Path, **changes: Any) -> dict[str, Any]:
        from dl4ds_core.report import write_archive

        settings = config(**changes)
        for name in ("report.html", "net/seed1/model.keras", "verification/summary.csv"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        record = provenance.collect(settings, []) | {"end": "2020-01-01T00:00:00+00:00"}
        files = [root / name for name in ("report.html", "net/seed1/model.keras", "verification/summary.csv")]
        write_archive(target, root=root, files=files, config=settings, provenance=record)
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}

    def test_is_a_described_crate(self, tmp_path: Path) -> None:
        source = {"src": {"paths": ["a.nc"], "citation": "Somebody (2020)", "licence": "CC-BY 4.0"}}
        content = self.make(tmp_path / "r", tmp_path / "a.zip", sources=source, title="A <title>")
        described = {entity["@id"]: entity for entity in json.loads(content["ro-crate-metadata.json"])["@graph"]}
        assert described["ro-crate-metadata.json"]["conformsTo"]["@id"].endswith("/crate/1.1")
        assert described["./"]["name"] == "A <title>"
        assert described["./"]["datePublished"] == "2020-01-01T00:00:00+00:00"
        assert described["net/seed1/model.keras"]["description"] == "Trained network"
        assert described["#source-src"]["license"] == "CC-BY 4.0"
        assert {part["@id"] for part in described["./"]["hasPart"]} == set(content) - {"ro-crate-metadata.json"}
        assert b"experiment: trial" in content["config.yaml"]

    def test_is_repeatable(self, tmp_path: Path) -> None:
        self.make(tmp_path / "r", tmp_path / "a.zip")
        self.make(tmp_path / "r", tmp_path / "b.zip")
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    def test_refuses_files_that_are_missing_or_elsewhere(self, tmp_path: Path) -> None:
        from dl4ds_core.report import write_archive

        (tmp_path / "out.txt").write_text("x")
        for file, message in (("none", "expected a file to archive"), ("out.txt", "expected a file below")):
            with pytest.raises(DataError, match=message):
                write_archive(
                    tmp_path / "a.zip",
                    root=tmp_path / "r",
                    files=[tmp_path / file],
                    config=config(),
                    provenance={},
                )
        assert not (tmp_path / "a.zip").exists()
