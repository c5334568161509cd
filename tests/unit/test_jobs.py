"""Jobs: a user's mistake is one message and status 1; a bug keeps its traceback."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from dl4ds_core.errors import DataError
from dl4ds_core.jobs import prefer_own_programs, run


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """What a job sets up for its process must not reach other tests."""
    root, package = logging.getLogger(), logging.getLogger("dl4ds_core")
    handlers, level, package_level = list(root.handlers), root.level, package.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    package.setLevel(package_level)
    logging.captureWarnings(False)


def test_arguments_reach_main_and_messages_reach_the_log(tmp_path: Path) -> None:
    seen = {}

    def main(**arguments: object) -> None:
        seen.update(arguments)
        logging.getLogger("dl4ds_core.somewhere").info("half way")
        logging.getLogger("other.package").info("chatter")

    run(main, tmp_path / "deep" / "job.log", number=3, name="x")
    assert seen == {"number": 3, "name": "x"}
    log = (tmp_path / "deep" / "job.log").read_text()
    assert "half way" in log
    assert "chatter" not in log


def test_a_users_mistake_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise DataError("x.nc: no such file")

    with pytest.raises(SystemExit) as raised:
        run(main, tmp_path / "job.log")
    assert raised.value.code == 1
    log = (tmp_path / "job.log").read_text()
    assert log.count("\n") == 1
    assert "x.nc: no such file" in log
    assert "Traceback" not in log + capsys.readouterr().err


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    def main() -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        run(main, tmp_path / "job.log")
    log = (tmp_path / "job.log").read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: oops" in log


def test_warnings_reach_the_log(tmp_path: Path) -> None:
    def main() -> None:
        warnings.warn("look out", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run(main, tmp_path / "job.log")
    assert "look out" in (tmp_path / "job.log").read_text()


def test_a_log_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_text("of the run before\n")
    run(lambda: None, tmp_path / "job.log")
    assert (tmp_path / "job.log").read_text() == ""


def test_programs_beside_the_running_python_come_first(monkeypatch):
    monkeypatch.setenv("PATH", "/somewhere/bin")
    prefer_own_programs()
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/somewhere/bin"]
