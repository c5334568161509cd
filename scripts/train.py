"""Train one network; started once per rank by the launcher of the profile.

Exit status: 0 trained; 75 stopped at a checkpoint because of a signal, start it again; 1 anything wrong.
"""

from dl4ds_core.training import stopping

# Before anything slow is imported: until then a signal would end this rank.
if __name__ == "__main__":
    stopping.listen()

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pandas as pd
import tensorflow as tf

from dl4ds_core import io, jobs, scaling
from dl4ds_core.config import ModelSettings, digest
from dl4ds_core.identity import code_digest
from dl4ds_core.pipeline import Samples, static_input
from dl4ds_core.retransformation import Interface, training_residuals
from dl4ds_core.training import ranklogs
from dl4ds_core.training.adversarial import AdversarialTrainer
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.diffusion import DiffusionTrainer
from dl4ds_core.training.distributed import Ranks, explain_lost_ranks
from dl4ds_core.training.standing import SCORES
from dl4ds_core.training.supervised import Trainer

logger = logging.getLogger("dl4ds_core.train")

TRAINERS = {"supervised": Trainer, "adversarial": AdversarialTrainer, "diffusion": DiffusionTrainer}


def main(threads: int, deterministic: bool, mixed_precision: bool, logs: str | None, **arguments: Any) -> None:
    """Prepare this rank, train, and end with the status that says whether the training is finished."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    ranks = Ranks()
    if logs:
        ranklogs.redirect(logs, ranks.rank)
        logger.info("%s, threads: %d", ranks.describe(), threads)
    if not ranks.first:
        logging.getLogger("dl4ds_core").setLevel(logging.WARNING)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = "mixed_bfloat16" if mixed_precision else "float32"
    keras.config.set_dtype_policy(precision)
    try:
        with explain_lost_ranks():
            train(ranks, precision, **arguments)
    except stopping.Stopped:
        sys.exit(stopping.EXIT_STATUS)
    finally:
        stopping.ignore()


def train(
    ranks: Ranks,
    precision: str,
    settings: str,
    seed: int,
    scale: int,
    context: int,
    data: str,
    scalers: str,
    static: str | None,
    initial: str | None,
    folder: str,
    checkpoint_minutes: float,
) -> None:
    """Train and write ``model.keras``, ``scalers.nc`` (with the channels) and ``history.csv``."""
    keras.utils.set_random_seed(seed)
    chosen = ModelSettings.model_validate_json(Path(settings).read_text(encoding="utf-8"))
    fitted = scaling.load(scalers)
    files = {split: (f"{data}/{split}/coarse.nc", f"{data}/{split}/fine.nc") for split in ("train", "validation")}
    calendar, window = chosen.network.calendar, chosen.network.time_window
    samples, validation = (
        Samples(*files[split], fitted, calendar=calendar, window=window) for split in ("train", "validation")
    )
    logger.info("%d ranks, %d training samples, %d to validate", ranks.size, len(samples), len(validation))
    for part in (samples, validation):
        part.require_shapes(scale, context)
    fields = static_input(static, fitted)
    valid = f"{data}/valid.nc" if chosen.network.constraints or chosen.training.mode == "diffusion" else None
    kind = TRAINERS[chosen.training.mode]
    trainer = kind(chosen, seed, samples, validation, fields, fitted, scale, context, ranks, initial, valid)
    logger.info("%d weights", trainer.product.count_params())
    inputs = [*files["train"], *files["validation"], scalers, *(path for path in (static, initial, valid) if path)]
    stamps = [_stamp(path) for path in inputs]
    identity = digest([chosen.model_dump(mode="json"), seed, precision, stamps, code_digest(__file__)])
    progress, checksum = trainer.fit(Path(folder) / "checkpoints", identity, checkpoint_minutes)
    kept_by = chosen.training.kept_by
    if ranks.first:
        kept, score = ("last", "RMSE") if kept_by == "last" else ("best", SCORES[kept_by])
        value = progress.history[-1]["validation_rmse"] if kept_by == "last" else progress.best
        about = kept, progress.best_epoch, score, value, checksum[:12]
        logger.info("%s epoch %d, validation %s %.4f; weights %s", *about)
        # The checkpoint stays until the launcher sees that all ranks have ended well.
        smearing = chosen.training.retransformation == "smearing"
        residuals = training_residuals(trainer.predict, samples, fitted) if smearing else {}
        interface = Interface(samples.predictands, samples.channels, residuals, samples.attributes)
        _write(Path(folder), trainer.product, progress, scalers, interface)


def _write(folder: Path, network: keras.Model, progress: Progress, scalers: str, interface: Interface) -> None:
    with io.atomic(folder / "history.csv") as temporary:
        history = pd.DataFrame(progress.history)
        history["kept"] = (history["epoch"] == progress.best_epoch).astype(int)
        history.to_csv(temporary, index=False)
    with io.atomic(folder / "scalers.nc") as temporary:
        temporary.write_bytes(Path(scalers).read_bytes())
        interface.append(temporary)
    with io.atomic(folder / "model.keras") as temporary:
        network.save(temporary)


def _stamp(path: str) -> tuple[str, int, int]:
    stat = Path(path).stat()
    return path, stat.st_size, stat.st_mtime_ns


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("settings", "data", "scalers", "folder"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seed", "scale", "context", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--static")
    parser.add_argument("--initial", help="model.keras of another training, whose weights are the first ones")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--mixed-precision", action="store_true", help="compute in bfloat16")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, help="minutes between checkpoints")
    parser.add_argument("--logs", help="folder for one log file per rank; without it all goes to the standard error")
    return parser.parse_args()


if __name__ == "__main__":
    jobs.run(main, **vars(_arguments()))
