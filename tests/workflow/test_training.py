"""Training by several ranks: the same result for any number of them, and after an interruption."""

from __future__ import annotations

import io
import json
import shutil
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
        target = self.folder / name
        target.mkdir(exist_ok=True)
        settings = json.loads((self.workflow.results / "resnet-spc/seed1/spec.json").read_text(encoding="utf-8"))
        # With a constant learning rate the first epochs are the same whatever the number of all epochs.
        settings["training"] |= {"epochs": epochs, "batch_size": 7, "checkpoint_epochs": 1, "schedule": "constant"}
        (target / "spec.json").write_text(json.dumps(settings), encoding="utf-8")
        data = self.workflow.results / "data"
        script = self.workflow.repository / "scripts" / "train.py"
        return [
            *("horovodrun", "--gloo", "-np", str(ranks), "python", str(script)),
            *("--settings", str(target / "spec.json"), "--seed", "1", "--scale", "4", "--threads", "1"),
            *("--data", str(data / "samples"), "--scalers", str(data / "scalers" / "default.nc")),
            *("--folder", str(target), "--deterministic"),
        ]

    def train(self, name: str, ranks: int = 2, epochs: int = EPOCHS) -> str:
        """Train to the end; return what was said."""
        outcome = self.workflow.command(*self.command(name, ranks, epochs))
        assert outcome.status == 0, outcome.output
        return str(outcome.output)

    def interrupt(self, name: str) -> None:
        """Start a training and kill the launcher and all ranks, without a warning, once there is a checkpoint."""
        process = subprocess.Popen(
            self.command(name, 2, EPOCHS),
            env=self.workflow.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 120
            while not self.checkpoint(name).exists():
                assert process.poll() is None, "the training ended before it could be interrupted"
                assert time.monotonic() < deadline, "no checkpoint after two minutes"
                time.sleep(0.005)
        finally:
            started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for child in started:
                child.kill()
            process.kill()
            process.wait()
            psutil.wait_procs(started, timeout=10)

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
@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.full)])
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


def test_foreign_checkpoint_is_ignored(trainings: Trainings, two_ranks: str, interrupted: str) -> None:
    """The checkpoint of a training with other settings must neither be used nor stop the training."""
    checkpoint = trainings.checkpoint("other")
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(trainings.checkpoint(interrupted), checkpoint)
    assert "the checkpoint is of other settings or data; training starts anew" in trainings.train("other", epochs=FEW)
    columns = ["epoch", "loss", "validation_loss", "validation_rmse"]
    found, expected = (trainings.history(name)[columns] for name in ("other", two_ranks))
    pd.testing.assert_frame_equal(found, expected[:FEW])


def test_a_killed_training_resumes_to_the_same_weights(trainings: Trainings, two_ranks: str, interrupted: str) -> None:
    """Bitwise: so two runs with two ranks agree, too."""
    assert not (trainings.folder / interrupted / "model.keras").exists()
    copied = trainings.folder / "resumed"
    shutil.copytree(trainings.folder / interrupted, copied)
    assert "resumed after epoch" in trainings.train("resumed")
    require_same(trainings.weights("resumed"), trainings.weights(two_ranks))
    columns = ["epoch", "loss", "validation_loss", "validation_rmse", "learning_rate"]
    pd.testing.assert_frame_equal(trainings.history("resumed")[columns], trainings.history(two_ranks)[columns])
    assert not trainings.checkpoint("resumed").parent.exists()


def test_a_missing_launcher_is_explained(finished: Any, tiny: dict[str, Any]) -> None:
    tiny["seeds"] = [1, 2]
    target = "results/tiny/resnet-spc/seed2/model.keras"
    outcome = finished.snakemake(tiny, target, "--set-resources", "fit:mpi='no-such-launcher -n $WORKERS'")
    assert outcome.status != 0
    assert "The launcher of the training, no-such-launcher, was not found." in outcome.output
    assert "Traceback" not in outcome.output
    assert not (finished.folder / target).exists()
