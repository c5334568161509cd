"""Sections that describe the inputs: files, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from dl4ds_core.config.fields import (
    CellMethod,
    Label,
    Name,
    Offset,
    Section,
    Span,
    Text,
    VariableName,
    as_list,
)
from dl4ds_core.config.space import Domain as Domain
from dl4ds_core.config.space import Regrid as Regrid
from dl4ds_core.config.space import TargetGrid as TargetGrid

#: Names of dimensions, coordinates and helpers in the files of the results, and of the entry for all others.
_AXES = ("time", "lat", "lon", "rlat", "rlon", "y", "x")
TAKEN_NAMES = frozenset(
    [*_AXES, *(f"{axis}_bnds" for axis in _AXES), "lat_vertices", "lon_vertices", "bnds", "crs", "cell_area", "default"]
)


class Download(Section):
    """A file that is fetched once and checked against its checksum."""

    url: str = Field(description="Address of the file (http, https or ftp).", pattern=r"^(https?|ftp)://\S+$")
    sha256: str = Field(description="SHA-256 checksum of the file, in hexadecimal.", pattern=r"^[0-9a-f]{64}$")
    local: Text | None = Field(
        default=None,
        description="Path below the folder that the environment variable DL4DS_DATA names; used instead if present.",
    )


class Source(Section):
    """Files that belong together, described once."""

    paths: Annotated[list[Text], BeforeValidator(as_list, json_schema_input_type=str | list[str])] = Field(
        default_factory=list,
        description="File names or globs (netCDF, GRIB or Zarr), relative to the working directory; "
        "`package://NAME/FILE` names a file of an installed Python package, `data://FILE` one below the folder that "
        "the environment variable DL4DS_DATA names.",
    )
    downloads: list[Download] = Field(default_factory=list, description="Files to fetch, instead of `paths`.")
    filter: dict[str, Label] = Field(
        default_factory=dict,
        description="For GRIB files: keys that messages must have, such as `{typeOfLevel: isobaricInhPa}`.",
    )
    time_offset: Offset = Field(
        default="0h", description="Added to all times, such as `-12h`; so that stamps mean the same in all sources."
    )
    cell_methods: CellMethod | None = Field(
        default=None,
        description="What a value stands for: `point`, or the `mean` or `sum` over the interval that ends at its time; "
        "needed where steps are put together to days. Empty: as the files say, else `point`.",
    )
    citation: str = Field(default="", description="How to cite the data; repeated in the report.")
    licence: str = Field(default="", description="Licence of the data; repeated in the report.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.paths) == bool(self.downloads):
            raise ValueError("expected either `paths` or `downloads`, and at least one entry")
        files = [item.url.rsplit("/", 1)[-1] for item in self.downloads]
        if len(set(files)) < len(files):
            raise ValueError(f"downloads: expected different file names, found {files}; make them different sources")
        return self


class Variable(Section):
    """A variable in the files of a source."""

    source: Name = Field(description="Key of `sources`.")
    variable: Text = Field(description="Name of the variable in the files.")
    units: Text | None = Field(default=None, description="Units to convert to on reading; empty: those of the files.")
    level: float | None = Field(
        default=None, description="Value of the vertical coordinate, in the files' units or in hPa."
    )
    select: dict[str, Label] = Field(
        default_factory=dict, description="Value (or number, from 0) along further dimensions, such as `{member: 0}`."
    )
    regrid: Regrid | None = Field(default=None, description="Overrides `data.regrid` for this field.")


class Predictor(Variable):
    """A further input that varies in time, at any resolution."""

    minimum: float | None = Field(
        default=None, description="Smaller values are set to this one, such as 0 for precipitation; in `units`."
    )


class Predictand(Predictor):
    """A high-resolution variable to be predicted."""

    dry_below: float | None = Field(
        default=None,
        description="Predictions below this are 0: a dry day of precipitation; in `units`.",
        gt=0,
    )

    @model_validator(mode="after")
    def _some_dry_values(self) -> Self:
        if self.dry_below is not None and self.minimum is not None and self.minimum >= self.dry_below:
            raise ValueError(f"dry_below {self.dry_below:g}: no value is below it with minimum {self.minimum:g}")
        return self


class StaticField(Section):
    """A field without time, brought to the fine grid: from a file, or derived from the grid."""

    source: Name | None = Field(default=None, description="Key of `sources`.")
    variable: Text | None = Field(default=None, description="Name of the variable in the files.")
    units: Text | None = Field(default=None, description="Units to convert to on reading; empty: those of the files.")
    select: dict[str, Label] = Field(
        default_factory=dict, description="Value (or number, from 0) along further dimensions."
    )
    regrid: Regrid | None = Field(default=None, description="Overrides `data.regrid` for this field.")
    derived: Literal["latitude", "longitude", "coast_distance"] | None = Field(
        default=None, description="Instead of a source: derived from the fine grid."
    )
    land: VariableName | None = Field(
        default=None,
        description="For `coast_distance`: the static field that tells land from sea, a land fraction (land: at least "
        "one half) or an elevation (land: above 0 m).",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [key for key in ("source", "variable") if getattr(self, key) is not None]
        if self.derived is None and len(given) < 2:
            raise ValueError("expected `source` and `variable`, or `derived`")
        if self.derived is not None and (given or self.regrid or self.units or self.select):
            raise ValueError("a derived field has no `source`, `variable`, `units`, `select` or `regrid`")
        if (self.derived == "coast_distance") != (self.land is not None):
            raise ValueError("`land` belongs to `derived: coast_distance`, which needs it")
        return self


def _kind(value: object) -> str:
    return "entry" if isinstance(value, dict | Predictor) else "name"


#: The tags let errors speak of the one of the two that the user meant.
VariableOrEntry = Annotated[Annotated[Text, Tag("name")] | Annotated[Predictor, Tag("entry")], Discriminator(_kind)]


class Coarse(Section):
    """Where the coarse input comes from."""

    origin: Name = Field(
        default="predictands",
        alias="from",
        description="`predictands`: implicit pairs, the predictands themselves coarsened by area-weighted means; a key "
        "of `sources`: explicit pairs, the coarse fields come from there; `none`: predictors only.",
    )
    variables: dict[VariableName, VariableOrEntry] = Field(
        default_factory=dict,
        description="For explicit pairs: the variable of that source for each predictand, by its name or as an entry "
        "like those of `predictors`. Units become those of the predictand.",
    )

    @model_validator(mode="after")
    def _variables_for_sources(self) -> Self:
        if self.variables and not self.explicit:
            raise ValueError(f"`variables` belongs to a source; found `from: {self.origin}`")
        return self

    @property
    def explicit(self) -> bool:
        """Whether the coarse fields come from another source than the predictands."""
        return self.origin not in ("predictands", "none")


class Times(Section):
    """How the time axes of different files are brought together."""

    step: Literal["native", "day"] = Field(
        default="native",
        description="`native`: as in the files, but days where one field is daily and others are finer; `day`: days.",
    )
    tolerance: Span = Field(
        default="0h", description="Times of two sources that differ by no more than this are the same step."
    )
    duplicates: Literal["refuse", "first", "last", "mean"] = Field(
        default="refuse", description="What is done where a time occurs twice in a source."
    )
    unsorted: Literal["refuse", "sort"] = Field(
        default="refuse", description="What is done where times don't ascend in a file."
    )


class Data(Section):
    """What is downscaled, from what."""

    predictands: dict[VariableName, Predictand] = Field(
        description="High-resolution truth, by the name used in all results.", min_length=1
    )
    coarse: Coarse = Field(default_factory=Coarse, description="The coarse input.")
    predictors: dict[VariableName, Predictor] = Field(
        default_factory=dict, description="Further inputs that vary in time, brought to the coarse grid, by name."
    )
    static: dict[VariableName, StaticField] = Field(
        default_factory=dict, description="Fields without time, brought to the fine grid, by name."
    )
    domain: Domain | None = Field(default=None, description="Part of the grid to use; empty: all of it.")
    grid: TargetGrid | None = Field(
        default=None, description="Regular grid to bring the predictands to; empty: the grid of their files."
    )
    scale: int = Field(description="Fine cells per coarse cell, along each axis.", ge=2, le=16)
    context: int = Field(default=0, description="Coarse cells of input around the domain, on each side.", ge=0, le=64)
    regrid: Regrid = Field(default_factory=Regrid, description="Default for every field on another grid.")
    missing: Literal["refuse", "mask"] = Field(
        default="refuse",
        description="Missing values of predictands: `refuse` stops the run; `mask` leaves them out of everything.",
    )
    missing_predictors: Literal["refuse", "fill"] = Field(
        default="refuse",
        description="Missing values of other inputs: `refuse` stops the run; `fill` takes the nearest cell's value.",
    )
    time: Times = Field(default_factory=Times, description="How time axes are brought together.")

    @model_validator(mode="after")
    def _possible_names(self) -> Self:
        kinds: dict[str, Mapping[str, object]] = {
            "predictands": self.predictands,
            "predictors": self.predictors,
            "static": self.static,
        }
        for kind, entries in kinds.items():
            for name in entries:
                if name in TAKEN_NAMES or name.endswith("_valid_fraction"):
                    raise ValueError(f"{kind}.{name}: this name is taken by something else in the results; rename it")
        return self

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        kinds: dict[str, Mapping[str, object]] = {
            "predictand": self.predictands,
            "predictor": self.predictors,
            "static field": self.static,
        }
        for (one, first), (other, second) in combinations(kinds.items(), 2):
            both = set(first) & set(second)
            if both:
                raise ValueError(f"a {one} and a {other} share the name {sorted(both)[0]!r}: rename one of them")
        return self

    @model_validator(mode="after")
    def _inputs(self) -> Self:
        if self.coarse.origin == "none" and not self.predictors:
            raise ValueError("`coarse: {from: none}` needs `predictors`: a network must have some input")
        unknown = sorted(set(self.coarse.variables) - set(self.predictands))
        lacking = sorted(set(self.predictands) - set(self.coarse.variables)) if self.coarse.explicit else []
        if unknown or lacking:
            raise ValueError(
                f"coarse.variables: expected one entry for each predictand ({', '.join(self.predictands)}), found "
                f"{', '.join(self.coarse.variables) or 'none'}"
            )
        for name, entry in self.coarse.variables.items():
            if isinstance(entry, Predictor) and entry.units not in (None, self.predictands[name].units):
                raise ValueError(
                    f"coarse.variables.{name}.units: units become those of the predictand "
                    f"({self.predictands[name].units or 'as in its files'}), found {entry.units!r}; leave the key out"
                )
        for name, predictand in self.predictands.items():
            if predictand.regrid is not None and self.grid is None:
                raise ValueError(
                    f"predictands.{name}.regrid: without `data.grid`, predictands stay on the grid of their files"
                )
        for name, field in self.static.items():
            if field.land is not None and (field.land not in self.static or self.static[field.land].derived):
                raise ValueError(f"static.{name}.land: expected a static field from a file, found {field.land!r}")
        if self.grid is not None and self.domain is not None and self.domain.lat is None and self.domain.lon is None:
            raise ValueError("domain: expected limits of lat and lon, as `grid` is one of latitude and longitude")
        return self

    def coarse_entries(self) -> dict[str, Predictor]:
        """Return the inputs that come from files and are remapped to the coarse grid, by name, in channel order."""
        entries: dict[str, Predictor] = {}
        if self.coarse.explicit:
            for name, predictand in self.predictands.items():
                chosen = self.coarse.variables[name]
                entry = (
                    Predictor(source=self.coarse.origin, variable=chosen, minimum=predictand.minimum)
                    if isinstance(chosen, str)
                    else chosen
                )
                entries[name] = entry
        return entries | self.predictors
