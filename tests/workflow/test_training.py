"""Training by several ranks: the same result for any number of them, and after an interruption."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from dl4ds_core.training import standing
from dl4ds_core.training.standing import Standing

h5py = pytest.importorskip("h5py")
pytest.importorskip("horovod")

EPOCHS = 40
FEW = 3
UNEQUAL = """
import keras
from dl4ds_core.errors import TrainingError
from dl4ds_core.training.distributed import Ranks
ranks = Ranks()
variable = keras.Variable([1.0, 2.0])
equal = ranks.require_equal([variable])
variable.assign([1.0, 2.0 + ranks.rank])
try:
    ranks.require_equal([variable])
except TrainingError as error:
    print(f"rank {ranks.rank} of {ranks.size}: equal {len(equal)}; then {error}")
"""


@dataclass(frozen=True)
class Trainings:
    """Trains the small experiment's first network, as the rule does."""

    workflow: Any
    folder: Path

    def command(self, name: str, ranks: int, epochs: int) -> list[str]:
        """Return the command; without a launcher for 0 ranks."""
        target = self.folder / name
        target.mkdir(exist_ok=True)
        settings = json.loads((self.workflow.results / "resnet-spc/seed1/spec.json").read_text(encoding="utf-8"))
        # With a constant learning rate the first epochs are the same whatever the number of all epochs.
        settings["training"] |= {"epochs": epochs, "batch_size": 7, "schedule": "constant"}
        (target / "spec.json").write_text(json.dumps(settings), encoding="utf-8")
        data = self.workflow.results / "data"
        script = self.workflow.repository / "scripts" / "train.py"
        return [
            *(("horovodrun", "--gloo", "-np", str(ranks)) if ranks else ()),
            *("python", str(script), "--checkpoint-minutes", "0.00001", "--logs", str(target / "logs")),
            *(
                "--settings",
                str(target / "spec.json"),
                "--seed",
                "1",
                "--scale",
                "4",
                "--context",
                "0",
                "--threads",
                "1",
            ),
            *("--data", str(data / "samples"), "--scalers", str(data / "scalers" / "default.nc")),
            *("--folder", str(target), "--deterministic"),
        ]

    def train(self, name: str, ranks: int = 2, epochs: int = EPOCHS) -> str:
        """Train to the end; return what was said."""
        outcome = self.workflow.command(*self.command(name, ranks, epochs))
        assert outcome.status == 0, outcome.output
        return str(outcome.output)

    def start(self, name: str, ranks: int = 2) -> subprocess.Popen[str]:
        """Start a training, and come back when it has gone on by some steps, which end in mid-epoch."""
        before = standing.read(self.checkpoint(name).parent)
        process = subprocess.Popen(
            self.command(name, ranks, EPOCHS),
            env=self.workflow.environment,
            cwd=self.workflow.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 120
        while not self._went_on(name, before):
            assert process.poll() is None, f"the training ended too early: {process.communicate()[0]}"
            assert time.monotonic() < deadline, "no step in two minutes"
            time.sleep(0.002)
        return process

    def _went_on(self, name: str, before: Standing | None) -> bool:
        now = standing.read(self.checkpoint(name).parent)
        return now is not None and now.epoch >= (before.epoch if before else 0) + 2 and now.step > 0

    def interrupt(self, name: str) -> None:
        """Start a training and kill the launcher and all ranks, without a warning, once there is a checkpoint."""
        process = self.start(name)
        started = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        for pid in reversed(started):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        psutil.wait_procs([psutil.Process(pid) for pid in started if psutil.pid_exists(pid)], timeout=10)

    def stop(self, name: str, number: signal.Signals, rank: int | None) -> tuple[int, str]:
        """Start a training and send a signal to one rank, or to the launcher for None; return its status and words."""
        process = self.start(name)
        os.kill(process.pid if rank is None else self.rank(process, rank), number)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def rank(self, launcher: subprocess.Popen[str], rank: int) -> int:
        """Return the process id of a rank that a launcher started."""
        for child in psutil.Process(launcher.pid).children(recursive=True):
            if child.name().startswith("python") and child.environ().get("HOROVOD_RANK") == str(rank):
                return int(child.pid)
        raise LookupError(rank)

    def log(self, name: str, rank: int) -> str:
        return (self.folder / name / "logs" / f"rank{rank}.log").read_text(encoding="utf-8")

    def require_equal(self, name: str, other: str) -> None:
        """Two trainings must have ended with bitwise equal weights and, but for the time they took, equal histories."""
        require_same(self.weights(name), self.weights(other))
        columns = ["epoch", "loss", "validation_loss", "validation_rmse", "learning_rate"]
        pd.testing.assert_frame_equal(
            self.history(name)[columns], self.history(other)[columns], check_exact=True, check_dtype=True
        )
        assert self.checkpoint(name).exists(), "it stays until the launcher has seen all ranks end well"

    def checkpoint(self, name: str) -> Path:
        return self.folder / name / "checkpoints" / "state.npz"

    def history(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / name / "history.csv")

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """Return all weights of a trained network, by path in the file."""
        return weights(self.folder / name / "model.keras")


def weights(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
    return found


def require_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.fixture(scope="module")
def trainings(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(finished, tmp_path_factory.mktemp("trainings"))


@pytest.fixture(scope="module")
def two_ranks(trainings: Trainings) -> str:
    """Name of a training with two ranks."""
    trainings.train("two")
    return "two"


@pytest.mark.full
def test_two_runs_give_bitwise_equal_weights(trainings: Trainings, two_ranks: str) -> None:
    trainings.train("again")
    require_same(trainings.weights("again"), trainings.weights(two_ranks))


@pytest.fixture(scope="module")
def interrupted(trainings: Trainings) -> str:
    """Name of a training that was killed between its first checkpoint and its end."""
    trainings.interrupt("interrupted")
    return "interrupted"


# 30 samples in batches of 7: the last batch has 2, so that one of three ranks has none.
@pytest.mark.full
@pytest.mark.parametrize("ranks", [1, 3])
def test_any_number_of_ranks_gives_the_same_loss_curve(trainings: Trainings, two_ranks: str, ranks: int) -> None:
    said = trainings.train(f"ranks{ranks}", ranks, FEW)
    assert f"{ranks} ranks, 30 training samples, 10 to validate" in said
    curves = ["loss", "validation_loss", "validation_rmse"]
    found, expected = (trainings.history(name)[curves] for name in (f"ranks{ranks}", two_ranks))
    assert len(found) == FEW
    np.testing.assert_allclose(found, expected[:FEW], rtol=1e-4)


def test_unequal_weights_are_an_error_on_all_ranks(finished: Any) -> None:
    outcome = finished.command("horovodrun", "--gloo", "-np", "2", "python", "-c", UNEQUAL)
    for rank in range(2):
        assert f"rank {rank} of 2: equal 64; then the ranks of this training ended with different weights" in (
            outcome.output
        )


@pytest.mark.full
def test_foreign_checkpoint_is_ignored(trainings: Trainings, two_ranks: str, interrupted: str) -> None:
    """The checkpoint of a training with other settings must neither be used nor stop the training."""
    checkpoint = trainings.checkpoint("other")
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(trainings.checkpoint(interrupted), checkpoint)
    assert "the checkpoint is of other settings or data; training starts anew" in trainings.train("other", epochs=FEW)
    columns = ["epoch", "loss", "validation_loss", "validation_rmse"]
    found, expected = (trainings.history(name)[columns] for name in ("other", two_ranks))
    pd.testing.assert_frame_equal(found, expected[:FEW])


def test_a_training_killed_then_stopped_ends_with_the_same_weights(
    trainings: Trainings, two_ranks: str, interrupted: str
) -> None:
    """Bitwise: so two runs with two ranks agree, too."""
    assert not (trainings.folder / interrupted / "model.keras").exists()
    shutil.copytree(trainings.folder / interrupted, trainings.folder / "resumed")
    killed = standing.read(trainings.checkpoint("resumed").parent)
    assert killed is not None
    assert killed.stopped is None

    # Only one rank gets the signal, and not the one that writes.
    status, said = trainings.stop("resumed", signal.SIGUSR1, rank=1)
    assert status == 1, said  # horovodrun's own, whatever that of the ranks
    assert "exit with status code 75" in said
    stopped = standing.read(trainings.checkpoint("resumed").parent)
    assert stopped is not None
    assert stopped.stopped == "SIGUSR1"
    assert (stopped.epoch, stopped.step) == (stopped.checkpoint_epoch, stopped.checkpoint_step)
    assert stopped.epoch > killed.epoch
    position = f"step {stopped.step} of 5 of epoch {stopped.epoch + 1}" if stopped.step else f"epoch {stopped.epoch}"
    assert f"stopped after {position} because of SIGUSR1; the checkpoint is written" in said

    assert f"resumed after {position}" in trainings.train("resumed")
    trainings.require_equal("resumed", two_ranks)
    for rank in range(2):
        log = trainings.log("resumed", rank)
        assert len(re.findall(r"^==== .* no SLURM job$", log, re.MULTILINE)) == 3
        assert f"rank {rank} of 2 on {socket.gethostname()}, local rank {rank}, CPU, threads: 1" in log
        assert "Traceback" not in log


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launcher_that_is_told_to_end_leaves_a_checkpoint(
    trainings: Trainings, two_ranks: str, number: signal.Signals
) -> None:
    """As Ctrl-C does: horovodrun gives its ranks five seconds."""
    name = f"launcher-{number.name}"
    _, said = trainings.stop(name, number, rank=None)
    assert "because of SIGTERM; the checkpoint is written" in said
    found = standing.read(trainings.checkpoint(name).parent)
    assert found is not None
    assert found.stopped == "SIGTERM"
    trainings.train(name)
    trainings.require_equal(name, two_ranks)


@pytest.mark.full
def test_many_stops_make_no_difference(trainings: Trainings, two_ranks: str) -> None:
    for attempt in range(5):
        _, said = trainings.stop("many", signal.SIGUSR1, rank=attempt % 2)
        assert "because of SIGUSR1" in said
    trainings.train("many")
    trainings.require_equal("many", two_ranks)


@pytest.mark.full
@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_rank_is_explained_by_the_others(trainings: Trainings, rank: int) -> None:
    name = f"dead{rank}"
    status, said = trainings.stop(name, signal.SIGKILL, rank)
    assert status == 1
    assert f"Process {rank} exit with status code" in said
    assert "ERROR dl4ds_core.jobs: another rank of this training has ended" in trainings.log(name, 1 - rank)
    assert "Traceback" not in trainings.log(name, 1 - rank)
    found = standing.read(trainings.checkpoint(name).parent)
    assert found is not None
    assert found.stopped is None


def test_one_process_without_launcher_stops_on_the_earliest_signal(trainings: Trainings) -> None:
    """The signal comes while TensorFlow is being imported; it is noted, and heeded after the first step."""
    process = subprocess.Popen(
        trainings.command("alone", 0, EPOCHS),
        env=trainings.workflow.environment,
        cwd=trainings.workflow.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not _catches(process.pid, signal.SIGUSR1):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGUSR1)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert out == ""
    assert "1 ranks, 30 training samples" in said
    assert "stopped after step 1 of 5 of epoch 1 because of SIGUSR1; the checkpoint is written and the next job" in said
    assert "stopped after step 1 of 5" in trainings.log("alone", 0)


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << (number - 1))


def test_a_missing_launcher_is_explained(finished: Any, tiny: dict[str, Any]) -> None:
    tiny["seeds"] = [1, 2]
    target = "results/tiny/resnet-spc/seed2/model.keras"
    outcome = finished.snakemake(tiny, target, "--set-resources", "fit:launcher='no-such-launcher -n $WORKERS'")
    assert outcome.status != 0
    assert "the launcher of the training, no-such-launcher, was not found." in outcome.output
    assert "Traceback" not in outcome.output
    assert not (finished.folder / target).exists()
