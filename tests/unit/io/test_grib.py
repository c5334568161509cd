"""GRIB files made here: rotated grids, grids across Greenwich, accumulated forecasts, members."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.io import grib

pytest.importorskip("pyproj")  # before eccodes, see grib.py
eccodes = pytest.importorskip("eccodes")


def message(values=0.0, sample="regular_ll_sfc_grib2", **keys):
    """One field of 4 rows from 52 N to 49 N and 5 columns from 2 W to 2 E, each degree, at midnight."""
    handle = eccodes.codes_grib_new_from_samples(sample)
    settings = {
        "Ni": 5,
        "Nj": 4,
        "latitudeOfFirstGridPointInDegrees": 52.0,
        "longitudeOfFirstGridPointInDegrees": 358.0,
        "latitudeOfLastGridPointInDegrees": 49.0,
        "longitudeOfLastGridPointInDegrees": 2.0,
        "iDirectionIncrementInDegrees": 1.0,
        "jDirectionIncrementInDegrees": 1.0,
        "dataDate": 20200101,
        "dataTime": 0,
        "shortName": "2t",
        "bitsPerValue": 24,
    }
    for key, value in {**settings, **keys}.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, np.arange(20.0) + values)
    try:
        return eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)


def written(folder, *messages):
    """A file of fields."""
    path = folder / "a.grib"
    path.write_bytes(b"".join(messages))
    return path


@pytest.mark.parametrize("sample", ["regular_ll_sfc_grib1", "regular_ll_sfc_grib2"])
def test_a_grid_across_greenwich(tmp_path, sample):
    field = io.open_variable(written(tmp_path, message(sample=sample)), "t2m")
    np.testing.assert_allclose(field["lon"], [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(field["lat"], [49, 50, 51, 52])
    # The file goes from the north-west along rows: its first value lies at 52 N, 2 W.
    np.testing.assert_allclose(field.values[0], np.arange(20.0).reshape(4, 5)[::-1], atol=1e-4)


def test_a_rotated_pole(tmp_path):
    keys = {
        "gridType": "rotated_ll",
        "latitudeOfSouthernPoleInDegrees": -39.25,
        "longitudeOfSouthernPoleInDegrees": 18.0,
        "latitudeOfFirstGridPointInDegrees": 1.0,
        "longitudeOfFirstGridPointInDegrees": 359.0,
        "latitudeOfLastGridPointInDegrees": -2.0,
        "longitudeOfLastGridPointInDegrees": 3.0,
    }
    field = io.open_variable(written(tmp_path, message(**keys)), "t2m")
    assert field.dims == ("time", "rlat", "rlon")
    np.testing.assert_allclose(field["rlat"], [-2, -1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(field["rlon"], [-1, 0, 1, 2, 3], atol=1e-5)
    # The rotated origin lies a quarter of the way round from the rotated pole at 39.25 N, 162 W.
    np.testing.assert_allclose([field["lat"][2, 1], field["lon"][2, 1]], [50.75, 18.0], atol=1e-5)
    assert float(field[0, 2, 1]) == pytest.approx(6.0)


def test_forecasts_without_overlap_lie_along_their_times_of_validity(tmp_path):
    parts = [
        message(10.0 * run + step, dataDate=20200101 + run, stepType="accum", startStep=0, endStep=step, shortName="tp")
        for run in (0, 1)
        for step in (6, 12, 18, 24)
    ]
    field = io.open_variable(written(tmp_path, *parts), "tp")
    expected = np.datetime64("2020-01-01T00", "ns") + np.arange(6, 54, 6) * np.timedelta64(1, "h")
    np.testing.assert_array_equal(field["time"].values, expected)
    np.testing.assert_allclose(field.values[:, -1, 0], [6, 12, 18, 24, 16, 22, 28, 34], atol=1e-4)
    assert field.attrs["cell_methods"] == "time: sum"


def test_forecasts_with_overlap_need_a_choice(tmp_path):
    parts = [message(10.0 * run + step, dataDate=20200101 + run, endStep=step) for run in (0, 1) for step in (0, 24)]
    path = written(tmp_path, *parts)
    with pytest.raises(DataError, match=r"found also step \(0, 24\): choose by `select: \{step: ...\}`"):
        io.open_variable(path, "t2m")
    field = io.open_variable(path, "t2m", select={"step": 24})
    np.testing.assert_array_equal(field["time"].values, np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[ns]"))
    np.testing.assert_allclose(field.values[:, -1, 0], [24, 34], atol=1e-4)


@pytest.mark.parametrize("other", [0.0, 50.0])
def test_two_fields_of_one_time_are_refused(tmp_path, other):
    parts = [message(dataDate=20200101), message(dataDate=20200102), message(other, dataDate=20200102)]
    path = written(tmp_path, *parts)
    with pytest.raises(DataError, match=r"found 2 for 2020-01-02T00:00:00 .*several for 1 of 2:") as raised:
        io.open_variable(path, "t2m")
    assert str(raised.value).startswith(f"{path}: t2m: expected one field for each time")
    assert "\n" not in str(raised.value)


def test_fields_of_one_time_that_differ_in_a_key_can_be_chosen(tmp_path):
    """Sums since the beginning and of the last hours end at the same time."""
    keys = {"shortName": "tp", "stepType": "accum", "endStep": 12}
    path = written(tmp_path, message(1.0, startStep=0, **keys), message(2.0, startStep=6, **keys))
    with pytest.raises(DataError, match=r"found 2 for 2020-01-01T12:00:00 .* choose with `filter`"):
        io.open_variable(path, "tp")
    for start, first in ((0, 1.0), ("6", 2.0)):
        found = io.open_variable(path, "tp", filters={"startStep": start})
        assert float(found[0, -1, 0]) == pytest.approx(first)


def test_members(tmp_path):
    keys = {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 2}
    path = written(tmp_path, *(message(member, **keys, perturbationNumber=member) for member in (1, 2)))
    with pytest.raises(DataError, match=r"found also number \(1, 2\)"):
        io.open_variable(path, "t2m")
    assert float(io.open_variable(path, "t2m", select={"number": 2})[0, -1, 0]) == pytest.approx(2.0)


def test_analyses_and_forecasts_in_one_file_need_a_filter(tmp_path):
    path = written(tmp_path, *(message(kind, typeOfProcessedData=kind) for kind in (0, 1)))
    with pytest.raises(
        DataError, match=r"several values of dataType: choose one with `filter: \{dataType: ...\}`: an, fc"
    ):
        io.open_variable(path, "t2m")
    assert float(io.open_variable(path, "t2m", filters={"dataType": "fc"})[0, -1, 0]) == pytest.approx(1.0)


def test_extremes_of_an_interval(tmp_path):
    keys = {"startStep": 0, "endStep": 6, "shortName": "t"}
    path = written(tmp_path, *(message(number, stepType=kind, **keys) for number, kind in enumerate(("max", "min"))))
    found = io.open_variable(path, "min_t")
    assert float(found[0, -1, 0]) == pytest.approx(1.0)
    assert found.attrs["cell_methods"] == "time: minimum"


def test_a_reduced_grid_is_refused(tmp_path):
    handle = eccodes.codes_grib_new_from_samples("reduced_gg_pl_32_grib2")
    path = written(tmp_path, eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    with pytest.raises(DataError, match="both run along values: expected rows and columns, found a list of places"):
        io.open_variable(path, "t")


def test_a_file_that_has_changed_is_read_anew(tmp_path):
    path = written(tmp_path, message(1.0))
    assert float(io.open_variable(path, "t2m")[0, -1, 0]) == pytest.approx(1.0)
    written(tmp_path, message(2.0, dataDate=20210101), message(3.0, dataDate=20210102))
    found = io.open_variable(path, "t2m")
    np.testing.assert_allclose(found[:, -1, 0], [2.0, 3.0])
    assert found["time"].values[0] == np.datetime64("2021-01-01")


def test_headers_are_read_once_for_all_variables_of_a_file(tmp_path):
    path = written(tmp_path, message(), message(5.0, shortName="sp"))
    grib._index.cache_clear()
    io.open_variable(path, "t2m")
    io.open_variable(path, "sp")
    assert grib._index.cache_info().misses == 1


def test_projections_work_after_a_grib_file_was_opened(tmp_path):
    """Two PROJ libraries in one process: the one of pyproj fails, or kills it, if that of ecCodes was loaded first."""
    path = written(tmp_path, message())
    pole = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    mapping = {"grid_mapping_name": "rotated_latitude_longitude", **pole}
    code = (
        "import sys; from dl4ds_core import io; io.open_variable(sys.argv[1], 't2m').load(); import pyproj; "
        f"print(pyproj.CRS.from_cf({mapping}).is_derived, pyproj.CRS.from_epsg(3035).name)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True ETRS89-extended / LAEA Europe"


def damaged(folder, place, content, original=None):
    """A file of one field with some bytes replaced."""
    whole = bytearray(original or message())
    whole[place : place + len(content)] = content
    return written(folder, bytes(whole))


#: Of the message made here: section 1 begins at byte 16, section 3 at 37, with the kind of grid at 49.
@pytest.mark.parametrize(
    ("place", "content", "cause"),
    [
        (7, b"\x03", "field 1 of it is damaged"),  # no edition
        (37, b"\x00\x00\x01\x48", "field 1 of it is damaged"),  # a section that is longer than the field
        (37, b"\x00\x00\x00\x00", "field 1 of it is damaged"),
        (49, b"\xff\xfe", "there is no variable 't2m'"),  # a kind of grid that there isn't
        (67, b"\x00\x00\x00\x09", "the file may be damaged, fetch it again"),  # 9 columns of 20 values in 4 rows
    ],
)
def test_damaged_headers_are_one_line(tmp_path, place, content, cause):
    path = damaged(tmp_path, place, content)
    with pytest.raises(DataError, match=cause) as raised:
        io.open_variable(path, "t2m").load()
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [eccodes.WrongGridError, eccodes.CodesInternalError])
def test_what_eccodes_raises_is_one_line(tmp_path, monkeypatch, error):
    path = written(tmp_path, message())
    field = io.open_variable(path, "t2m")

    def fail(*_):
        raise error("inconsistent")

    monkeypatch.setattr(grib, "_dataset", fail)
    with pytest.raises(DataError, match=r"a\.grib: t2m: can't be read as GRIB; .*fetch it again: inconsistent"):
        io.open_variable(path, "t2m")
    monkeypatch.setattr("cfgrib.dataset.get_values_in_order", fail)
    with pytest.raises(DataError, match=r"a\.grib: t2m: values can't be read: inconsistent"):
        field.load()
