"""Which files a source consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from dl4ds_core.config.schema import Download, Source
from dl4ds_core.errors import DataError
from dl4ds_core.sources import download_target, local_copy, part_names, source_paths

CHECKSUM = "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few empty files, and no folder of local copies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DL4DS_DATA", raising=False)
    for name in ("b_2001.nc", "b_2000.nc", "a.nc", "deep/er/c.nc", "odd [1].nc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["b_*.nc"], ["b_2000.nc", "b_2001.nc"]),
        (["b_2001.nc", "b_*.nc"], ["b_2001.nc", "b_2000.nc"]),
        ("a.nc", ["a.nc"]),
        (["deep/**/*.nc"], ["deep/er/c.nc"]),
        (["odd [1].nc"], ["odd [1].nc"]),
    ],
    ids=["sorted", "once", "text", "recursive", "literal"],
)
def test_globs(folder, patterns, expected):
    assert source_paths("x", Source(paths=patterns)) == expected


@pytest.mark.usefixtures("folder")
def test_no_match_names_key_pattern_and_folder(tmp_path):
    with pytest.raises(DataError) as raised:
        source_paths("era5", Source(paths=["a.nc", "nowhere/*.nc"]))
    assert "sources.era5.paths" in str(raised.value)
    assert "'nowhere/*.nc'" in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_braces_are_refused_as_the_workflow_would_fill_them_in(folder):
    (folder / "a{x}.nc").touch()
    with pytest.raises(DataError, match=r"sources\.s\.paths: 'a\{x\}\.nc': expected no braces"):
        source_paths("s", Source(paths=["a*x}.nc"], citation="c"))


def test_names_too_long_for_the_file_system_match_nothing(folder):
    with pytest.raises(DataError, match="no file matches"):
        source_paths("s", Source(paths=["x" * 300 + ".nc"], citation="c"))


def test_a_file_of_a_package(demo_file):
    found = source_paths("x", Source(paths=["package://iris_sample_data/sample_data/A1B_north_america.nc"]))
    assert [Path(path) for path in found] == [demo_file]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("package://no_such_package/a.nc", "'no_such_package' is not installed"),
        ("package://no_such.package/a.nc", "'no_such.package' is not installed"),
        ("package:///a.nc", "is not installed"),
        ("package://numpy/no_such.nc", "'numpy' has no such file"),
        ("package://this/a.nc", "'this' is not installed"),
    ],
)
def test_a_missing_file_of_a_package_is_named(address, message):
    with pytest.raises(DataError, match=message) as raised:
        source_paths("x", Source(paths=[address]))
    assert address in str(raised.value)


def test_files_below_the_folder_of_data(folder, monkeypatch):
    monkeypatch.setenv("DL4DS_DATA", str(folder / "deep"))
    assert source_paths("x", Source(paths=["data://er/c.nc", "a.nc"])) == [str(folder / "deep/er/c.nc"), "a.nc"]
    assert source_paths("x", Source(paths=["data://*/*.nc"])) == [str(folder / "deep/er/c.nc")]
    with pytest.raises(DataError, match=r"sources\.x\.paths: no file matches 'data://no/\*\.nc'"):
        source_paths("x", Source(paths=["data://no/*.nc"]))


@pytest.mark.usefixtures("folder")
def test_the_folder_of_data_must_be_named():
    with pytest.raises(DataError, match=r"sources\.x\.paths: 'data://a\.nc' .* export DL4DS_DATA=FOLDER"):
        source_paths("x", Source(paths=["data://a.nc"]))


def test_downloads_are_named_before_they_are_there(folder):
    source = Source(downloads=[Download(url="https://example.org/some/era5.grib", sha256=CHECKSUM)])
    assert source_paths("era5", source) == ["data/downloads/era5/era5.grib"]
    assert download_target("era5", "https://example.org/some/era5.grib") == "data/downloads/era5/era5.grib"


def test_a_local_copy_takes_the_place_of_a_download(folder, monkeypatch):
    entry = Download(url="https://example.org/x.grib", sha256=CHECKSUM, local="deep/er/c.nc")
    monkeypatch.setenv("DL4DS_DATA", str(folder))
    assert source_paths("x", Source(downloads=[entry])) == [str(folder / "deep/er/c.nc")]
    assert local_copy("not/there.nc") is None
    assert local_copy(None) is None
    monkeypatch.delenv("DL4DS_DATA")
    assert source_paths("x", Source(downloads=[entry])) == ["data/downloads/x/x.grib"]


def test_part_names_are_unique_and_can_be_file_names():
    paths = ["x/a.nc", "y/a.nc", "a.grib", "z/b c$(rm).2000.nc", "z/b_c__rm__2000.nc", "tas 2 m.nc"]
    names = part_names(paths)
    assert sorted(names.values()) == sorted(paths)
    for name in names:
        assert name.replace("_", "").replace("-", "").isalnum()
    assert names["tas_2_m"] == "tas 2 m.nc"


def test_part_names_do_not_depend_on_what_else_is_there():
    few, more = part_names(["x/a.nc", "x/b.nc"]), part_names(["x/a.nc", "x/b.nc", "x/c.nc"])
    assert few == {name: path for name, path in more.items() if name != "c"}
