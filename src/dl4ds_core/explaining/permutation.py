"""Permutation importance: how much worse predictions become when an input is exchanged with that of other times.

Breiman, L. (2001). Random forests. doi:10.1023/A:1010933404324
McGovern, A. et al. (2019). Making the black box more transparent: understanding the physical implications of machine
learning. doi:10.1175/BAMS-D-18-0195.1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.channels import filled
from dl4ds_core.errors import DataError
from dl4ds_core.explaining.inputs import Kind, inputs_of, samples_of
from dl4ds_core.grids import Grid
from dl4ds_core.io import difference_units
from dl4ds_core.prediction import CHUNK, Limits, NetworkPredictor, fix_seeds
from dl4ds_core.time import spread_steps

#: Of the permutations.
SEED = 1


def importance(
    predictor: NetworkPredictor,
    coarse: xr.Dataset,
    fine: xr.Dataset,
    static: xr.Dataset | None = None,
    *,
    steps: int = 500,
    repeats: int = 3,
    limits: Mapping[str, Limits] | None = None,
) -> pd.DataFrame:
    """Return by how much the RMSE grows with each input permuted, for each predictand.

    Inputs that vary in time are permuted in time, as whole fields: each step has those of another one, and all others
    its own. A network of windows gets the whole window of another step, so that the order within it is kept. Static
    fields are permuted in space, over the cells that have a value; missing ones are filled as always. All inputs have
    the same permutations.

    The RMSE is that of `verify`, weighted by area over the cells with a truth, but transforms are undone without the
    smearing estimate, which takes long, in the reference too. Inputs of the chosen steps are held in memory; fine
    fields are read chunk by chunk.

    Parameters
    ----------
    predictor : NetworkPredictor
        The network.
    coarse, fine : xarray.Dataset
        Inputs and truth (time, Y, X) of the validation period.
    static : xarray.Dataset, optional
        Static fields (Y, X) on the fine grid, as they are in the file that the predictor has them from.
    steps : int
        Time steps that are used at most, spread evenly over the record.
    repeats : int
        Permutations of each input.
    limits : mapping, optional
        By predictand: what predictions may be.

    Returns
    -------
    pandas.DataFrame
        Columns variable (the predictand), input, kind, repeat (from 1), rmse, reference (the RMSE with nothing
        permuted), increase (rmse - reference) and unit.

    Raises
    ------
    DataError
        If there are fewer than two steps, or a predictand has no truth.
    """
    chosen = spread_steps(coarse.sizes["time"], steps)
    if chosen.size < 2:
        raise DataError(
            f"importance of inputs: expected at least 2 time steps of validation, to exchange inputs between them, "
            f"found {chosen.size}; lengthen split.validation, or set `verification.explain: null`"
        )
    plain = replace(predictor, residuals={})
    inputs, samples = samples_of(plain, coarse, chosen)
    cases = [(given, repeat) for given in inputs_of(plain, static) for repeat in range(repeats)]
    orders = [np.random.default_rng([SEED, repeat]).permutation(chosen.size) for repeat in range(repeats)]
    shuffled = {
        (given, repeat): _shuffled(plain, static[given.name], repeat)
        for given, repeat in cases
        if static is not None and given.kind == "static"
    }
    errors = _Errors(Grid.of(fine), plain.predictands, limits or {})
    size = max(1, CHUNK // (plain.window or 1))
    for first in range(0, chosen.size, size):
        part = slice(first, first + size)
        truth = {name: fine[name].isel(time=chosen[part]).values for name in plain.predictands}
        own = inputs[samples[part]]
        errors.add(None, _predicted(plain, own), truth)
        for given, repeat in cases:
            channels = list(given.channels)
            if given.kind == "static":
                fields = np.array(plain.static)
                fields[..., channels] = shuffled[given, repeat][..., None]
                found = _predicted(plain, own, fields)
            else:
                changed = own.copy()
                changed[..., channels] = inputs[samples[orders[repeat][part]]][..., channels]
                found = _predicted(plain, changed)
            errors.add((given.name, given.kind, repeat + 1), found, truth)
    units = {name: difference_units(str(fine[name].attrs.get("units", "1"))) for name in plain.predictands}
    return errors.table(units)


class _Errors:
    """Sums of squared errors by predictand and case, weighted by area; the case None is that of nothing permuted."""

    def __init__(self, grid: Grid, predictands: list[str], limits: Mapping[str, Limits]) -> None:
        self._area, self._limits = grid.cell_areas, limits
        self._weights = dict.fromkeys(predictands, 0.0)
        self._sums: dict[str, dict[tuple[str, Kind, int] | None, float]] = {name: {} for name in predictands}

    def add(
        self,
        case: tuple[str, Kind, int] | None,
        predicted: Mapping[str, np.ndarray],
        truth: Mapping[str, np.ndarray],
    ) -> None:
        """Add the errors of some steps, (time, Y, X)."""
        for name, true in truth.items():
            limits = self._limits.get(name, Limits())
            difference = limits.apply(predicted[name]).astype(np.float64) - true
            valid = np.isfinite(true)
            squares = np.where(valid, difference, 0.0) ** 2 * self._area
            self._sums[name][case] = self._sums[name].get(case, 0.0) + float(squares.sum())
            if case is None:
                self._weights[name] += float((valid * self._area).sum())

    def table(self, units: Mapping[str, str]) -> pd.DataFrame:
        rows = []
        for name, sums in self._sums.items():
            if not self._weights[name]:
                raise DataError(
                    f"importance of inputs: {name} has no value in the steps of validation that were chosen; lengthen "
                    "split.validation, or set `verification.explain: null`"
                )
            errors = {case: float(np.sqrt(total / self._weights[name])) for case, total in sums.items()}
            reference = errors.pop(None)
            rows += [
                (name, *case, error, reference, error - reference, units[name])
                for case, error in errors.items()
                if case is not None
            ]
        columns = ["variable", "input", "kind", "repeat", "rmse", "reference", "increase", "unit"]
        return pd.DataFrame(rows, columns=columns)


def _predicted(
    predictor: NetworkPredictor, inputs: np.ndarray, static: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return predictions (time, Y, X), with the same random numbers each time, in networks that have such."""
    fix_seeds(predictor.network)
    return predictor.physical(np.asarray(predictor.output(inputs, static)))


def _shuffled(predictor: NetworkPredictor, field: xr.DataArray, repeat: int) -> np.ndarray:
    """Return a static field (Y, X) with its values at other cells, normalised units."""
    values = field.values.copy()
    valid = np.isfinite(values)
    values[valid] = np.random.default_rng([SEED, repeat]).permutation(values[valid])
    return predictor.scalers[f"static.{field.name}"].apply(filled(field.copy(data=values)).values)
