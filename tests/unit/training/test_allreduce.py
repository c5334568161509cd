"""The ranks of a check: started as a training is, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.full), 2])
def test_ranks_add_and_see_each_other(tmp_path: Path, size: int) -> None:
    programs = Path(sys.executable).parent
    launcher = [os.fspath(programs / "horovodrun"), "--gloo", "-np", str(size)] if size > 1 else []
    (tmp_path / "results").mkdir()
    command = [*launcher, sys.executable, "-m", "dl4ds_core.training.allreduce", "--folder", os.fspath(tmp_path)]
    environment = os.environ | {"PATH": os.pathsep.join([os.fspath(programs), os.environ["PATH"]])}
    subprocess.run([*command, "--shared", os.fspath(tmp_path / "results")], env=environment, check=True)
    (path,) = tmp_path.glob("result-*.json")
    result = json.loads(path.read_text())
    assert result["size"] == size
    assert all(entry["right"] and entry["seconds"] > 0 for entry in result["allreduce"])
    assert [rank["rank"] for rank in result["ranks"]] == list(range(size))
    for rank in result["ranks"]:
        assert rank["cpus"]
        assert [look["missing"] for look in rank["shared"].values()] == [[], []]
    assert result["software"]["gloo"]
