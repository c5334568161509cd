"""Truth and prediction over time, as a moving picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import MISSING, Canvas, coast_of
from dl4ds_core.figures.panels import (
    FIELD_COLOURS,
    OUTLIERS,
    check_alike,
    colour_bar,
    label_outer,
    name_and_unit,
    panels,
)
from dl4ds_core.figures.sampling import read_steps
from dl4ds_core.figures.style import style
from dl4ds_core.grids import Grid
from dl4ds_core.io import atomic
from dl4ds_core.report.text import labelled, time_text

MOST_FRAMES = 240
"""So many time steps can be shown: more would be too large for a report."""

_DOTS = 90  # per inch
_COLOURS = 192  # of the palette that are those of the fields; the others are greys
_DRAWN = 200_000  # values per field and step, at most, that the colour scale is chosen by
_SHORTEST, _LONGEST = 0.02, 60.0  # seconds of a frame; viewers slow down what is shorter


def animation(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    path: str | Path,
    *,
    steps: slice | Sequence[int],
    seconds_per_step: float = 0.25,
    land: xr.DataArray | None = None,
) -> None:
    """Write an animated GIF of the truth beside the prediction, on one colour scale, with the time as title.

    Steps are read chunk by chunk, and twice. Cells where the truth is missing are grey in both. The file appears only
    when whole; equal fields give bitwise equal files.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, Y, X), on one grid and in the same unit; may be lazy. ``long_name`` and ``units`` give the text.
    path : str or Path
        Name of the file; its folder is made where it is missing.
    steps : slice or sequence of int
        Numbers of the time steps to show, in the order of showing: 240 at most.
    seconds_per_step : float
        For how long each is shown, from 0.02 to 60 s; a GIF counts hundredths of seconds.
    land : xarray.DataArray, optional
        Fraction of land (Y, X), from 0 to 1: the coast is drawn where it is 0.5, unless the truth is missing at sea.

    Raises
    ------
    DataError
        If shapes or times differ, there is no step, too many of them or one that the record doesn't have, the duration
        is another, or the field of land has other cells or other values.
    """
    check_alike(truth, prediction)
    chosen = _chosen(truth.sizes["time"], steps)
    if not _SHORTEST <= seconds_per_step <= _LONGEST:
        raise DataError(
            f"animation: expected from {_SHORTEST:g} to {_LONGEST:g} seconds per step, found {seconds_per_step:g}"
        )
    limits, extend = _limits(truth, prediction, chosen)
    frames = _frames(truth, prediction, chosen, limits, extend, land)
    with style(), atomic(path) as temporary:
        next(frames).save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames,
            duration=round(100 * seconds_per_step) * 10,
            loop=0,
            optimize=False,
        )


def _chosen(size: int, steps: slice | Sequence[int]) -> list[int]:
    chosen = list(range(size))[steps] if isinstance(steps, slice) else [int(step) for step in steps]
    if not 0 < len(chosen) <= MOST_FRAMES:
        raise DataError(f"animation: expected from 1 to {MOST_FRAMES} time steps, found {len(chosen)}; choose others")
    beyond = [step for step in chosen if not 0 <= step < size]
    if beyond:
        raise DataError(f"animation: expected time steps from 0 to {size - 1}, found {beyond[0]}")
    return chosen


def _pairs(
    truth: xr.DataArray, prediction: xr.DataArray, steps: list[int]
) -> Iterator[tuple[np.ma.MaskedArray, np.ma.MaskedArray]]:
    """Give truth and prediction (Y, X) step by step, masked where the truth is missing or they are themselves."""
    for true, predicted in read_steps([truth, prediction], steps):
        known = np.isfinite(true)
        yield np.ma.array(true, mask=~known), np.ma.array(predicted, mask=~(known & np.isfinite(predicted)))


def _limits(truth: xr.DataArray, prediction: xr.DataArray, steps: list[int]) -> tuple[tuple[float, float], str]:
    """Return the colour scale, beyond which few values lie, and at which ends there are such.

    It is the range of the percentiles of single steps, so that they needn't all be in memory.
    """
    low, high, lowest, highest = np.inf, -np.inf, np.inf, -np.inf
    for pair in _pairs(truth, prediction, steps):
        for field in pair:
            values = field.compressed()
            if values.size:
                some = values[:: -(-values.size // _DRAWN)]
                ends = np.percentile(some, [OUTLIERS, 100 - OUTLIERS])
                low, high = min(low, float(ends[0])), max(high, float(ends[1]))
                lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
    if not high > low:
        middle = low if np.isfinite(low) else 0.0
        return (middle - 0.5, middle + 0.5), "neither"
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    return (low, high), extend.get((lowest < low, highest > high), "neither")


def _frames(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    steps: list[int],
    limits: tuple[float, float],
    extend: str,
    land: xr.DataArray | None,
) -> Iterator[Image.Image]:
    """Give the pictures one after the other; the figure is laid out once and only what changes is drawn anew."""
    first = truth.isel(time=steps[0]).load()
    canvas, coast = Canvas(Grid.of(first)), coast_of(land, first)
    figure, axes = panels(2, canvas, columns=2)
    meshes = [canvas.draw(axis, first, FIELD_COLOURS, limits, coast) for axis in axes]
    for axis, title in zip(axes, ("Truth", "Prediction"), strict=True):
        canvas.frame(axis, title)
    colour_bar(figure, meshes[0], axes, labelled(*name_and_unit(truth)), extend=extend)
    label_outer(axes)
    name, times = name_and_unit(truth)[0], truth["time"]
    palette = _palette()
    for number, (step, pair) in enumerate(zip(steps, _pairs(truth, prediction, steps), strict=True)):
        for mesh, field in zip(meshes, pair, strict=True):
            mesh.set_array(field)
        figure.suptitle(f"{name}, {time_text(times, times.values[step])}")
        yield _picture(figure, palette)
        if number == 0:
            figure.set_layout_engine("none")  # so that nothing moves but the fields


def _picture(figure: Figure, palette: np.ndarray) -> Image.Image:
    from scipy.spatial import KDTree

    figure.set_dpi(_DOTS)
    drawn = FigureCanvasAgg(figure)
    drawn.draw()
    pixels = np.asarray(drawn.buffer_rgba())[..., :3].astype(np.uint32)
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    # Pillow's own search for the nearest colour is not exact: white would become grey.
    found, place = np.unique(codes, return_inverse=True)
    nearest = KDTree(palette).query(np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1))[1]
    picture = Image.fromarray(nearest[place].reshape(codes.shape).astype(np.uint8), mode="P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def _palette() -> np.ndarray:
    """Return the colours of the fields, that of missing cells, and greys: the same in all frames, shape (256, 3)."""
    shades = matplotlib.colormaps[FIELD_COLOURS](np.linspace(0, 1, _COLOURS))[:, :3]
    missing = np.array([matplotlib.colors.to_rgb(MISSING)])
    greys = np.repeat(np.linspace(0, 1, 255 - _COLOURS)[:, None], 3, axis=1)
    return np.rint(255 * np.concatenate([shades, missing, greys]))
