"""Values of fields from some steps of a long record, of which few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.figures.panels import check_alike

MOST_STEPS = 500
"""So many time steps are looked at."""

_VALUES = 2**25  # of all fields together that are read at once, unless a chunk is larger

FloatArray = npt.NDArray[np.float32]


def read_steps(fields: Sequence[xr.DataArray], steps: Sequence[int]) -> Iterator[list[npt.NDArray[np.floating]]]:
    """Give the values of some fields step by step, shape (Y, X) each.

    Steps that follow each other and lie in one chunk of a lazy field are read together: a chunk has to be read whole,
    whatever is wanted of it.

    Parameters
    ----------
    fields : sequence of xarray.DataArray
        Shape (time, Y, X), all alike; may be lazy.
    steps : sequence of int
        Numbers of the steps to read, in any order.
    """
    dims = ["time", *(dim for dim in fields[0].dims if dim != "time")]
    chunks = [field.chunksizes["time"] for field in fields if "time" in field.chunksizes]
    edges = np.cumsum(min(chunks, key=len)) if chunks else np.arange(1, fields[0].sizes["time"] + 1)
    most = max(1, _VALUES // (len(fields) * max(1, fields[0].size // fields[0].sizes["time"])))
    for _, together in groupby(steps, key=lambda step: int(np.searchsorted(edges, step, side="right"))):
        of_chunk = list(together)
        for first in range(0, len(of_chunk), most):
            lazy = [field.isel(time=of_chunk[first : first + most]).transpose(*dims).data for field in fields]
            # Without threads, so that no more than one chunk of each field is in memory.
            for values in zip(*dask.compute(*lazy, scheduler="synchronous"), strict=True):
                yield list(values)


def valid_values(
    truth: xr.DataArray, predictions: Sequence[xr.DataArray], steps: npt.NDArray[np.intp]
) -> Iterator[list[FloatArray]]:
    """Give, step by step, the values of truth and predictions where none of them is missing.

    Parameters
    ----------
    truth : xarray.DataArray
        Shape (time, Y, X); may be lazy.
    predictions : sequence of xarray.DataArray
        The same shape and times.
    steps : numpy.ndarray
        Numbers of the steps to read.

    Raises
    ------
    DataError
        If shapes or times differ.
    """
    for prediction in predictions:
        check_alike(truth, prediction)
    for found in read_steps([truth, *predictions], steps.tolist()):
        fields = [np.asarray(field, dtype=np.float32).ravel() for field in found]
        valid = np.logical_and.reduce([np.isfinite(field) for field in fields])
        yield [field[valid] for field in fields]


def require_values(found: bool, truth: xr.DataArray) -> None:
    """Refuse fields without any value in common.

    Raises
    ------
    DataError
        If none was found.
    """
    if not found:
        raise DataError(
            f"{truth.name}: expected cells where truth and predictions are defined, found none in the steps looked at; "
            "predict again for this period"
        )
