"""Weights of remapping: one matrix per pair of grids, in one file format that cdo and xesmf read too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import netCDF4
import numpy as np
from scipy import sparse

from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import RegridError
from dl4ds_core.files import atomic
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import cdo, esmf
from dl4ds_core.regrid.cells import Places
from dl4ds_core.regrid.sphere import beyond_cells

logger = logging.getLogger(__name__)

#: Part of the names of cached files: another number where the same inputs give other contents.
FORMAT = 1

METHODS = ("conservative", "bilinear", "bicubic", "nearest")

#: How cdo calls what one weight per link can do. Our bicubic matrix holds the gradients already, so that cdo has to
#: treat it like a bilinear one: as a plain sum.
_MAP_METHODS = {
    "conservative": "Conservative remapping using clipping on sphere",
    "bilinear": "Bilinear remapping",
    "bicubic": "Bilinear remapping",
    "nearest": "Nearest neighbor",
}

_ENGINES: dict[str, Callable[[Grid, Grid, str, np.ndarray | None], sparse.csr_matrix]] = {
    "cdo": cdo.matrix,
    "xesmf": esmf.matrix,
}


@dataclass(frozen=True, eq=False)
class Weights:
    """A linear map from the cells of one grid to those of another.

    Attributes
    ----------
    matrix : scipy.sparse.csr_matrix
        Shape (target cells, source cells), float64; cells in the order of the fields, the last axis fastest.
        Conservative weights are shares of the target cell's area, so that a row sums to the part of the cell that
        the source covers. Other rows sum to one, or are empty where the source doesn't surround the cell's centre.
    method, engine : str
        What the weights are, and which program made them.
    source_shape, target_shape : tuple of int
        Cells along (Y, X).
    source_lat, source_lon, target_lat, target_lon : numpy.ndarray
        Cell centres in degrees; shapes (source cells,) and (target cells,).
    digests : tuple of str
        Fingerprints of the source and the target grid.
    """

    matrix: sparse.csr_matrix
    method: str
    engine: str
    source_shape: tuple[int, int]
    target_shape: tuple[int, int]
    source_lat: np.ndarray
    source_lon: np.ndarray
    target_lat: np.ndarray
    target_lon: np.ndarray
    digests: tuple[str, str]

    @cached_property
    def covered(self) -> np.ndarray:
        """Part of each target cell that the source covers, 0 to 1; without areas 0 or 1. Shape (target cells,)."""
        if self.method == "conservative":
            return np.minimum(np.asarray(self.matrix.sum(axis=1)).ravel(), 1.0)
        return (np.diff(self.matrix.indptr) > 0).astype(np.float64)

    def save(self, path: str | Path) -> None:
        """Write the weights as netCDF, atomically.

        The file follows SCRIP's conventions as cdo does (``cdo remap,grid,file``), and has ``row``, ``col`` and ``S``
        as ESMF and xesmf know them (``xesmf.Regridder(..., weights=file)``).

        References
        ----------
        Jones, P. W. (1999). First- and second-order conservative remapping schemes for grids in spherical
        coordinates. doi:10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2
        """
        links = self.matrix.tocoo()
        with atomic(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
            file.setncatts(self._attributes())
            for side, (rows, columns) in (("src", self.source_shape), ("dst", self.target_shape)):
                file.createDimension(f"{side}_grid_size", rows * columns)
                file.createDimension(f"{side}_grid_rank", 2)
            file.createDimension("num_links", links.nnz)
            file.createDimension("num_wgts", 1)
            for name, dims, values, units in self._grid_variables():
                _put(file, name, dims, values).units = units
            for side, shape in (("src", self.source_shape), ("dst", self.target_shape)):
                _put(file, f"{side}_grid_dims", (f"{side}_grid_rank",), np.array(shape[::-1], dtype=np.int32))
            # Addresses and indices count from 1.
            for names, index in ((("src_address", "col"), links.col), (("dst_address", "row"), links.row)):
                for name in names:
                    _put(file, name, ("num_links",), (index + 1).astype(np.int32))
            _put(file, "remap_matrix", ("num_links", "num_wgts"), links.data[:, None])
            _put(file, "S", ("num_links",), links.data)

    def _attributes(self) -> dict[str, str | int]:
        return {
            "title": "remapping weights",
            "conventions": "SCRIP",
            "normalization": "destarea" if self.method == "conservative" else "none",
            "map_method": _MAP_METHODS[self.method],
            "source_grid": "curvilinear",
            "dest_grid": "curvilinear",
            "weights_format": FORMAT,
            "method": self.method,
            "engine": self.engine,
            "source_digest": self.digests[0],
            "target_digest": self.digests[1],
        }

    def _grid_variables(self) -> list[tuple[str, tuple[str, ...], np.ndarray, str]]:
        described: list[tuple[str, tuple[str, ...], np.ndarray, str]] = []
        for side, lat, lon, part in (
            ("src", self.source_lat, self.source_lon, np.ones(self.source_lat.size)),
            ("dst", self.target_lat, self.target_lon, self.covered),
        ):
            dims = (f"{side}_grid_size",)
            described += [
                (f"{side}_grid_center_lat", dims, np.deg2rad(lat), "radians"),
                (f"{side}_grid_center_lon", dims, np.deg2rad(lon), "radians"),
                (f"{side}_grid_imask", dims, np.ones(lat.size, dtype=np.int32), "unitless"),
                (f"{side}_grid_frac", dims, part, "unitless"),
            ]
        return described

    @classmethod
    def load(cls, path: str | Path) -> Weights:
        """Read weights that `save` wrote.

        Raises
        ------
        RegridError
            If the file is missing, damaged, or of another format.
        """
        try:
            with netCDF4.Dataset(path) as file:
                file.set_auto_mask(False)
                if getattr(file, "weights_format", None) != FORMAT:
                    raise RegridError(f"{path}: expected weights of format {FORMAT}; delete the file")
                return cls._read(file)
        except (OSError, RuntimeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise RegridError(f"{path}: can't be read as weights of remapping: {error}; delete the file") from error

    @classmethod
    def _read(cls, file: netCDF4.Dataset) -> Weights:
        source_shape, target_shape = (
            (int(sizes[1]), int(sizes[0])) for sizes in (file["src_grid_dims"][:], file["dst_grid_dims"][:])
        )
        centres = {
            f"{name}_{axis}": np.rad2deg(file[f"{side}_grid_center_{axis}"][:])
            for side, name in (("src", "source"), ("dst", "target"))
            for axis in ("lat", "lon")
        }
        size = (target_shape[0] * target_shape[1], source_shape[0] * source_shape[1])
        links = sparse.coo_matrix((file["S"][:], (file["row"][:] - 1, file["col"][:] - 1)), shape=size)
        return cls(
            matrix=links.tocsr(),
            method=file.method,
            engine=file.engine,
            source_shape=source_shape,
            target_shape=target_shape,
            digests=(file.source_digest, file.target_digest),
            **centres,
        )


def _put(file: netCDF4.Dataset, name: str, dims: tuple[str, ...], values: np.ndarray) -> netCDF4.Variable:
    values = np.asarray(values)
    variable = file.createVariable(name, values.dtype, dims, fill_value=False)
    variable[:] = values
    return variable


def make(source: Grid, target: Grid, method: str, engine: str, valid: np.ndarray | None = None) -> Weights:
    """Make the weights between two grids.

    Parameters
    ----------
    source, target : Grid
        The grids; the source cut to what is needed.
    method : {"conservative", "bilinear", "bicubic", "nearest"}
        Method of remapping. Bicubic is cubic Hermite interpolation with cdo and patch recovery with xesmf.
    engine : {"cdo", "xesmf"}
        Program that makes the weights.
    valid : numpy.ndarray, optional
        Cells of the source that may be used, boolean, shape (Y, X); all if not given. What varies in time is
        treated when the weights are applied.

    Raises
    ------
    RegridError
        If the engine is missing or fails.
    ValueError
        For an unknown method or engine.
    """
    if method not in METHODS or engine not in _ENGINES:
        raise ValueError(f"expected a method and an engine of remapping, found {method!r} and {engine!r}")
    matrix = _ENGINES[engine](source, target, method, valid)
    if method == "nearest":
        # Engines extrapolate without limit; what lies beyond the source's cells is decided by `regrid.outside`.
        matrix = sparse.diags((~beyond_cells(source, target)).astype(np.float64)) @ matrix
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    logger.info(
        "%d %s weights made with %s: %s to %s", matrix.nnz, method, engine, source.describe(), target.describe()
    )
    return _between(source, target, matrix, method, engine)


def identity(source: Grid, target: Grid, places: Places) -> Weights:
    """Return the weights of cells that are the same in both grids: no engine is needed.

    Parameters
    ----------
    places : tuple of numpy.ndarray
        Row and column in the source for each row and each column of the target, -1 where there is none.
    """
    rows, columns = np.meshgrid(*places, indexing="ij")
    there = np.flatnonzero((rows >= 0) & (columns >= 0))
    cells = (rows * source.shape[1] + columns).ravel()[there]
    matrix = sparse.csr_matrix((np.ones(there.size), (there, cells)), shape=(rows.size, source.size))
    return _between(source, target, matrix, "nearest", "none")


def _between(source: Grid, target: Grid, matrix: sparse.csr_matrix, method: str, engine: str) -> Weights:
    return Weights(
        matrix=matrix,
        method=method,
        engine=engine,
        source_shape=source.shape,
        target_shape=target.shape,
        source_lat=source.lat.ravel(),
        source_lon=source.lon.ravel(),
        target_lat=target.lat.ravel(),
        target_lon=target.lon.ravel(),
        digests=(source.digest, target.digest),
    )


def cached(source: Grid, target: Grid, settings: Regrid, folder: str | Path | None) -> Weights:
    """Return the weights between two grids from a folder of weights, which keeps what has to be made.

    Jobs that run at the same time may share the folder: files are whole or not there.

    Parameters
    ----------
    settings : Regrid
        With a method; see `regrid.default_method`.
    folder : str or Path, optional
        Where the files are; nothing is kept if not given.

    Raises
    ------
    RegridError
        If the engine is missing or fails.
    """
    if settings.method is None:
        raise ValueError("expected settings with a method")
    if folder is None:
        return make(source, target, settings.method, settings.engine)
    names = (source.digest, target.digest, settings.method, settings.engine)
    path = Path(folder) / f"weights-{'-'.join(names)}-v{FORMAT}.nc"
    if path.exists():
        try:
            weights = Weights.load(path)
            if (*weights.digests, weights.method, weights.engine) == names:
                return weights
            logger.warning("%s: holds other weights than its name says; they are made anew", path)
        except RegridError as error:
            logger.warning("%s; the weights are made anew", error)
    weights = make(source, target, settings.method, settings.engine)
    weights.save(path)
    return weights
