"""Do the ranks of a job find each other, add rightly, and see each other's files? `make slurm-check` runs this.

Started by the launcher of the training, in the training's environment:
`<launcher> python -m dl4ds_core.training.allreduce --folder FOLDER`. Rank 0 writes what was found to
`FOLDER/result-*.json`; where the ranks don't find each other, each of them is its own rank 0 and writes one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import horovod
import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from dl4ds_core import io
from dl4ds_core.training.distributed import Ranks

#: Numbers (float32) per vector: from one value to more than the gradients of a large network.
SIZES = (1, 16 * 2**10, 2**20, 8 * 2**20)
REPEATS = 5
#: Whole numbers, so that float32 holds every sum exactly: a residue modulo this, plus rank + 1.
MODULUS = 251
#: How long a rank looks for the files of the others, in seconds, and how often.
PATIENCE = 60.0
INTERVAL = 0.05


def main(argv: Sequence[str] | None = None) -> None:
    """Run all measurements on this rank; rank 0 writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the result goes")
    parser.add_argument("--shared", type=Path, action="append", default=[], help="a folder that nodes should share")
    arguments = parser.parse_args(argv)
    ranks = Ranks()
    sums = [exchange(ranks, size) for size in SIZES]
    shared = {str(folder): see_each_other(ranks, folder) for folder in [arguments.folder, *arguments.shared]}
    found = hvd.allgather_object(describe(ranks) | {"shared": shared})
    if ranks.first:
        result = {"size": ranks.size, "software": software(), "allreduce": sums, "ranks": found}
        path = arguments.folder / f"result-{socket.gethostname()}-{os.getpid()}.json"
        with io.atomic(path) as temporary:
            temporary.write_text(json.dumps(result), encoding="utf-8")


def describe(ranks: Ranks) -> dict[str, Any]:
    """Return where this rank runs, and on what."""
    gpus = tf.config.get_visible_devices("GPU")
    return {
        "rank": ranks.rank,
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
        "gpu": ",".join(gpu.name.rpartition(":")[2] for gpu in gpus),
        "gpus_shown": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }


def software() -> dict[str, Any]:
    """Return versions, and what Horovod was built with."""
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "horovod": horovod.__version__,
        "mpi": bool(hvd.mpi_built()),
        "gloo": bool(hvd.gloo_built()),
        "nccl": bool(hvd.nccl_built()),
        "gpu_build": bool(tf.test.is_built_with_cuda()),
    }


def exchange(ranks: Ranks, size: int) -> dict[str, Any]:
    """Add known vectors over all ranks, and measure how long it takes.

    Parameters
    ----------
    size : int
        Numbers per vector.

    Returns
    -------
    dict
        `bytes` of a vector, whether every sum was `right` on this rank, `seconds` per sum (median).
    """
    residues = np.arange(size, dtype="float32") % MODULUS
    vector = tf.constant(residues + ranks.rank + 1)
    expected = residues * ranks.size + ranks.size * (ranks.size + 1) / 2
    right, seconds = True, []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        total = ranks.sum([vector])[0].numpy()
        seconds.append(time.perf_counter() - started)
        right = right and bool(np.array_equal(total, expected))
    wrong = int(ranks.sum([tf.constant([0.0 if right else 1.0])])[0].numpy()[0])
    return {"bytes": 4 * size, "right": wrong == 0, "seconds": statistics.median(seconds[1:])}


def see_each_other(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Write a file per rank, then look for those of all other ranks.

    Returns
    -------
    dict
        `seconds` from the moment all files were written until this rank had seen them all; `missing`, the ranks whose
        file it did not see within `PATIENCE`; `error`, why it couldn't write its own, or empty.
    """
    token = ranks.broadcast_object(os.urandom(8).hex())
    error = _write(folder / f"rank{ranks.rank}.txt", token)
    failed = [rank for rank, reason in enumerate(hvd.allgather_object(error)) if reason]  # waits for all ranks
    started = time.monotonic()
    missing = [rank for rank in range(ranks.size) if rank not in (ranks.rank, *failed)]
    while missing and time.monotonic() - started < PATIENCE:
        missing = [rank for rank in missing if not _holds(folder / f"rank{rank}.txt", token)]
        if missing:
            time.sleep(INTERVAL)
    return {"seconds": time.monotonic() - started, "missing": missing, "error": error}


def _write(path: Path, token: str) -> str:
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # the folder isn't there on this node, or can't be written to
        return str(error)
    return ""


def _holds(path: Path, token: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == token
    except OSError:  # not there yet, or a stale handle of a network file system
        return False


if __name__ == "__main__":
    main()
