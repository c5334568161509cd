"""The ranks of a training, and what they do together. The only module that imports Horovod."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import horovod.tensorflow as hvd
import tensorflow as tf

from dl4ds_core.errors import TrainingError


class Ranks:
    """All workers of a job, seen from one of them.

    Attributes
    ----------
    rank, size : int
        Number of this worker, and how many there are.
    """

    def __init__(self) -> None:
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        devices = tf.config.list_physical_devices("GPU")
        if devices:
            # One GPU per rank, whether the launcher shows each rank all of the node's GPUs or only its own.
            tf.config.set_visible_devices(devices[hvd.local_rank() % len(devices)], "GPU")

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and talks."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sums of tensors over all ranks, in one exchange."""
        return list(hvd.grouped_allreduce(list(tensors), op=hvd.Sum))

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
