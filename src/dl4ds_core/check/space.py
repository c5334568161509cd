"""What becomes of the grids: fine and coarse cells, remapping, cells outside of a source, sizes that networks need."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import xarray as xr

from dl4ds_core.check.reading import Look, Seen
from dl4ds_core.config import model_settings
from dl4ds_core.config.inputs import Regrid, TargetGrid
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, crop, horizontal, needed_box, whole_blocks
from dl4ds_core.models.requirements import smallest_fine_size, smallest_for_denoiser
from dl4ds_core.regrid import cells_left_out, default_method, is_finer, outside_count
from dl4ds_core.regrid.cells import same_cells

#: Weights between grids of more cells than this, together, are not made just to count cells.
COUNTED_CELLS = 2_000_000

_INSTALL = {
    "cdo": "cdo, which is not installed: install it (Debian: apt install cdo; conda install -c conda-forge cdo), or "
    "load its module",
    "xesmf": "xesmf with esmpy, which are not installed: conda install -c conda-forge xesmf, or use `engine: cdo`",
}


class Space:
    """The grids of an experiment, and what it takes to bring fields to them.

    Attributes
    ----------
    fine, coarse : Grid
        Cells of predictands, and of inputs with their context.
    """

    def __init__(self, look: Look, fine: Grid, coarse: Grid) -> None:
        self.look, self.fine, self.coarse = look, fine, coarse
        self._counted: dict[tuple[str, ...], int] = {}
        self._without_engine: dict[str, list[str]] = {}

    @classmethod
    def of(cls, look: Look, first: xr.DataArray) -> Space | None:
        """Lay out both grids from the first predictand; None where that fails."""
        data = look.config.data
        with look.noting():
            field = crop(_regular(data.grid) if data.grid is not None else first, data.domain)
            look.inventory.warn(*cells_left_out(field, data.scale))
            y, x = horizontal(field)
            rows, columns = whole_blocks((field.sizes[y], field.sizes[x]), data.scale)
            if 0 in (rows, columns):
                raise DataError(
                    f"data.scale: {field.sizes[y]} x {field.sizes[x]} cells are fewer than one block of {data.scale} x "
                    f"{data.scale}: choose a larger data.domain or a smaller data.scale"
                )
            fine = Grid.of(field.isel({y: slice(0, rows), x: slice(0, columns)}))
            _check_networks(look, fine)
            coarse = fine.coarsened(data.scale).extended(data.context)
            context = f", of which {data.context} on each side are context" if data.context else ""
            look.inventory.note(
                f"fine grid: {fine.describe()}; coarse grid: {coarse.describe()} (scale {data.scale}{context})"
            )
            return cls(look, fine, coarse)
        return None

    def predictand(self, seen: Seen) -> None:
        """Say how a predictand comes to the fine grid."""
        if seen.grid is None:
            return
        data = self.look.config.data
        if data.grid is not None:
            self.remapped(seen.name, seen.place, seen.grid, self.fine, _settings(seen, seen.grid, self.fine))
        elif same_cells(seen.grid, self.fine) is None:
            self.look.problems.add(
                f"data.predictands.{seen.name}: expected the cells of the first predictand ({self.fine.describe()}, "
                f"{_extent(self.fine)}), found {seen.grid.describe()}, {_extent(seen.grid)}; bring all predictands to "
                "one grid with `data.grid`"
            )

    def coarse_input(self, seen: Seen) -> None:
        """Say how an input comes to the coarse grid."""
        if seen.grid is not None:
            self.remapped(seen.name, seen.place, seen.grid, self.coarse, _settings(seen, seen.grid, self.coarse))

    def static(self, name: str, field: xr.DataArray, settings: Regrid) -> None:
        """Say how a static field comes to the fine grid."""
        source = Grid.of(field)
        if settings.method is None:
            finer = is_finer(source, self.fine)
            settings = settings.model_copy(update={"method": "conservative" if finer else "bilinear"})
        self.remapped(name, "static field", source, self.fine, settings)

    def remapped(self, name: str, place: str, source: Grid, target: Grid, settings: Regrid) -> None:
        """Note method, engine and the number of cells outside of the source; or that none of it is needed."""
        if same_cells(source, target) is not None:
            self.look.inventory.note_about(name, place, "its cells are those of the grid, nothing is remapped")
            return
        how = f"{settings.method} with {settings.engine}"
        if not _available(settings.engine):
            self._without_engine.setdefault(settings.engine, []).append(name)
            self.look.inventory.note_about(name, place, how)
            return
        with self.look.noting():
            outside = self._outside(source, target, settings)
            if outside is None:
                self.look.inventory.note_about(
                    name, place, f"{how}; cells outside are not counted here, the grids are large"
                )
                return
            self._judge(name, place, how, outside, source, target, settings)

    def _outside(self, source: Grid, target: Grid, settings: Regrid) -> int | None:
        box = source.subset(*needed_box(source, target))
        if box.size + target.size > COUNTED_CELLS:
            return None
        key = (box.digest, target.digest, *map(str, settings.model_dump().values()))
        if key not in self._counted:
            self._counted[key] = outside_count(source, target, settings)
        return self._counted[key]

    def _judge(
        self, name: str, place: str, how: str, outside: int, source: Grid, target: Grid, settings: Regrid
    ) -> None:
        if outside == target.size:
            self.look.problems.add(
                f"{name} ({place}) lies elsewhere than the predictands: {_extent(source)}; expected some of "
                f"{_extent(target)}; check data.domain and the files"
            )
        elif outside and settings.outside == "refuse":
            self.look.problems.add(
                f"{name} ({place}): {outside} of {target.size} cells lie outside of it ({_extent(source)}), which "
                "`outside: refuse` doesn't allow: choose a smaller data.domain or data.context, or `outside: nearest`"
            )
        elif outside:
            told = f"{how}; {outside} of {target.size} cells lie outside and get the value of the nearest cell"
            self.look.inventory.note_about(name, place, told)
        else:
            self.look.inventory.note_about(name, place, how)

    def require_engines(self) -> None:
        """Name each engine that is missing once, with all that needs it."""
        for engine, labels in self._without_engine.items():
            self.look.problems.add(f"data.regrid.engine: {', '.join(labels)} need {_INSTALL[engine]}")


def _settings(seen: Seen, source: Grid, target: Grid) -> Regrid:
    method = seen.regrid.method or default_method(seen.first, is_finer(source, target))
    return seen.regrid.model_copy(update={"method": method})


def _available(engine: str) -> bool:
    if engine == "cdo":
        return shutil.which("cdo") is not None
    return all(importlib.util.find_spec(module) is not None for module in ("xesmf", "esmpy"))


def _regular(grid: TargetGrid) -> xr.DataArray:
    """Return a field of nothing on the target grid."""
    axes = {
        name: axis.first + axis.step * np.arange(round((axis.last - axis.first) / axis.step) + 1)
        for name, axis in (("lat", grid.lat), ("lon", grid.lon))
    }
    values = np.broadcast_to(np.float32(0), tuple(axis.size for axis in axes.values()))
    return xr.DataArray(values, axes, ("lat", "lon"), "data.grid")


def _extent(grid: Grid) -> str:
    lat, lon = grid.lat, grid.lon
    return f"latitude {lat.min():g} to {lat.max():g}, longitude {lon.min():g} to {lon.max():g}"


def _check_networks(look: Look, fine: Grid) -> None:
    data, smallest = look.config.data, min(fine.shape)
    for name, model in look.config.models.items():
        needed = smallest_fine_size(model, data.scale, data.context)
        _check_patches(look, fine, name, needed)
        _check_denoiser(look, fine, name)
        if smallest < needed:
            look.problems.add(
                f"models.{name}: a {model.backbone} of {model.blocks} blocks at scale {data.scale} needs a grid of at "
                f"least {needed} x {needed} cells, found {fine.shape[0]} x {fine.shape[1]}: choose a larger domain"
                + (", fewer blocks" if model.backbone == "unet" else "")
                + " or a smaller scale"
            )


def _check_denoiser(look: Look, fine: Grid, name: str) -> None:
    training = model_settings(look.config, name).training
    found = min(fine.shape) if training.patch_size is None else training.patch_size
    needed = smallest_for_denoiser(training.denoiser)
    if training.mode == "diffusion" and found < needed:
        look.problems.add(
            f"models.{name}: training.denoiser.levels: {training.denoiser.levels} levels need at least {needed} x "
            f"{needed} fine cells, found {found}; choose fewer levels, or a larger domain or `training.patch_size`"
        )


def _check_patches(look: Look, fine: Grid, name: str, needed: int) -> None:
    training = model_settings(look.config, name).training
    patch, (rows, columns) = training.patch_size, fine.shape
    if patch is not None and patch > min(fine.shape):
        look.problems.add(
            f"models.{name}: training.patch_size: expected no more than {min(fine.shape)} cells, as the domain has "
            f"{rows} x {columns}, found {patch}; choose smaller patches, or leave the key out"
        )
    elif patch is not None and patch < needed:
        look.problems.add(
            f"models.{name}: training.patch_size: this network needs patches of at least {needed} x {needed} cells, "
            f"found {patch}; choose larger ones, or fewer blocks"
        )
    if patch is None and "rotate" in training.augment and rows != columns:
        look.problems.add(
            f"models.{name}: training.augment: `rotate` needs as many cells along Y as along X, found {rows} x "
            f"{columns}; set `training.patch_size`, choose a square domain, or leave `rotate` out"
        )
