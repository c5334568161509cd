"""The command `dl4ds`: what it prints, and one clear message where a user has something to mend."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dl4ds_core import __version__, cli
from dl4ds_core.config import documentation
from dl4ds_core.verification import METRICS, complete_rows, write_summary

REPOSITORY = Path(__file__).resolve().parents[2]
LATER = {"train": ["1860", "2009"], "validation": ["2010", "2039"], "test": ["2140", "2199"]}


def rows(model: str, seed: int, split: str, rmse: float, variable: str = "t2m") -> pd.DataFrame:
    """Return plausible rows of all metrics; the bias is negative."""
    values = {"bias": -rmse / 10, "mae": rmse / 2, "rmse": rmse}
    table = pd.DataFrame(
        {
            "variable": variable,
            "metric": list(METRICS),
            "unit": ["degC" if metric.unit == "same" else "1" for metric in METRICS.values()],
            "value": [values.get(name, 0.95) for name in METRICS],
            "lower": [values.get(name, 0.95) - 0.01 for name in METRICS],
            "upper": [values.get(name, 0.95) + 0.01 for name in METRICS],
        }
    )
    return complete_rows(table, model=model, seed=seed, split=split)


def write(folder: Path, *parts: pd.DataFrame) -> Path:
    (folder / "verification").mkdir(parents=True)
    write_summary(pd.concat(parts), folder / cli.SUMMARY)
    return folder


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Folder of an experiment: a network of three seeds, the best, and two baselines."""
    networks = [rows("net", seed, split, 0.2 + 0.1 * seed) for seed in (1, 2, 3) for split in ("validation", "test")]
    baselines = [
        rows(name, 0, split, rmse)
        for name, rmse in (("bilinear", 0.9), ("bicubic", 0.7))
        for split in ("validation", "test")
    ]
    return write(tmp_path / "trial", *networks, *baselines)


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_scores_are_ranked_with_medians_over_seeds(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scores", str(experiment)]) == 0
    title, _, head, *models, _, report, summary = capsys.readouterr().out.splitlines()
    assert title == "t2m: test period, best first; bias, MAE and RMSE in degC, medians over seeds"
    assert cells(head) == [
        "seeds",
        "RMSE",
        "interval",
        *("bias", "mae", "pearson", "spearman", "std_ratio", "ssim"),
        "validation RMSE",
    ]
    assert [cells(line)[0] for line in models] == ["net", "bicubic (baseline)", "bilinear (baseline)"]
    assert cells(models[0]) == [
        *("net", "3", "0.400", "0.390 to 0.410", "-0.040", "0.200"),
        *("0.950", "0.950", "0.950", "0.950", "0.400"),
    ]
    assert cells(models[1])[1:3] == ["1", "0.700"]
    assert report.startswith("Report      not made yet: snakemake ")
    assert summary == f"All scores  {experiment / 'verification' / 'summary.csv'}"
    assert len({len(line) for line in [head, *models]}) == 1, "columns are aligned"


def test_scores_name_the_report(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (experiment / "report.html").touch()
    assert cli.main(["scores", str(experiment)]) == 0
    assert f"Report      {experiment / 'report.html'}" in capsys.readouterr().out.splitlines()


def test_scores_of_several_predictands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "two", *(rows("net", 1, "test", 0.0123, variable) for variable in ("pr", "t2m")))
    assert cli.main(["scores", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.index("pr: test period") < out.index("t2m: test period")
    assert "0.0123" in out, "three digits of a small RMSE"
    assert all(cells(line)[-1] == "-" for line in out.splitlines() if line.startswith("net")), "no validation rows"


def test_scores_without_a_summary_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scores", str(tmp_path / "none")]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(f"dl4ds scores: {tmp_path / 'none'}: expected the scores of an experiment in ")
    assert "verify" in streams.err
    assert len(streams.err.splitlines()) == 1


def test_scores_without_a_test_period_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "trial", rows("net", 1, "validation", 0.4))
    assert cli.main(["scores", str(folder)]) == 1
    assert "expected RMSEs over the test period, found none" in capsys.readouterr().err


def test_scores_of_a_file_that_is_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "verification").mkdir()
    (tmp_path / cli.SUMMARY).write_text("a,b\n1,2\n", encoding="utf-8")
    assert cli.main(["scores", str(tmp_path)]) == 1
    assert "expected the columns" in capsys.readouterr().err


def test_perfect_and_undefined_scores_have_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perfect, undefined = rows("net", 1, "test", 0.0), rows("other", 1, "test", 0.5)
    undefined.loc[undefined["metric"] == "pearson", ["value", "lower", "upper"]] = float("nan")
    assert cli.main(["scores", str(write(tmp_path / "trial", perfect, undefined))]) == 0
    models = capsys.readouterr().out.splitlines()[3:5]
    assert cells(models[0])[2] == "0.000"
    assert cells(models[1])[6] == "-"


def test_check_prints_the_table_of_inputs(demo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(REPOSITORY / "config" / "config.yaml")]) == 0
    out = capsys.readouterr().out
    assert "air_temperature" in out
    assert "fine grid: 36 x 48 latlon 1.25 x 1.875 deg; coarse grid: 9 x 12 latlon 5 x 7.5 deg (scale 4)" in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"trainign": {}}, "trainign: unknown key; did you mean 'training'?"),
        ({"sources": {"hadgem2": {"paths": ["none.nc"]}}}, "no file matches 'none.nc'"),
        ({"split": LATER}, "split.test: no time step lies in it; the record goes from 1860-06-01 to 2099-06-01"),
    ],
    ids=["key", "file", "period"],
)
def test_check_prints_problems_without_a_traceback(
    demo_file: Path, tmp_path: Path, change: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8")) | change
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert cli.main(["check", str(tmp_path / "my.yaml")]) == 1
    streams = capsys.readouterr()
    assert streams.err.startswith("dl4ds check: ")
    assert expected in streams.err
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_schema_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / documentation.KEYS_FILE
    page.parent.mkdir()
    page.write_text(documentation.MARKER, encoding="utf-8")
    arguments = ["schema", "--root", str(tmp_path)]
    assert cli.main([*arguments, "--check"]) == 1
    assert "run `dl4ds schema`" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count("written: ") == 2
    assert cli.main([*arguments, "--check"]) == 0


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("check", "status", "predict", "scores", "schema"))]
)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: dl4ds")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"dl4ds_core {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["train"], ["check"], ["predict", "my.yaml", "tas=a.nc"]], ids=str)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: dl4ds" in capsys.readouterr().err


def test_neither_help_nor_scores_load_tensorflow(experiment: Path) -> None:
    code = (
        "import sys; from dl4ds_core import cli; assert 'pandas' not in sys.modules, 'help would be slow'; "
        f"cli.main(['scores', {str(experiment)!r}]); "
        "sys.exit(bool({'tensorflow', 'keras', 'horovod'} & set(sys.modules)))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
