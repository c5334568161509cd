"""Sections about space: remapping, the domain and the grid."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from dl4ds_core.config.fields import Limits, Method, Section


class Regrid(Section):
    """How a field is brought to another grid. Needed only where two grids differ."""

    engine: Literal["cdo", "xesmf"] = Field(
        default="cdo", description="Program that makes the weights; xesmf needs ESMF, which conda has and pip hasn't."
    )
    method: Method | None = Field(
        default=None,
        description="Remapping method; empty: conservative for fluxes and sums, and where the target's cells are "
        "larger; else bilinear.",
    )
    outside: Literal["nearest", "refuse"] = Field(
        default="nearest",
        description="Cells that the source's cells don't surround: the nearest cell's value, or stop the run.",
    )
    min_valid_fraction: float = Field(
        default=0.5,
        description="A cell has a value where at least this part of its sources' area has; means are over that part.",
        gt=0,
        le=1,
    )


class Domain(Section):
    """Part of the predictands' grid to use; both ends belong to it."""

    lat: Limits | None = Field(
        default=None,
        description="Southern and northern limit of cell centres, degrees north; on other grids, the smallest box of "
        "rows and columns with all such cells.",
    )
    lon: tuple[float, float] | None = Field(
        default=None,
        description="Western and eastern limit of cell centres, degrees east; a west that is larger than the east is a "
        "domain across the date line. Files from 0 to 360 are brought to these limits.",
    )
    y: Limits | None = Field(default=None, description="Limits along the second axis of a projected or rotated grid.")
    x: Limits | None = Field(default=None, description="Limits along the first axis of a projected or rotated grid.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = {key for key in ("lat", "lon", "y", "x") if getattr(self, key) is not None}
        if not given or (given & {"lat", "lon"} and given & {"y", "x"}):
            raise ValueError(f"expected limits of `lat` and `lon`, or of `y` and `x`; found {sorted(given)}")
        return self

    @model_validator(mode="after")
    def _on_the_globe(self) -> Self:
        if self.lat is not None and (self.lat[0] < -90 or self.lat[1] > 90):
            raise ValueError(f"lat: expected degrees from -90 to 90, found {list(self.lat)}")
        if self.lon is not None:
            west, east = self.lon
            if west == east or east - west > 360 or not (-360 <= west <= 360 and -360 <= east <= 360):
                raise ValueError(
                    f"lon: expected [west, east] in degrees from -360 to 360, once around at most, found {[west, east]}"
                )
        return self


class Axis(Section):
    """Cell centres along an axis of a regular grid."""

    first: float = Field(description="First cell centre, degrees.")
    last: float = Field(description="Last cell centre, degrees.")
    step: PositiveFloat = Field(description="Distance of cell centres, degrees.")

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        steps = (self.last - self.first) / self.step
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"expected first + n * step = last, found {self.first}, {self.step}, {self.last}")
        return self


class TargetGrid(Section):
    """A regular latitude-longitude grid to bring the predictands to."""

    lat: Axis = Field(description="Latitudes.")
    lon: Axis = Field(description="Longitudes.")

    @model_validator(mode="after")
    def _on_the_globe(self) -> Self:
        if self.lat.first - self.lat.step / 2 < -90 - 1e-9 or self.lat.last + self.lat.step / 2 > 90 + 1e-9:
            raise ValueError("lat: the cells reach beyond a pole; expected centres at least half a step from it")
        if self.lon.last - self.lon.first + self.lon.step > 360 + 1e-9:
            raise ValueError("lon: the cells reach around the globe more than once")
        return self
