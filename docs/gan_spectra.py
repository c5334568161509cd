"""Draws the spectra in docs/probabilistic.md and prints the table there, from the results of the two GAN experiments.

Run in the root of the project, where the experiments have been run: python docs/gan_spectra.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from dl4ds_core import figures, io
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import mean_spacing
from dl4ds_core.report.scores import overall
from dl4ds_core.report.text import unit_text
from dl4ds_core.verification import read_summary

FOLDER = Path(__file__).parent
EXPERIMENTS = {"era5-uk-t2m-gan": "t2m", "iberia-pr-gan": "pr"}
#: Networks trained by the mean absolute error; the same as generators are called `gan-<name>`.
NETWORKS = ("resnet-spc", "unet-pin", "window-spc")
MODELS = [name for network in NETWORKS for name in (network, f"gan-{network}")]
SEED = "seed1"
SCORES = ("short_spectral_distance", "power_ratio", "rmse")
HEAD = "| Generator | Spectral error (dB): MAE | GAN | Ratio of variances: MAE | GAN | RMSE ({unit}): MAE | GAN |"


def main() -> None:
    """Write a figure of each experiment, and print its table."""
    for experiment, predictand in EXPERIMENTS.items():
        results = Path("results") / experiment
        draw(results, predictand, FOLDER / f"gan-spectra-{predictand}.png")
        sys.stdout.write(f"{experiment}\n\n{table(results, predictand)}\n\n")


def draw(results: Path, predictand: str, path: Path) -> None:
    """Draw the spectra of all networks of an experiment."""
    scores = {name: io.open_dataset(results / name / SEED / "scores.nc") for name in MODELS}
    powers = {name: found[f"{predictand}_spectrum_prediction"].dropna("wavenumber") for name, found in scores.items()}
    first = scores[MODELS[0]]
    truth = first[f"{predictand}_spectrum_truth"].dropna("wavenumber")
    units = first[f"{predictand}_rmse"].attrs["units"]
    grid = Grid.of(io.open_dataset(results / "data/grids/coarse.nc"))
    shortest = 2 * min(mean_spacing(grid.lat, grid.lon))
    figures.save(figures.spectra(powers, truth, networks=MODELS, units=units, coarse_km=shortest), path)


def table(results: Path, predictand: str) -> str:
    """Return the scores of the pairs on the test period, in Markdown."""
    rows = overall(pd.concat([read_summary(results / name / SEED / "scores.csv") for name in MODELS]))
    rows = rows[(rows["variable"] == predictand) & (rows["split"] == "test") & rows["metric"].isin(SCORES)]
    value = rows.set_index(["model", "metric"])["value"]
    unit = unit_text(rows.loc[rows["metric"] == "rmse", "unit"].iloc[0])
    lines = [HEAD.format(unit=unit), "|---" * 7 + "|"]
    for network in NETWORKS:
        pairs = [(value[network, metric], value[f"gan-{network}", metric]) for metric in SCORES]
        lines.append(f"| `{network}` | " + " | ".join(f"{number:.3g}" for pair in pairs for number in pair) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
