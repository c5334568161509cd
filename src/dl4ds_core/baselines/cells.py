"""What all baselines know of a predictand: where it has values, and each cell's mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dl4ds_core.grids import Grid

#: From coarse fields (time, Y, X) of any period to the predictand on the fine grid.
Predict = Callable[[xr.Dataset], xr.DataArray]

#: A cell with fewer valid steps per fitted number predicts its mean.
STEPS_PER_NUMBER = 5


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a baseline is fitted on.

    Attributes
    ----------
    coarse : xarray.Dataset
        All coarse fields (time, Y, X) of the training period, on the coarse grid and its context.
    fine : xarray.DataArray
        The predictand in memory, shape (time, Y, X) on the fine grid, training period.
    scale, context : int
        Fine cells per coarse cell, and coarse cells around the domain.
    non_negative : bool
        Whether the predictand is never below 0 in its unit.
    """

    coarse: xr.Dataset
    fine: xr.DataArray
    scale: int
    context: int
    non_negative: bool = False

    @cached_property
    def grid(self) -> Grid:
        """The fine grid."""
        return Grid.of(self.fine)

    @property
    def name(self) -> str:
        """The predictand."""
        return str(self.fine.name)

    def prediction(self, values: np.ndarray, fields: xr.Dataset) -> xr.DataArray:
        """Return values (time, Y, X) as a prediction for the times of ``fields``, float32."""
        values = values.astype(np.float32, copy=False)
        dims = ("time", *self.grid.dims)
        field = xr.DataArray(values, {"time": fields["time"]}, dims, self.fine.name, dict(self.fine.attrs))
        return self.grid.placed(field)

    def mean(self) -> np.ndarray:
        """Return each cell's mean over its valid steps, float64; NaN where there is none."""
        values = self.fine.values
        valid = ~np.isnan(values)
        count = valid.sum(axis=0)
        total = np.sum(values, axis=0, where=valid, dtype=np.float64)
        return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)

    def where_enough(self, numbers: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return what puts the mean in place of predictions of cells with too few valid steps for so many numbers."""
        enough = self.fine.notnull().values.sum(axis=0) >= STEPS_PER_NUMBER * numbers
        if enough.all():
            return lambda values: values
        mean = self.mean()
        return lambda values: np.where(enough, values, mean)
