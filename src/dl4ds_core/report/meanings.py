"""What scores mean, in a line each, for a reader of the report who has nothing else."""

from __future__ import annotations

from dl4ds_core.verification import INDICES, METRICS

_DEPARTURES = "less the mean of each month and hour of the day"
_DISTANCE = "Root mean square over wavenumbers of the difference of the mean spectra"
_SHORT = "wavelengths under four coarse cells"
_SPELLS = (
    "Of precipitation, {0} steps are those {1} 1 mm/d; else {2} steps are those {3} percentile of the truth there."
)

_MEANINGS = {
    "bias": "Mean of prediction less truth.",
    "mae": "Mean of the sizes of the errors.",
    "rmse": "Root of the mean square of the errors.",
    "relative_rmse": "RMSE over the standard deviation of the truth, mean over cells: 1 is no better than the mean.",
    "pearson": "Correlation of the series of a cell, mean over cells.",
    "deseasonalised_pearson": f"Correlation of the series of a cell {_DEPARTURES}, mean over cells.",
    "spearman": "Correlation of the ranks of the series of a cell, mean over cells.",
    "std_ratio": "Standard deviation in time over that of the truth, mean over cells.",
    "memory_bias": f"Autocorrelation of one step less that of the truth; of the series {_DEPARTURES}.",
    "high_spell_bias": "Mean length of spells less that of the truth. "
    + _SPELLS.format("wet", "with at least", "high", "at or above the 90th"),
    "low_spell_bias": "Mean length of spells less that of the truth. "
    + _SPELLS.format("dry", "with less than", "low", "at or below the 10th"),
    "quantile_bias": "Percentile of a cell's series less that of the truth, mean over cells.",
    "perkins": "Area that the histograms of prediction and truth have in common, mean over cells.",
    "wasserstein": "Mean distance of equal quantiles of prediction and truth, mean over cells.",
    "ssim": "Likeness of neighbourhoods of 11 × 11 cells in mean, variance and pattern.",
    "psnr": "Mean over steps of the squared range of the training period over the mean square error, as a logarithm.",
    "pattern_correlation": "Correlation over the cells of a step, mean over steps.",
    "coarse_rmse": "RMSE of the means over coarse cells: how far the prediction is from what its coarse input says.",
    "spectral_distance": f"{_DISTANCE}.",
    "short_spectral_distance": f"{_DISTANCE}, at {_SHORT}.",
    "power_ratio": f"Variance at {_SHORT} over that of the truth: below 1 it is too smooth, above 1 too rough.",
    "subgrid_power_ratio": "Variance at wavelengths under two coarse cells, which the coarse grid can't hold, over "
    "that of the truth: the detail that is added.",
    "correlation_length_bias": "Distance at which the correlation of a field with itself falls to 1/e, less that of "
    "the truth.",
    "fss": "Fractions skill score: likeness of the shares of cells at or above the threshold, in neighbourhoods of "
    "some width.",
    "crps": "Continuous ranked probability score, fair; of one value it is the MAE.",
    "spread_skill": "Spread of the members over the error of their mean: below 1 they are too sure of themselves.",
    "rank_deviation": "Share of the truth that would have to have another rank among the members.",
    "brier": "Fair Brier score of the probability of values at or above the threshold.",
    "reliability": "Part of the Brier score that comes from wrong probabilities.",
    "energy_score": "Fair energy score of whole fields, mean over steps.",
    "member_power_ratio": f"Variance of the members at {_SHORT} over that of the truth.",
    "member_spectral_distance": f"{_DISTANCE}, that of the members and that of the truth.",
    "member_short_spectral_distance": f"{_DISTANCE}, that of the members and that of the truth, at {_SHORT}.",
}


def meaning(metric: str) -> str:
    """Return what a score means and the value of a perfect prediction; of one that isn't explained, its name."""
    known = METRICS[metric]
    text = _MEANINGS.get(metric)
    if text is None and metric.removeprefix("bias_") in INDICES:
        text = f"{INDICES[metric.removeprefix('bias_')].text}, less that of the truth, mean over years and cells."
    if text is None:
        text = f"{known.long_name}."
    return f"{text[:1].upper()}{text[1:]} A perfect prediction has {known.perfect:g}."
