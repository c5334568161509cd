"""Interpolation matrices against independent formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolated, interpolation_matrix

METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "area")
SCALES = (2, 3, 4, 5)


def positions(size: int, scale: int) -> np.ndarray:
    """Centres of fine cells in units of coarse cells, zero at the first coarse centre."""
    return (np.arange(size * scale) + 0.5) / scale - 0.5


def cubic_convolution(values: np.ndarray, position: float) -> float:
    """Keys's interpolation between the middle two of four neighbours, in the form of his equation for a = -1/2."""
    first = int(np.floor(position))
    f = values[first - 1 : first + 3]
    s = position - first
    return float(
        f[0] * (-(s**3) + 2 * s**2 - s) / 2
        + f[1] * (3 * s**3 - 5 * s**2 + 2) / 2
        + f[2] * (-3 * s**3 + 4 * s**2 + s) / 2
        + f[3] * (s**3 - s**2) / 2
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 3, 7])
def test_rows_sum_to_one_and_constants_are_kept(method, size, scale):
    matrix = interpolation_matrix(method, size, scale)
    assert matrix.shape == (size * scale, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(matrix @ np.full(size, 273.15), 273.15, rtol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_linear_fields_are_kept_up_to_the_edge(method, size, scale):
    matrix = interpolation_matrix(method, size, scale)
    np.testing.assert_allclose(matrix @ (3.0 - 2.0 * np.arange(size)), 3.0 - 2.0 * positions(size, scale), atol=1e-13)


@pytest.mark.parametrize("scale", SCALES)
def test_nearest_repeats(scale):
    values = np.random.default_rng(1).normal(size=6)
    np.testing.assert_array_equal(interpolation_matrix("nearest", 6, scale) @ values, np.repeat(values, scale))


@pytest.mark.parametrize("scale", SCALES)
def test_bilinear_is_that_of_numpy_between_centres(scale):
    values = np.random.default_rng(2).normal(size=7)
    where = positions(7, scale)
    inside = (where >= 0) & (where <= 6)
    found = interpolation_matrix("bilinear", 7, scale) @ values
    np.testing.assert_allclose(found[inside], np.interp(where[inside], np.arange(7), values), atol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_is_cubic_convolution(scale):
    values = np.random.default_rng(3).normal(size=9)
    where = positions(9, scale)
    inside = (where >= 1) & (where < 7)
    found = interpolation_matrix("bicubic", 9, scale) @ values
    np.testing.assert_allclose(found[inside], [cubic_convolution(values, x) for x in where[inside]], atol=1e-13)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_keeps_quadratics_away_from_the_edge(scale):
    where = positions(9, scale)
    inside = (where >= 1) & (where <= 7)
    found = interpolation_matrix("bicubic", 9, scale) @ (np.arange(9.0) ** 2)
    np.testing.assert_allclose(found[inside], where[inside] ** 2, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [2, 4])
def test_the_two_ends_are_treated_alike(method, scale):
    matrix = interpolation_matrix(method, 5, scale)
    np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-15)


def lanczos_kernel(x: float) -> float:
    """Duchon's window of three lobes on the ideal filter, with sines written out."""
    if x == 0:
        return 1.0
    if abs(x) >= 3:
        return 0.0
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


@pytest.mark.parametrize("scale", SCALES)
def test_lanczos_is_the_windowed_ideal_filter(scale):
    """Away from the edge: the six cells around, their weights divided by their sum."""
    values = np.random.default_rng(4).normal(size=11)
    found = interpolation_matrix("lanczos", 11, scale) @ values
    for place, position in enumerate(positions(11, scale)):
        if 2 <= position < 8:
            first = math.floor(position)
            cells = range(first - 2, first + 4)
            weights = [lanczos_kernel(position - cell) for cell in cells]
            expected = sum(w * values[cell] for w, cell in zip(weights, cells, strict=True)) / sum(weights)
            assert found[place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_lanczos_continues_linearly_beyond_the_edge(scale):
    """As if three more cells lay on the straight line through the outermost two."""
    values = np.random.default_rng(5).normal(size=6)
    steps = np.arange(1, 4)
    before = values[0] - steps[::-1] * (values[1] - values[0])
    after = values[-1] + steps * (values[-1] - values[-2])
    longer = interpolation_matrix("lanczos", 12, scale) @ np.concatenate([before, values, after])
    found = interpolation_matrix("lanczos", 6, scale) @ values
    np.testing.assert_allclose(found, longer[3 * scale : -3 * scale], atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [2, 5])
def test_area_is_the_mean_of_what_a_fine_cell_covers(scale, size):
    """Overlaps of intervals, cell by cell."""
    matrix = interpolation_matrix("area", size, scale)
    for fine, coarse in np.ndindex(matrix.shape):
        left, right = fine / scale, (fine + 1) / scale
        overlap = max(0.0, min(right, coarse + 1) - max(left, coarse))
        assert matrix[fine, coarse] == pytest.approx(overlap * scale, abs=1e-9)


@pytest.mark.parametrize("scale", [3, 5])
@pytest.mark.parametrize("method", METHODS)
def test_odd_scales_keep_the_values_at_coarse_centres(method, scale):
    matrix = interpolation_matrix(method, 6, scale)
    np.testing.assert_allclose(matrix[scale // 2 :: scale], np.eye(6), atol=1e-14)


def test_an_unknown_method_lists_those_there_are():
    with pytest.raises(ValueError, match="expected one of nearest, bilinear, bicubic, lanczos, area, found 'cubic'"):
        interpolation_matrix("cubic", 4, 2)


def test_one_cell_is_too_few():
    with pytest.raises(ValueError, match="at least two coarse cells along each axis, found 1"):
        interpolation_matrix("bilinear", 1, 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", SCALES)
def test_fields_along_both_axes(field_of, method, scale):
    fine = field_of(steps=3, rows=3 * scale, columns=4 * scale, calendar="360_day")
    coarse, _ = coarsen(fine, Grid.of(fine), scale)
    found = interpolated(coarse.values, method, scale)
    rows, columns = interpolation_matrix(method, 3, scale), interpolation_matrix(method, 4, scale)
    for step in range(3):
        expected = rows @ coarse.values[step] @ columns.T
        np.testing.assert_allclose(found[step], expected, rtol=1e-12)
    assert found.shape == fine.shape
    block = (slice(scale, 2 * scale), slice(1, None))
    np.testing.assert_allclose(interpolated(coarse.values, method, scale, block=block), found[:, *block], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("scale", [2, 5])
def test_context_takes_the_place_of_what_lies_outside(method, context, scale):
    """The rows of the inner cells: those of a longer axis without context."""
    matrix = interpolation_matrix(method, 9, scale, context)
    cells = context * scale
    np.testing.assert_array_equal(matrix, interpolation_matrix(method, 9, scale)[cells:-cells])
    # Bilinear needs one cell beyond, bicubic two: with those, any field is interpolated and none continued.
    curved = np.exp(np.arange(9) / 3.0)
    if method == "bilinear":
        where = positions(9, scale)[cells:-cells]
        np.testing.assert_allclose(matrix @ curved, np.interp(where, np.arange(9), curved), rtol=1e-13)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_with_two_cells_of_context_is_cubic_convolution_up_to_the_edge(scale):
    values = np.random.default_rng(3).normal(size=9)
    where = positions(9, scale)[2 * scale : -2 * scale]
    found = interpolation_matrix("bicubic", 9, scale, 2) @ values
    np.testing.assert_allclose(found, [cubic_convolution(values, x) for x in where], atol=1e-13)


@pytest.mark.parametrize("context", [-1, 2, 3])
def test_a_context_that_leaves_no_cell_is_refused(context):
    with pytest.raises(ValueError, match=f"a context of {context} cells at either end leaves none of 4"):
        interpolation_matrix("bilinear", 4, 2, context)


@pytest.mark.parametrize("method", METHODS)
def test_a_field_with_context(field_of, method):
    """A plane is kept; with context the result is that of the larger field, cut out."""
    larger = field_of(steps=2, rows=16, columns=20)
    coarse, _ = coarsen(larger, Grid.of(larger), 4)
    found = interpolated(coarse.values, method, 4, context=1)
    np.testing.assert_allclose(found, interpolated(coarse.values, method, 4)[:, 4:-4, 4:-4], rtol=1e-12)


def test_a_plane_in_latitude_and_longitude_is_kept(field_of):
    fine = field_of(steps=1, rows=12, columns=16)
    plane = fine.copy(data=(fine["lat"] + 2 * fine["lon"]).values[None].astype(np.float32))
    blocks = plane.values.reshape(1, 3, 4, 4, 4).mean(axis=(2, 4))
    coarse = xr.DataArray(blocks, dims=("time", "lat", "lon"), coords={"time": fine["time"]})
    for method in ("bilinear", "bicubic"):
        np.testing.assert_allclose(interpolated(coarse.values, method, 4), plane.values, atol=2e-5)
