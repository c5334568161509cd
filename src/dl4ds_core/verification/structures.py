"""The scores of the structure of fields, collected while whole fields pass by in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.verification import ensemble as members
from dl4ds_core.verification.metrics import structures
from dl4ds_core.verification.moments import ratio
from dl4ds_core.verification.setting import Setting
from dl4ds_core.verification.structure import Structure, Terms, spectral_terms

__all__ = ["Structures"]

FloatArray = npt.NDArray[np.float64]


class Structures:
    """Collects the terms of the scores of one predictand that are a `Structure`.

    Parameters
    ----------
    setting : Setting
        What these scores must know besides the fields.
    counts : numpy.ndarray of float64
        Resamples ``(sample, time)`` of `block_weights`.
    ensemble : bool
        Whether there are members, which have scores of their own.
    """

    def __init__(self, setting: Setting, counts: FloatArray, *, ensemble: bool) -> None:
        self._setting, self._counts, self._ensemble = setting, counts, ensemble
        self._record = counts.shape[1]
        self._terms: dict[Callable[..., Terms], Terms] = {}
        """Terms ``(time, ...)`` by the function that gives them."""

    def terms(
        self, forecast: FloatArray, observation: FloatArray, ensemble: FloatArray | None
    ) -> dict[Callable[..., Terms], Terms]:
        """Return the terms of some whole fields ``(time, Y, X)``, with the members ``(member, time, Y, X)`` if any."""
        made = {structure.terms: metric.members for metric, structure in structures(ensemble=self._ensemble)}
        return {
            function: function(
                ensemble if of_members and ensemble is not None else forecast, observation, self._setting
            )
            for function, of_members in made.items()
        }

    def add(self, terms: dict[Callable[..., Terms], Terms], steps: slice) -> None:
        """Take in the terms of some steps."""
        for function, found in terms.items():
            kept = self._terms.setdefault(function, {})
            for name, values in found.items():
                kept.setdefault(name, np.full((self._record, *values.shape[1:]), np.nan))[steps] = values

    def scored(self, structure: Structure) -> Iterator[tuple[dict[str, object], float, FloatArray]]:
        """Each value of a score: its threshold and scale, the value, and that of each resample ``(sample,)``."""
        score = structure.score
        whole = score(self._means(structure.terms, np.ones(self._record)), self._setting)
        drawn = self._means(structure.terms, self._counts)
        resampled = [
            score({key: values[sample] for key, values in drawn.items()}, self._setting)
            for sample in range(self._counts.shape[0])
        ]
        for place, (threshold, scale) in enumerate(structure.labels(self._setting)):
            values = np.array([each[place] for each in resampled])
            if structure.centred and np.isfinite(values).any():
                values += whole[place] - np.nanmedian(values)
            yield {"threshold": threshold, "scale": scale}, float(whole[place]), values

    def curves(self, long_name: str, unit: str) -> dict[str, xr.DataArray]:
        """Return mean spectra, and of an ensemble the rank histogram and what makes a reliability diagram.

        Parameters
        ----------
        long_name, unit : str
            Of the predictand; the unit is that of its differences.
        """
        fields = self._spectra(long_name, unit)
        for terms, made in ((members.rank_terms, self._ranks), (members.reliability_terms, self._reliability)):
            if terms in self._terms:
                fields |= made(long_name)
        return fields

    def _means(self, terms: Callable[..., Terms], counts: FloatArray) -> Terms:
        """Return means over time of terms, steps counted so often ``(time,)`` or, for resamples, ``(sample, time)``."""
        means = {}
        for key, values in self._terms[terms].items():
            defined = ~np.isnan(values)
            sums = np.tensordot(counts, np.where(defined, values, 0.0), axes=1)
            means[key] = ratio(sums, np.tensordot(counts, defined.astype(float), axes=1))
        return means

    def _mean(self, terms: Callable[..., Terms]) -> Terms:
        return self._means(terms, np.ones(self._record))

    def _spectra(self, long_name: str, unit: str) -> dict[str, xr.DataArray]:
        numbers = self._setting.wavenumbers
        if not (numbers.size and spectral_terms in self._terms):
            return {}
        axis = xr.DataArray(numbers, dims=["wavenumber"], attrs={"long_name": "wavenumber", "units": "km-1"})
        found = {
            "prediction": self._terms[spectral_terms]["forecast"],
            "truth": self._terms[spectral_terms]["observation"],
        }
        if members.member_spectral_terms in self._terms:
            found["members"] = self._terms[members.member_spectral_terms]["forecast"]
        fields = {}
        for text, values in found.items():
            attributes = {"long_name": f"power spectrum of {long_name}, {text}", "units": f"({unit})2"}
            mean = np.nanmean(values, axis=0)
            fields[f"spectrum_{text}"] = xr.DataArray(mean, {"wavenumber": axis}, ["wavenumber"], attrs=attributes)
        return fields

    def _ranks(self, long_name: str) -> dict[str, xr.DataArray]:
        area = self._mean(members.rank_terms)["area"]
        about = {"long_name": "number of members below the truth", "units": "1"}
        axis = xr.DataArray(np.arange(area.size, dtype=np.int32), dims=["rank"], attrs=about)
        attributes = {"long_name": f"share of each rank of {long_name}", "units": "1"}
        shares = ratio(area, np.full_like(area, area.sum()))
        return {"rank_histogram": xr.DataArray(shares, {"rank": axis}, ["rank"], attrs=attributes)}

    def _reliability(self, long_name: str) -> dict[str, xr.DataArray]:
        means = self._mean(members.reliability_terms)
        area = means["area"]
        about = {"long_name": "least value of an event"}
        axis = xr.DataArray(np.asarray(self._setting.thresholds), dims=["threshold"], attrs=about)
        total = np.broadcast_to(area.sum(axis=-1, keepdims=True), area.shape)
        named = {
            "frequency": (ratio(means["events"], area), "frequency of events"),
            "forecast": (ratio(means["forecast"], area), "mean probability of events"),
            "count": (ratio(area, total), "share of forecasts"),
        }
        return {
            f"reliability_{name}": xr.DataArray(
                values,
                {"threshold": axis},
                ["threshold", "bin"],
                attrs={"long_name": f"{text}, by bin of the probability, of {long_name}", "units": "1"},
            )
            for name, (values, text) in named.items()
        }
