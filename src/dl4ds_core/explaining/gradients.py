"""Saliency maps: how much the prediction at a cell changes with the inputs of each coarse cell.

Simonyan, K., Vedaldi, A. and Zisserman, A. (2014). Deep inside convolutional networks: visualising image classification
models and saliency maps. arXiv:1312.6034
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from dl4ds_core.channels import is_derived
from dl4ds_core.explaining.inputs import samples_of
from dl4ds_core.grids import Grid, nearest_cells
from dl4ds_core.io import difference_units
from dl4ds_core.prediction import NetworkPredictor
from dl4ds_core.time import spread_steps

#: Steps whose gradients are averaged, evenly spaced.
GRADIENT_STEPS = 64
#: Fine cells of all steps that are worked on at once: features of all layers are kept for a gradient.
GRADIENT_CELLS = 2**19
#: The cell that is looked at where no place is named.
MIDDLE = "middle"


def chosen_cells(
    grid: Grid, places: Mapping[str, tuple[float, float]], valid: np.ndarray
) -> dict[str, tuple[int, int]]:
    """Return row and column of the fine cells to look at, by name.

    Parameters
    ----------
    grid : Grid
        The fine grid.
    places : mapping
        Latitude and longitude in degrees, by name; none: the middle of the domain.
    valid : numpy.ndarray
        Cells with a truth in the training period, shape (Y, X), bool: of these the nearest is taken.

    Raises
    ------
    DataError
        If a place lies outside the domain.
    """
    if places:
        return nearest_cells(grid, places, valid)
    rows, columns = np.nonzero(valid)
    middle = (grid.shape[0] - 1) / 2, (grid.shape[1] - 1) / 2
    nearest = int(np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2))
    return {MIDDLE: (int(rows[nearest]), int(columns[nearest]))}


def saliency(
    predictor: NetworkPredictor,
    coarse: xr.Dataset,
    training: xr.Dataset,
    fine: xr.Dataset,
    cells: Mapping[str, tuple[int, int]],
    *,
    steps: int = 500,
) -> xr.Dataset:
    """Return how much predictions at some cells change with each coarse field in each coarse cell.

    It is the mean over time of the absolute gradient, times a standard deviation of the input; of a window, the sum
    over its steps. The gradient is that of the prediction in physical units: the transform of a predictand is undone,
    without the smearing estimate, and limits are left aside. The mean is that of `GRADIENT_STEPS` steps, spread evenly
    over the record.

    Parameters
    ----------
    predictor : NetworkPredictor
        The network, of Keras on TensorFlow.
    coarse : xarray.Dataset
        Inputs (time, Y, X) of the validation period.
    training : xarray.Dataset
        Inputs (time, Y, X) of the training period: the standard deviations are those of these fields, over cells and
        time, after their transform.
    fine : xarray.Dataset
        The fine grid, and the attributes of the predictands; nothing else of it is used.
    cells : mapping
        Row and column of fine cells, by name.
    steps : int
        Steps of the training period that are used at most, spread evenly over it.

    Returns
    -------
    xarray.Dataset
        ``<predictand>_saliency`` (cell, input, Y, X) on the coarse grid, that of the context included, in the unit of
        the predictand. Coordinates ``cell_name`` and ``input_name``, and where the cells lie: ``cell_lat``,
        ``cell_lon`` and, on grids with other axes, ``cell_<axis>``.
    """
    fields = [number for number, name in enumerate(predictor.channels) if not is_derived(name)]
    seen = predictor.normalised(training.isel(time=spread_steps(training.sizes["time"], steps)))
    deviations = seen.std(axis=(0, 1, 2), dtype=np.float64)[fields]
    inputs, samples = samples_of(predictor, coarse, spread_steps(coarse.sizes["time"], GRADIENT_STEPS))
    size = max(1, GRADIENT_CELLS // (Grid.of(fine).size * (predictor.window or 1)))
    sums: dict[str, np.ndarray] = {}
    for first in range(0, len(samples), size):
        for name, found in _gradients(predictor, inputs[samples[first : first + size]], list(cells.values())).items():
            sums[name] = sums.get(name, 0.0) + found
    grid = Grid.of(coarse)
    names = [predictor.channels[number] for number in fields]
    labels = {"cell_name": ("cell", list(cells)), "input_name": ("input", names)}
    said = {
        "cell_name": {"long_name": "name of the fine cell"},
        "input_name": {"long_name": "name of the coarse field"},
    }
    result = {}
    for name, total in sums.items():
        values = np.moveaxis(total[..., fields] * deviations / len(samples), -1, 1)
        attributes = {
            "long_name": f"mean absolute change of {name} in the fine cell per standard deviation of the coarse field",
            "units": difference_units(str(fine[name].attrs.get("units", "1"))),
            **grid.attributes(),
        }
        result[f"{name}_saliency"] = (("cell", "input", *grid.dims), values.astype(np.float32), attributes)
    coordinates = {name: xr.DataArray(values, dims=dim, attrs=said[name]) for name, (dim, values) in labels.items()}
    return xr.Dataset(result, coords=grid.coordinates() | coordinates | _located(Grid.of(fine), list(cells.values())))


def _gradients(predictor: NetworkPredictor, inputs: np.ndarray, cells: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Return sums of the absolute gradients over samples and their steps, by predictand: (cell, Y, X, channel)."""
    import tensorflow as tf
    from keras import ops

    given = tf.convert_to_tensor(inputs)
    wanted = {}
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(given)
        output = predictor.output(given)
        for number, name in enumerate(predictor.predictands):
            values = predictor.scalers[f"fine.{name}"].inverse(output[..., number], ops)
            wanted[name] = [ops.sum(values[:, row, column]) for row, column in cells]
    # Zero, and not none at all, for a network that doesn't use its inputs.
    zero = tf.UnconnectedGradients.ZERO
    found = {}
    for name, targets in wanted.items():
        gradients = [np.abs(tape.gradient(target, given, unconnected_gradients=zero)) for target in targets]
        found[name] = np.stack([each.sum(axis=tuple(range(each.ndim - 3)), dtype=np.float64) for each in gradients])
    return found


def _located(grid: Grid, cells: list[tuple[int, int]]) -> dict[str, xr.DataArray]:
    """Return where fine cells lie, as coordinates along ``cell``."""
    rows, columns = np.array(cells).T
    found = {
        name: (values[rows, columns], {"standard_name": standard, "units": f"degrees_{side}"})
        for name, standard, side, values in (
            ("lat", "latitude", "north", grid.lat),
            ("lon", "longitude", "east", grid.lon),
        )
    }
    if grid.kind in ("rotated", "projected"):
        unit = "m" if grid.kind == "projected" else "degrees"
        for dim, axis, numbers in zip(grid.dims, grid.centres, (rows, columns), strict=True):
            found[dim] = (axis[numbers], {"units": unit})
    return {
        f"cell_{name}": xr.DataArray(values, dims="cell", attrs={"long_name": f"{name} of the fine cell", **said})
        for name, (values, said) in found.items()
    }
