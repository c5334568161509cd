"""The command `dl4ds`: looks at inputs before a run, at a run, and at its scores. Everything else is Snakemake's."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dl4ds_core import __version__
from dl4ds_core.errors import ConfigError, DataError, DownscalingError
from dl4ds_core.jobs import quieten_libraries

if TYPE_CHECKING:
    import pandas as pd

DEMO = "config/config.yaml"
SUMMARY = Path("verification", "summary.csv")
#: Scores that `dl4ds scores` prints beside the RMSE: as many as a terminal has room for.
PRINTED = ("bias", "mae", "pearson", "spearman", "std_ratio", "ssim")
VERIFY = "snakemake --profile profiles/local verify --configfile <file>"
REPORT = "snakemake --profile profiles/local report --configfile <file>"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments of the command line, by default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 where a user has something to mend, which is then printed to stderr.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    quieten_libraries()
    try:
        arguments.command(arguments)
    except DownscalingError as error:
        print(f"dl4ds {arguments.name}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dl4ds",
        description="Statistical downscaling with deep learning: what to look at before, during and after a run. "
        "The run itself is started with Snakemake: snakemake --profile profiles/local --configfile FILE",
    )
    parser.add_argument("--version", action="version", version=f"dl4ds_core {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="look at all inputs of a configuration and list every problem",
        description="Check a configuration, open every input it names and print what was found and what will be made "
        "of it: grids, units, periods, samples. Takes seconds and writes nothing. Exit status 1 if anything is wrong.",
    )
    check.add_argument("config", metavar="CONFIG", help="a configuration file, such as config/config.yaml")
    check.set_defaults(command=_check)

    status = commands.add_parser(
        "status",
        help="print what runs, waits and has failed",
        description="Print how far an experiment is: its products, its jobs in SLURM's queue, how far trainings are "
        "and what they still need, and the jobs that failed, with their logs. Only reads, from the folder in which "
        "Snakemake was started, on any machine that sees it. To follow a run: watch -n 30 dl4ds status CONFIG",
    )
    status.add_argument(
        "config", metavar="CONFIG", nargs="?", default=DEMO, help=f"the configuration file of the run (default: {DEMO})"
    )
    status.set_defaults(command=_status)

    predict = commands.add_parser(
        "predict",
        help="apply a trained network to new files",
        description="Write the prediction of a trained network for new files. Needs the configuration and the results "
        "of the experiment, but neither training data nor truth. Every input of the network is named once. "
        "Example: dl4ds predict my.yaml --model unet-pin tas=new/tas_2030.nc tas=new/tas_2031.nc --output fine.nc",
    )
    predict.add_argument("config", metavar="CONFIG", help="the configuration file of the experiment")
    predict.add_argument("files", metavar="NAME=FILE", nargs="+", help="a file of an input; again for further files")
    predict.add_argument("--model", required=True, help="name of the model in the configuration")
    predict.add_argument("--seed", type=int, help="seed of the training (default: the first of the configuration)")
    predict.add_argument("--output", required=True, metavar="FILE", help="the netCDF file to write")
    predict.add_argument(
        "--variable",
        metavar="NAME=VARIABLE",
        action="append",
        default=[],
        help="name of the variable of an input in the new files, where it is another than in the configuration",
    )
    predict.set_defaults(command=_predict)

    scores = commands.add_parser(
        "scores",
        help="print the scores of a finished experiment",
        description="Print all models and baselines of an experiment in the order of their RMSE over the test period, "
        "medians over seeds, and where the report and the table of all scores are.",
    )
    scores.add_argument("folder", metavar="FOLDER", type=Path, help="folder of the experiment, such as results/demo")
    scores.set_defaults(command=_scores)

    schema = commands.add_parser(
        "schema",
        help="write the JSON schema and the key table of the configuration (for developers)",
        description="Write workflow/schemas/config.schema.json and the table of keys in docs/config.md from the "
        "models of the configuration. `make docs` does this first.",
    )
    schema.add_argument("--root", type=Path, default=Path(), help="root of the project (by default: this folder)")
    schema.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a file is out of date")
    schema.set_defaults(command=_schema)
    return parser


def _check(arguments: argparse.Namespace) -> None:
    from dl4ds_core.check import inspect  # the imports in here take seconds, which --help should not
    from dl4ds_core.config import load

    print(inspect(load(arguments.config)).table(), end="")


def _status(arguments: argparse.Namespace) -> None:
    from dl4ds_core.cluster import status
    from dl4ds_core.config import load

    print(status.describe(load(arguments.config)), end="")


def _predict(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from dl4ds_core.application import predict_files
    from dl4ds_core.config import load

    config = load(arguments.config)
    files: dict[str, list[str]] = {}
    for name, path in _pairs(arguments.files, "NAME=FILE"):
        files.setdefault(name, []).append(path)
    variables = dict(_pairs(arguments.variable, "--variable NAME=VARIABLE"))
    seed = config.seeds[0] if arguments.seed is None else arguments.seed
    predict_files(config, arguments.model, seed, files, arguments.output, variables)
    print(arguments.output)


def _pairs(texts: Sequence[str], form: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    wrong = next((text for text, (name, _, value) in zip(texts, pairs, strict=True) if not (name and value)), None)
    if wrong is not None:
        raise ConfigError(f"expected {form}, found {wrong!r}")
    return [(name, value) for name, _, value in pairs]


def _scores(arguments: argparse.Namespace) -> None:
    from dl4ds_core.verification import read_summary

    folder: Path = arguments.folder
    if not (folder / SUMMARY).is_file():
        raise DataError(
            f"{folder}: expected the scores of an experiment in {folder / SUMMARY}, found no such file; name the "
            f"folder of a finished experiment, such as results/demo, or make the scores first: {VERIFY}"
        )
    summary = read_summary(folder / SUMMARY)
    for variable in summary["variable"].unique():
        print(score_table(summary[summary["variable"] == variable]))
    report = folder / "report.html"
    print(f"Report      {report if report.is_file() else f'not made yet: {REPORT}'}")
    print(f"All scores  {folder / SUMMARY}")


def _schema(arguments: argparse.Namespace) -> None:
    from dl4ds_core.config import documentation

    if not arguments.check:
        for path in documentation.write(arguments.root):
            print(f"written: {path}")
    elif found := documentation.outdated(arguments.root):
        raise ConfigError(f"out of date: {', '.join(map(str, found))}; run `dl4ds schema`")


def score_table(summary: pd.DataFrame) -> str:
    """Return the scores of one predictand as text, models in the order of their test RMSE.

    Parameters
    ----------
    summary : pandas.DataFrame
        Rows of the long table, of one variable.

    Raises
    ------
    DataError
        If there is no RMSE over the test period.
    """
    from dl4ds_core.config import BASELINES
    from dl4ds_core.verification import METRICS

    rmse = _ranked(summary, "rmse", "test")
    if rmse is None:
        raise DataError(f"{SUMMARY}: expected RMSEs over the test period, found none; make the scores again: {VERIFY}")
    ranked = {name: _ranked(summary, name, "test") for name in PRINTED}
    found = {name: table for name, table in ranked.items() if table is not None}
    validation = _ranked(summary, "rmse", "validation")
    decimals = _decimals(float(rmse["value"].min()))

    def text(table: pd.DataFrame | None, model: str, column: str = "value", places: int = decimals) -> str:
        value = math.nan if table is None else float(table[column].get(model, math.nan))
        return "-" if math.isnan(value) else f"{value:z.{places}f}"

    head = ["", "seeds", "RMSE", "interval", *found, "validation RMSE"]
    rows = [
        [
            f"{model} (baseline)" if model in BASELINES else str(model),
            str(rmse.loc[model, "seeds"]),
            text(rmse, model),
            f"{text(rmse, model, 'lower')} to {text(rmse, model, 'upper')}",
            *(
                text(table, model, places=decimals if METRICS[name].unit == "same" else 3)
                for name, table in found.items()
            ),
            text(validation, model),
        ]
        for model in map(str, rmse.index)
    ]
    unit = rmse["unit"].iloc[0]
    title = f"{summary['variable'].iloc[0]}: test period, best first; bias, MAE and RMSE in {unit}, medians over seeds"
    return f"{title}\n\n{_columns([head, *rows])}\n"


def _ranked(summary: pd.DataFrame, metric: str, split: str) -> pd.DataFrame | None:
    """Return the ranking of one score by model, or None where there is none."""
    from dl4ds_core.verification import ranking

    if not ((summary["metric"] == metric) & (summary["split"] == split)).any():
        return None
    return ranking(summary, metric=metric, split=split).set_index("model")


def _decimals(smallest: float) -> int:
    """Return how many decimals give the smallest RMSE three digits; the scores beside it get as many."""
    return min(max(2, 2 - math.floor(math.log10(smallest))), 8) if smallest > 0 else 3


def _columns(rows: list[list[str]]) -> str:
    """Lay out rows of cells, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
