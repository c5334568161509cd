"""The ranks of a training, and what they do together. The only module that imports Horovod."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import horovod.tensorflow as hvd
import tensorflow as tf
from horovod.common.exceptions import HorovodInternalError

from dl4ds_core.errors import TrainingError


class Ranks:
    """All workers of a job, seen from one of them.

    Attributes
    ----------
    rank, size : int
        Number of this worker, and how many there are.
    local_rank : int
        Number of this worker among those of its node.
    device : str
        What it computes on: one GPU, or its share of the CPU.
    """

    def __init__(self) -> None:
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.device = "CPU"
        devices = tf.config.list_physical_devices("GPU")
        if devices:
            # One GPU per rank, whether the launcher shows each rank all of the node's GPUs or only its own.
            number = self.local_rank % len(devices)
            tf.config.set_visible_devices(devices[number], "GPU")
            # Memory is taken as it is needed: the library that exchanges gradients needs some too.
            tf.config.experimental.set_memory_growth(devices[number], True)
            self.device = f"GPU {number} of {len(devices)} visible"

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and talks."""
        return self.rank == 0

    def describe(self) -> str:
        """Return where this rank runs, in words."""
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}, local rank {self.local_rank}, {self.device}"

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sums of tensors over all ranks, in one exchange."""
        return list(hvd.grouped_allreduce(list(tensors), op=hvd.Sum))

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.sum([tf.zeros(1)])[0].numpy()

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Give all ranks the values that Keras variables have on rank 0."""
        hvd.broadcast_variables([variable.value for variable in variables], root_rank=0)

    def broadcast_object(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return hvd.broadcast_object(value, root_rank=0)

    def require_equal(self, variables: Sequence[Any]) -> str:
        """Check that all ranks hold bitwise equal weights.

        Returns
        -------
        str
            SHA-256 of the weights.

        Raises
        ------
        TrainingError
            If the ranks differ.
        """
        checksum = hashlib.sha256()
        for variable in variables:
            checksum.update(variable.numpy().tobytes())
        found = hvd.allgather_object(checksum.hexdigest())
        if len(set(found)) > 1:
            raise TrainingError(f"the ranks of this training ended with different weights: {found}")
        return str(found[0])


@contextmanager
def explain_lost_ranks() -> Iterator[None]:
    """Say in one sentence that another rank has ended, where Horovod's exchange fails.

    Raises
    ------
    TrainingError
        Instead of Horovod's or TensorFlow's exception.
    """
    try:
        yield
    except (HorovodInternalError, tf.errors.OpError) as error:
        if "horovod" not in f"{type(error).__name__} {error}".lower():
            raise
        message = "another rank of this training has ended, so this one can't go on; the log of that rank says why"
        raise TrainingError(message) from error
