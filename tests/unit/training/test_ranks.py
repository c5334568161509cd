"""Two real ranks, started by Horovod: the same training as one.

The ranks run this file as a script, with the name of a file for the weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import xarray as xr

pytest.importorskip("horovod")

from dl4ds_core.config import ModelSettings
from dl4ds_core.scaling import Scaler
from dl4ds_core.training.supervised import Trainer

SETTINGS = {
    "network": {
        **{"backbone": "convnet", "upsampling": "spc", "filters": 3, "blocks": 2, "residual": False},
        **{"norm": "batch", "localized": "none", "dropout": {"rate": 0.3}},
    },
    # 7 samples: in the last step, one rank has nothing but padding.
    "training": {
        **{"epochs": 2, "batch_size": 3, "optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5},
        **{"warmup_epochs": 1.0, "patch_size": 8, "augment": ["flip-y", "flip-x"], "loss": {"mse": 1.0}},
    },
    "normalization": {"tas": {}},
    "scalers": "default",
}


class Fields:
    """Samples without files, whose means differ much: statistics of a part of a batch are not those of the batch."""

    predictands = channels = ("tas",)
    base, coarse_shape = (0,), (5, 6)

    def __init__(self, steps, seed):
        random = np.random.default_rng(seed)
        self.values = random.normal(size=(steps, 10, 12, 1)) + 3 * np.arange(steps).reshape(-1, 1, 1, 1) % 5
        self.mask = (random.uniform(size=self.values.shape) < 0.8).astype(np.float32)
        coordinates = {"lat": np.linspace(40, 49, 10), "lon": np.linspace(0, 11, 12)}
        self.fine = xr.DataArray(self.values[..., 0], coordinates, ("time", "lat", "lon"), "tas").to_dataset()

    def __len__(self):
        return len(self.values)

    def take(self, indices):
        fine = self.values[indices].astype(np.float32)
        coarse = fine.reshape(len(indices), 5, 2, 6, 2, 1).mean(axis=(2, 4))
        return coarse, fine, self.mask[indices]


def trained(ranks, folder):
    """Return the weights at the end, by name, and the scores of the epochs; the checksums of all ranks are equal."""
    keras.utils.set_random_seed(1 + ranks.rank)  # the first weights are those of rank 0
    scalers = {"fine.tas": Scaler(np.float32(280), np.float32(5))}
    settings = ModelSettings.model_validate(SETTINGS)
    trainer = Trainer(settings, 1, Fields(7, 1), Fields(5, 2), None, scalers, 2, 0, ranks)
    progress, _ = trainer.fit(folder, "me", 1e9)
    names = ("loss", "validation_loss", "validation_rmse", "validation_mae")
    scores = {name: np.array([row[name] for row in progress.history]) for name in names}
    return {weight.path: weight.numpy() for weight in trainer.network.weights} | scores


class Alone:
    """A job of one rank, without Horovod."""

    rank, size, first = 0, 1, True

    def sum(self, tensors):
        return list(tensors)

    def broadcast(self, variables):
        pass

    def broadcast_object(self, value):
        return value

    def require_equal(self, variables):
        return ""


@pytest.mark.usefixtures("keras_reset")
def test_two_ranks_end_as_one_does(tmp_path):
    command = ["horovodrun", "--gloo", "-np", "2", sys.executable, __file__, str(tmp_path / "two.npz")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    source = Path(__file__).resolve().parents[3] / "src"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    expected = trained(Alone(), tmp_path / "alone")
    with np.load(tmp_path / "two.npz") as found:
        assert set(found) == set(expected)
        assert sum("moving_mean" in name for name in found) > 0
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    import tensorflow as tf

    from dl4ds_core.training.distributed import Ranks

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    here = Ranks()
    results = trained(here, Path(sys.argv[1]).with_suffix(""))
    if here.first:
        np.savez(sys.argv[1], **results)
