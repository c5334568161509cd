"""An estimate of the disk and memory that a run takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dl4ds_core.check.inventory import volume
from dl4ds_core.check.reading import Look, Seen
from dl4ds_core.check.space import Space
from dl4ds_core.ensembles import CLIMATOLOGICAL_MEMBERS
from dl4ds_core.splits import LEFT_OUT

_FLOAT32 = 4
#: Python with the libraries of the data stages, and with TensorFlow, bytes.
_DATA_STAGE, _TRAINING = 0.3e9, 1.0e9
#: Values of a chunk, and how many chunks in double precision are held at once while fields are read and written.
_CHUNK_VALUES, _CHUNKS = 2_000_000, 6
#: Fields of a split up to this size are kept in memory by a training.
_CACHE_BYTES = 2_000_000_000


def note_needs(
    look: Look, space: Space, truth: Sequence[Seen], coarse: Sequence[Seen], folds: Mapping[int, np.ndarray]
) -> None:
    """Note the space on disk and the memory that are needed, without compression: an upper limit for most fields."""
    config = look.config
    fine_cells, coarse_cells = space.fine.size, space.coarse.size
    steps = {seen.name: sum(field.sizes["time"] for field in seen.fields.values()) for seen in (*truth, *coarse)}
    channels = len(coarse)
    regridded = sum(steps[seen.name] for seen in truth) * fine_cells
    regridded += sum(steps[seen.name] for seen in coarse) * coarse_cells
    if config.data.coarse.origin == "predictands":
        fractions = 2 if config.data.missing == "mask" else 1
        regridded += fractions * sum(steps[seen.name] for seen in truth) * coarse_cells
        channels += fractions * len(truth)
    step_values = len(truth) * fine_cells + channels * coarse_cells
    used = [int((labels != LEFT_OUT).sum()) for labels in folds.values()]
    scored = [int(np.isin(labels, ["validation", "test"]).sum()) for labels in folds.values()]
    # With folds, those that are scored are kept once more, together.
    samples = (sum(used) + (sum(scored) if len(folds) > 1 else 0)) * step_values
    drawn = sum(config.members(name).count for name in config.models)
    runs = drawn * len(config.seeds) * (2 if config.ensembles else 1) + len(config.baselines)
    if "climatological-ensemble" in config.baselines:
        runs += CLIMATOLOGICAL_MEMBERS - 1
    predictions = runs * sum(scored) * len(truth) * fine_cells
    total = _FLOAT32 * (regridded + samples + predictions)
    look.inventory.note(
        f"disk: at most {volume(total)} (regridded {volume(_FLOAT32 * regridded)}, samples "
        f"{volume(_FLOAT32 * samples)}, predictions {volume(_FLOAT32 * predictions)}); compression makes less of it"
    )
    largest = max(int(np.prod(field.shape)) for seen in (*truth, *coarse) for field in seen.fields.values())
    regrid = _DATA_STAGE + _CHUNKS * 8 * min(_CHUNK_VALUES, largest)
    trained = max(int((labels == "train").sum()) for labels in folds.values())
    held = min(_FLOAT32 * trained * step_values, _CACHE_BYTES)
    look.inventory.note(
        f"memory: about {volume(regrid)} to regrid and prepare; about {volume(_TRAINING + 2 * held)} for each rank of "
        "a training, and what its network needs"
    )
