"""Which coordinate of a file is what: latitude, longitude, the axes of a projection, time, levels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import xarray as xr

from dl4ds_core.errors import DataError

#: Usual names where neither cf_xarray's names nor attributes tell.
_FURTHER_NAMES = {
    "latitude": re.compile(r"[tugvfc]lat|xlat_[muv]|lats?_(rho|t)"),
    "longitude": re.compile(r"[tugvfc]long?|xlong?(_[muv])?|lons?_(rho|t)"),
    "Z": re.compile(r"plev\w*|levels?|p|pressure(_level)?|alt(itude)?|heightabove\w*|soil\w*"),
    "Y": re.compile(r"y\w?|nj|eta_rho|south_north\w*|rows?|lat\w*|northing|ygrid\w*"),
    "X": re.compile(r"x\w?|ni|xi_rho|west_east\w*|col(umn)?s?|lon\w*|easting|xgrid\w*"),
}
_NOT_THE_TIME = ("forecast_reference_time", "forecast_period")
_PRESSURE_UNITS = ("pa", "hpa", "mb", "mbar", "millibar", "millibars")


@dataclass(frozen=True)
class Roles:
    """Names of coordinates and dimensions of a variable; None where there is none.

    Attributes
    ----------
    lat, lon : str or None
        Geographic coordinates, of one or two dimensions.
    dims : tuple of str
        Dimensions Y and X.
    axes : tuple of str or None
        One-dimensional coordinates along Y and X, other than ``lat`` and ``lon``.
    """

    lat: str | None
    lon: str | None
    dims: tuple[str, str]
    axes: tuple[str | None, str | None]


def with_candidates(dataset: xr.Dataset, variable: str) -> xr.DataArray:
    """Return a variable with everything in the file that may be a coordinate of it, linked to it or not."""
    dims = set(dataset[variable].dims)
    related = {name for other in dataset.variables.values() for name in str(other.attrs.get("bounds", "")).split()}
    names = [
        str(name)
        for name, other in dataset.variables.items()
        if name != variable and name not in related and set(other.dims) <= dims and other.ndim <= 3
    ]
    names = [name for name in names if name in dataset.coords or dataset[name].ndim < 3 or _geographic(dataset, name)]
    return dataset.set_coords(names)[variable].reset_coords(
        [name for name in dataset.coords if name not in names and name in dataset[variable].coords], drop=True
    )


def _geographic(dataset: xr.Dataset, name: str) -> bool:
    return str(dataset[name].attrs.get("units", "")).lower().startswith("degree")


def find_horizontal(field: xr.DataArray, where: str) -> Roles:
    """Find the horizontal dimensions and the coordinates along them.

    Raises
    ------
    DataError
        If there are none, or several that match.
    """
    lat, lon = (_geographic_coordinate(field, key, where) for key in ("latitude", "longitude"))
    if lat is None or lon is None:
        dims = _projection_dims(field)
        if dims is None or len(set(dims)) < 2:
            raise DataError(
                f"{where}: expected latitude and longitude, or the axes of a grid mapping; found the dimensions "
                f"{_sizes(field)} and the coordinates {', '.join(sorted(map(str, field.coords))) or '(none)'}"
            )
        return Roles(None, None, dims, _axes(field, dims))
    shapes = field[lat].dims, field[lon].dims
    if len(shapes[0]) == len(shapes[1]) == 2 and set(shapes[0]) == set(shapes[1]):
        dims = _ordered(field, (str(shapes[0][0]), str(shapes[0][1])))
        return Roles(lat, lon, dims, _axes(field, dims))
    if len(shapes[0]) != 1 or len(shapes[1]) != 1:
        raise DataError(
            f"{where}: expected latitude and longitude with one dimension each or two in common, "
            f"found {lat}{_tuple(shapes[0])} and {lon}{_tuple(shapes[1])}"
        )
    if shapes[0] == shapes[1]:
        raise DataError(
            f"{where}: latitude and longitude both run along {shapes[0][0]}: expected rows and columns, found a list "
            "of places or a reduced grid; bring it to rows and columns first (for example cdo remapcon or setgridtype)"
        )
    return Roles(lat, lon, (str(shapes[0][0]), str(shapes[1][0])), (None, None))


def find_time(field: xr.DataArray, where: str) -> str | None:
    """Return the coordinate with the times of validity: one-dimensional, or a scalar where the file has one step.

    Raises
    ------
    DataError
        If several match.
    """
    names = _described(field, "T") | _described(field, "time", axes=False)
    names |= {str(name) for name in field.coords if _since(field, str(name))}
    names |= {str(name) for name in field.coords if name in ("time", "valid_time")}
    names = {name for name in names if _since(field, name) or name in field.dims}
    valid = {name for name in names if _attribute(field, name, "standard_name") not in _NOT_THE_TIME}
    # Without a time of validity, the time of the forecast itself is better than none.
    names = valid if {name for name in valid if field[name].ndim < 2} else names & {"time"}
    along = {name for name in names if field[name].ndim == 1}
    if along:
        exact = {name for name in along if _attribute(field, name, "standard_name") == "time"}
        return _only(field, exact or along, "time", where)
    return _only(field, {name for name in names if field[name].ndim == 0}, "time", where)


def find_vertical(field: xr.DataArray, taken: Iterable[str | None], where: str) -> str | None:
    """Return the vertical coordinate, one-dimensional or scalar.

    Raises
    ------
    DataError
        If several match.
    """
    names = _described(field, "Z") | _described(field, "vertical", axes=False)
    names |= {name for name in _coordinates(field) if _attribute(field, name, "units").lower() in _PRESSURE_UNITS}
    if not {name for name in names if field[name].ndim == 1}:
        names |= _named(field, "Z")
    names = {name for name in names if field[name].ndim <= 1 and name not in set(taken)}
    along = {name for name in names if field[name].ndim == 1 and field.sizes[field[name].dims[0]] > 1}
    return _only(field, along or names, "level", where)


def _geographic_coordinate(field: xr.DataArray, key: str, where: str) -> str | None:
    names = _described(field, key, axes=False) or _named(field, key, "deg", "rad")
    names = {name for name in names if field[name].ndim in (1, 2)}
    # Beside two-dimensional ones, those of one dimension are the axes of a rotated grid, whatever they say.
    flat = {name for name in names if field[name].ndim == 2}
    return _only(field, flat or names, key, where)


def _only(field: xr.DataArray, names: set[str], kind: str, where: str) -> str | None:
    """Return the one name; of several, the one that the variable names itself, or that is named like its dimension."""
    linked = set(str(field.encoding.get("coordinates", field.attrs.get("coordinates", ""))).split())
    for preferred in (names & linked, names & set(map(str, field.dims)), names):
        if len(preferred) == 1:
            return next(iter(preferred))
    if names:
        raise DataError(
            f"{where}: two coordinates match {kind}: {', '.join(sorted(names))}; delete or rename all but one, or name "
            "it in the variable's attribute `coordinates`"
        )
    return None


def _projection_dims(field: xr.DataArray) -> tuple[str, str] | None:
    pair = []
    for axis in ("Y", "X"):
        names = {name for name in _described(field, axis) if field[name].ndim == 1}
        names = names or {name for name in _named(field, axis) if field[name].ndim == 1}
        if len(names) != 1:
            return None
        pair.append(str(field[next(iter(names))].dims[0]))
    return pair[0], pair[1]


def _ordered(field: xr.DataArray, dims: tuple[str, str]) -> tuple[str, str]:
    """Tell which of two dimensions is Y: by coordinates along them, by their names, else the first one."""
    for axis, position in (("Y", 0), ("X", 1)):
        along = {str(field[name].dims[0]) for name in _described(field, axis) if field[name].ndim == 1}
        along |= {dim for dim in dims if _matches(dim, axis)} if not along else set()
        if len(along & set(dims)) == 1:
            found = next(iter(along & set(dims)))
            other = dims[1] if dims[0] == found else dims[0]
            return (found, other) if position == 0 else (other, found)
    return dims


def _axes(field: xr.DataArray, dims: tuple[str, str]) -> tuple[str | None, str | None]:
    found: list[str | None] = []
    for axis, dim in zip(("Y", "X"), dims, strict=True):
        names = {name for name in _described(field, axis) if field[name].dims == (dim,)}
        names = names if len(names) == 1 else {dim} & set(map(str, field.coords))
        found.append(next(iter(names)) if len(names) == 1 else None)
    return found[0], found[1]


def _described(field: xr.DataArray, key: str, *, axes: bool = True) -> set[str]:
    """Return the coordinates that are of a kind by their CF attributes."""
    import cf_xarray  # noqa: F401 - registers the accessor; here because it is slow to import

    found: Mapping[str, list[object]] = field.cf.axes if axes else field.cf.coordinates
    return {str(name) for name in found.get(key, [])}


def _named(field: xr.DataArray, key: str, *units: str) -> set[str]:
    """Return the coordinates with a usual name of a kind, whose units, if any, begin as they should."""
    names = {name for name in _coordinates(field) if _matches(name, key)}
    if not units:
        return names
    return {name for name in names if not (unit := _attribute(field, name, "units")) or unit.lower().startswith(units)}


def _matches(name: str, key: str) -> bool:
    from cf_xarray.criteria import regex

    text = name.lower()
    return bool(regex[key].fullmatch(text) or (key in _FURTHER_NAMES and _FURTHER_NAMES[key].fullmatch(text)))


def _coordinates(field: xr.DataArray) -> list[str]:
    return [str(name) for name in field.coords if field[name].dtype.kind in "iuf"]


def _attribute(field: xr.DataArray, name: str, attribute: str) -> str:
    return str(field[name].attrs.get(attribute, ""))


def _since(field: xr.DataArray, name: str) -> bool:
    return " since " in _attribute(field, name, "units").lower()


def _sizes(field: xr.DataArray) -> str:
    return ", ".join(f"{dim} ({size})" for dim, size in field.sizes.items()) or "(none)"


def _tuple(dims: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, dims))})"
