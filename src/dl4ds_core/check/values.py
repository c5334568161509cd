"""A look at values: those that are missing where they must not be. Of long records, the first and last steps only."""

from __future__ import annotations

import xarray as xr

from dl4ds_core.check.reading import Look, Seen
from dl4ds_core.errors import DataError
from dl4ds_core.grids import crop, horizontal
from dl4ds_core.regrid import missing_values

#: Inputs of more values than this are not searched whole, but at the first and last steps of their first and last file.
SEARCHED_VALUES = 20_000_000


def search_predictand(look: Look, seen: Seen) -> None:
    """Look for values of a predictand that are missing, in its domain, where that is refused."""
    data = look.config.data
    fields, whole = _searched(seen)
    for path, field in fields.items():
        where = f"{path}: {seen.entry.variable}"
        with look.noting():
            if data.grid is not None:
                # What lies around the cells that are needed may be missing.
                if _missing(field) == field.size and whole:
                    raise DataError(f"{where}: all values are missing; choose other files, or mend them")
            elif whole or data.missing == "refuse":
                missing_values(crop(field, data.domain), where, data.missing)


def search_input(look: Look, seen: Seen) -> None:
    """Look for an input without any value, and say if some are missing."""
    fields, whole = _searched(seen)
    with look.noting():
        missing = sum(_missing(field) for field in fields.values())
        size = sum(field.size for field in fields.values())
        if missing == size and whole and seen.complete:
            raise DataError(
                f"{seen.label}: all values are missing in {', '.join(fields)}; leave it out, or mend the files"
            )
        if missing and look.config.data.missing_predictors == "refuse":
            look.inventory.warn(
                f"{seen.label}: {missing} of {size} values that were looked at are missing; the run stops if they are "
                "needed, unless `data.missing_predictors: fill`"
            )


def _searched(seen: Seen) -> tuple[dict[str, xr.DataArray], bool]:
    """Return the fields to search, and whether these are all values."""
    if sum(field.size for field in seen.fields.values()) <= SEARCHED_VALUES:
        return seen.fields, True
    paths = [*seen.fields]
    return {path: seen.fields[path].isel(time=[0, -1]) for path in dict.fromkeys((paths[0], paths[-1]))}, False


def _missing(field: xr.DataArray) -> int:
    return int(field.isnull().sum(("time", *horizontal(field))).compute())
