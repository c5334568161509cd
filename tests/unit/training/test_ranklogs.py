"""Each rank's output is in its own file; rank 0 is heard outside too."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dl4ds_core.errors import TrainingError
from dl4ds_core.training import ranklogs

TALK = """
import logging, os, sys
from dl4ds_core import jobs
from dl4ds_core.training import ranklogs
jobs.configure_logging()
logger = logging.getLogger("dl4ds_core.talk")
logger.info("before")
ranklogs.redirect(sys.argv[1], int(sys.argv[2]))
logger.info("logged")
print("printed")
os.write(2, b"from C\\n")
os.system("echo child")
"""


def talk(folder, rank, **environment):
    done = subprocess.run(
        [sys.executable, "-c", TALK, str(folder), str(rank)],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_all_output_goes_to_the_file(tmp_path, rank):
    folder = tmp_path / "new" / "logs"
    stdout, stderr = talk(folder, rank, SLURM_JOB_ID="17")
    said = (folder / f"rank{rank}.log").read_text(encoding="utf-8")
    for part in ("talk: logged", "printed", "from C", "child"):
        assert part in said
    assert re.match(r"==== \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 SLURM job 17\n", said)
    assert stdout == ""
    assert "talk: before" in stderr
    assert ("talk: logged" in stderr) == (rank == 0)
    assert "from C" not in stderr


def test_attempts_are_appended(tmp_path):
    talk(tmp_path, 1)
    talk(tmp_path, 1, SLURM_JOB_ID="18", SLURM_RESTART_COUNT="2")
    said = (tmp_path / "rank1.log").read_text(encoding="utf-8")
    assert said.count("====") == said.count("printed") == 2
    assert "no SLURM job\n" in said
    assert "SLURM job 18, requeued 2 times\n" in said


def test_a_folder_that_cant_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"file/rank3\.log: the log of rank 3 can't be opened"):
        ranklogs.redirect(tmp_path / "file", 3)
