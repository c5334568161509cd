"""What a rank computes on, and what it says when another one is gone."""

from __future__ import annotations

import os
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

pytest.importorskip("horovod")

from horovod.common.exceptions import HorovodInternalError

from dl4ds_core.errors import DataError, TrainingError
from dl4ds_core.training import distributed
from dl4ds_core.training.distributed import Ranks, explain_lost_ranks


@pytest.fixture
def node(monkeypatch):
    """A rank on a node with GPUs; returns what was made visible, and what memory grows on."""

    def make(local_rank: int, gpus: int) -> tuple[Ranks, list[str], list[str]]:
        numbers = {"init": None, "rank": 4 + local_rank, "size": 8, "local_rank": local_rank}
        hvd = SimpleNamespace(**{name: lambda value=value: value for name, value in numbers.items()})
        visible, growing = [], []
        config = SimpleNamespace(
            list_physical_devices=lambda kind: [f"{kind}:{number}" for number in range(gpus)],
            set_visible_devices=lambda device, kind: visible.append(device),
            experimental=SimpleNamespace(set_memory_growth=lambda device, grow: growing.append(device)),
        )
        monkeypatch.setattr(distributed, "hvd", hvd)
        monkeypatch.setattr(distributed, "tf", SimpleNamespace(config=config))
        return Ranks(), visible, growing

    return make


@pytest.mark.parametrize(
    ("local_rank", "gpus", "device"),
    [
        pytest.param(0, 4, "GPU:0", id="all visible, first"),
        pytest.param(3, 4, "GPU:3", id="all visible, last"),
        pytest.param(3, 1, "GPU:0", id="only its own visible"),
        pytest.param(3, 2, "GPU:1", id="two ranks per GPU"),
    ],
)
def test_one_gpu_per_rank(node, local_rank, gpus, device):
    ranks, visible, growing = node(local_rank, gpus)
    assert visible == growing == [device]
    assert ranks.describe().startswith(f"rank {4 + local_rank} of 8 on ")
    assert ranks.describe().endswith(f"local rank {local_rank}, GPU {device[-1]} of {gpus} visible")


def test_a_node_without_gpus(node):
    ranks, visible, _ = node(1, 0)
    assert not visible
    assert ranks.describe().endswith("local rank 1, CPU")
    assert not ranks.first


@pytest.mark.parametrize(
    "error",
    [
        HorovodInternalError("HorovodAllreduce failed: Connection reset by peer"),
        tf.errors.UnknownError(None, None, "Horovod has been shut down"),
        tf.errors.CancelledError(None, None, "[[node HorovodGroupedAllreduce]]"),
    ],
)
def test_a_lost_rank_is_explained(error):
    with pytest.raises(TrainingError, match="another rank of this training has ended"), explain_lost_ranks():
        raise error


@pytest.mark.parametrize("error", [tf.errors.ResourceExhaustedError(None, None, "OOM"), DataError("no"), KeyError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)), explain_lost_ranks():
        raise error
