"""Draws the spectra in docs/probabilistic.md and prints the table there, from the results of the two GAN experiments.

Run in the root of the project, where the experiments have been run: python docs/gan_spectra.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import xarray as xr

from dl4ds_core import figures, io
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import mean_spacing
from dl4ds_core.verification import read_summary

FOLDER = Path(__file__).parent
EXPERIMENTS = {"era5-uk-t2m-gan": "t2m", "iberia-pr-gan": "pr"}
#: Networks trained by the mean absolute error; the same as generators are called `gan-<name>`.
NETWORKS = ("resnet-spc", "unet-pin", "window-spc")
SCORES = ("short_spectral_distance", "power_ratio", "rmse")
HEAD = "| Generator | Spectral error (dB): MAE | GAN | Ratio of variances: MAE | GAN | RMSE ({unit}): MAE | GAN |"


def main() -> None:
    """Write a figure of each experiment, and print its table."""
    for experiment, predictand in EXPERIMENTS.items():
        results = Path("results") / experiment
        draw(results, predictand, FOLDER / f"gan-spectra-{predictand}.png")
        sys.stdout.write(f"{experiment}\n\n{table(results / 'verification/summary.csv')}\n\n")


def draw(results: Path, predictand: str, path: Path) -> None:
    """Draw the spectra of all networks of an experiment, of members where there are some."""
    models = [name for network in NETWORKS for name in (network, f"gan-{network}")]
    scores = {name: io.open_dataset(results / name / "seed1/scores.nc") for name in models}
    powers = {name: found[f"{predictand}_spectrum_prediction"].dropna("wavenumber") for name, found in scores.items()}
    truth = scores[models[0]][f"{predictand}_spectrum_truth"].dropna("wavenumber")
    with xr.open_dataset(results / "data/grids/coarse.nc") as coarse:
        grid = Grid.of(coarse)
    shortest = 2 * min(mean_spacing(grid.lat, grid.lon))
    units = str(scores[models[0]][f"{predictand}_rmse"].attrs.get("units", ""))
    figures.save(figures.spectra(powers, truth, networks=models, units=units, coarse_km=shortest), path)


def table(summary: Path) -> str:
    """Return the scores of the pairs on the test period, in Markdown."""
    rows = read_summary(summary)
    rows = rows[(rows["split"] == "test") & (rows["scenario"] == "") & rows["metric"].isin(SCORES)]
    whole = rows[(rows["season"] == "") & (rows["region"] == "") & rows["threshold"].isna()]
    value = whole.set_index(["model", "metric"])["value"]
    unit = rows.loc[rows["metric"] == "rmse", "unit"].iloc[0]
    lines = [HEAD.format(unit=unit), "|---" * 7 + "|"]
    for network in NETWORKS:
        pairs = [(value[network, metric], value[f"gan-{network}", metric]) for metric in SCORES]
        lines.append(f"| `{network}` | " + " | ".join(f"{number:.3g}" for pair in pairs for number in pair) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
