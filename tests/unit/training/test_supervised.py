"""The trainer in one process: stopped after any step, it goes on to bitwise the same weights and history."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("horovod")

from dl4ds_core.errors import TrainingError
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import batches, epoch_order
from dl4ds_core.training import checkpoints, standing, supervised
from dl4ds_core.training.stopping import Stopped

from .trainers import (
    EPOCHS,
    STEPS,
    Adding,
    Fields,
    OneRank,
    outcome,
    random_mask,
    randomise,
    require_same,
    trainer_of,
    trainers_in,
)

pytestmark = pytest.mark.usefixtures("keras_reset")


@pytest.fixture
def train(monkeypatch, tmp_path, field_of):
    """Train, or go on with it, in a folder; with signals before the exchanges named."""
    return trainers_in(tmp_path, field_of, monkeypatch)


@pytest.mark.parametrize("epochs", [2, pytest.param(EPOCHS, marks=pytest.mark.full)])
def test_stopped_after_any_step_it_ends_the_same(train, tmp_path, epochs):
    """Signals before each single exchange: those of steps, and those after validations."""
    trainer, ranks, fit = train("whole", epochs=epochs)
    progress, _ = fit()
    expected = outcome(trainer, progress)
    exchanges = ranks.exchanges
    assert exchanges == epochs * (STEPS + 1)

    stops = []
    for _ in range(exchanges):
        trainer, ranks, fit = train("parts", signals=(1,), epochs=epochs)
        try:
            progress, _ = fit()
            break
        except Stopped as stop:
            stops.append(str(stop).split(" because")[0])
            assert ranks.waits == 1
            found = standing.read(tmp_path / "parts")
            assert found.stopped == "SIGUSR1"
            assert (found.epoch, found.step) == (found.checkpoint_epoch, found.checkpoint_step)
    require_same(outcome(trainer, progress), expected)
    # The validation goes on from a stop after the last step; the last one isn't worth a stop.
    assert stops[:6] == [
        "stopped after step 1 of 4 of epoch 1",
        "stopped after step 2 of 4 of epoch 1",
        "stopped after step 3 of 4 of epoch 1",
        "stopped after step 4 of 4 of epoch 1",
        "stopped after epoch 1",
        "stopped after step 1 of 4 of epoch 2",
    ]
    assert len(stops) == exchanges - 1


#: All that has a state, or depends on the number of the step.
CHOICES = {
    "network": {"norm": "batch", "localized": "none", "dropout": {"rate": 0.1}},
    "static": np.linspace(-1, 1, 96, dtype=np.float32).reshape(1, 8, 12, 1),
    "loss": {"mae": 0.5, "dssim": 0.5},
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "schedule": "piecewise",
    "piecewise": {2: 0.1},
    "warmup_epochs": 1.5,
    "clip_norm": 0.1,
    "best_by": "mae",
    "patch_size": 8,
    "augment": ["flip-x", "rotate"],
}


def test_stopped_with_all_choices_it_ends_the_same(train):
    trainer, _, fit = train("whole", **CHOICES)
    expected = outcome(trainer, fit()[0])
    _, _, fit = train("parts", signals=(STEPS + 3,), **CHOICES)
    with pytest.raises(Stopped, match="after step 2 of 4 of epoch 2"):
        fit()
    trainer, _, fit = train("parts", **CHOICES)
    require_same(outcome(trainer, fit()[0]), expected)


def test_seconds_of_an_interrupted_epoch_add_up(train):
    trainer, _, fit = train("parts", signals=(3,))
    with pytest.raises(Stopped):
        fit()
    before = trainer.progress.seconds
    assert before > 0
    trainer, _, fit = train("parts")
    progress, _ = fit()
    assert progress.history[0]["seconds"] > before
    assert (progress.step, progress.total, progress.count, progress.seconds) == (0, 0, 0, 0)


def test_a_signal_during_a_long_validation_stops_it(train, monkeypatch, tmp_path):
    monkeypatch.setattr(supervised, "STEPS_BETWEEN_LOOKS", 1)
    _, _, fit = train("parts", signals=(STEPS + 1,))
    with pytest.raises(Stopped, match="after step 4 of 4 of epoch 1 because of SIGUSR1"):
        fit()


def test_checkpoints_at_every_step_if_asked_for(train, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoints, "save", lambda folder, identity, progress, *rest: saved.append(progress.step))
    _, _, fit = train("often", minutes=1e-9)
    fit()
    assert saved == [*([1, 2, 3, 4, 0] * EPOCHS), 0], "and a last one at the end"


def test_the_sums_are_those_of_the_samples(train):
    trainer, _, fit = train("whole", signals=(2,))
    with pytest.raises(Stopped):
        fit()
    assert trainer.progress.count == 6
    fields = [tf.zeros(shape) for shape in ((3, 4, 6, 1), (3, 8, 12, 1))]
    numbers = trainer._step(*fields, None, None, None, tf.ones(3), None, tf.ones(2))
    assert numbers.numpy()[1:4].tolist() == [3, 1, 1]


def test_masked_cells_have_no_influence(train):
    """On weights, losses and scores, bit by bit, whatever stands in them."""
    outcomes = []
    for value in (0.0, np.nan, 1e30):
        trainer, _, fit = train(f"with {value}", masks=(random_mask(11), random_mask(5, 4)), garbage=value)
        progress, _ = fit()
        outcomes.append(outcome(trainer, progress))
    require_same(outcomes[1], outcomes[0])
    require_same(outcomes[2], outcomes[0])
    trainer, _, fit = train("without")
    progress, _ = fit()
    assert outcome(trainer, progress)[0] != outcomes[0][0], "masks do change what is learned"


def test_a_complete_mask_is_none_at_all(train):
    outcomes = []
    for number, masks in enumerate([(None, None), (np.ones((11, 8, 12, 1), "f4"), np.ones((5, 8, 12, 1), "f4"))]):
        trainer, _, fit = train(str(number), masks=masks)
        progress, _ = fit()
        outcomes.append(outcome(trainer, progress))
    for row, expected in zip(outcomes[1][0], outcomes[0][0], strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_valid_cell_does_no_harm(train):
    mask = random_mask(11)
    mask[epoch_order(11, 1, 0)[:3]] = 0.0
    trainer, _, fit = train("parts", signals=(1,), masks=(mask, None))
    with pytest.raises(Stopped):
        fit()
    assert (trainer.progress.total, trainer.progress.count) == (0, 0)
    assert all(np.isfinite(variable.numpy()).all() for variable in trainer.state)
    trainer, _, fit = train("whole", masks=(mask, None))
    progress, _ = fit()
    assert np.isfinite(progress.best)


@pytest.mark.parametrize(("masked", "split"), [((0,), "train"), ((1,), "validation")])
def test_a_period_without_any_truth_is_refused(train, masked, split):
    masks = [np.zeros((steps, 8, 12, 1), "f4") if number in masked else None for number, steps in enumerate((11, 5))]
    _, _, fit = train("none", masks=masks)
    with pytest.raises(TrainingError, match=rf"split\.{split}: the truth is missing in all cells"):
        fit()


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_any_number_of_ranks_has_the_gradient_of_the_valid_area(field_of, monkeypatch, ranks, loss):
    """Sum of loss, area and mask over sum of area and mask, over all samples of all ranks."""
    tf.config.run_functions_eagerly(True)
    try:
        samples = Fields(field_of(3, seed=1), random_mask(3, part=0.5))
        samples.mask[1] = 1.0  # complete
        samples.mask[2] *= random_mask(1, 9, 0.2)[0]  # nearly empty
        parts: list[Adding] = []
        for rank in reversed(range(ranks)):
            adding = Adding(parts if rank == 0 else ())
            trainer = trainer_of(samples, samples, adding, loss={loss: 1.0})
            randomise(trainer)
            before = [variable.numpy() for variable in trainer.network.trainable_variables]
            applied = []
            monkeypatch.setattr(
                trainer.optimizer, "apply", lambda gradients, _, applied=applied: applied.extend(gradients)
            )
            (batch,) = batches(samples, np.arange(3), 3, rank, ranks)
            numbers = trainer._step(*batch.arrays, None, tf.zeros(2)).numpy()
            parts.append(adding)
    finally:
        tf.config.run_functions_eagerly(False)
    coarse, fine, mask = samples.take(np.arange(3))
    weights = np.broadcast_to(Grid.of(samples.fine).area.values[..., None] * mask, fine.shape)
    for variable, values in zip(trainer.network.trainable_variables, before, strict=True):
        variable.assign(values)
    with tf.GradientTape() as tape:
        error = trainer.network([coarse], training=True) - fine
        total = tf.reduce_sum(weights * (tf.abs(error) if loss == "mae" else tf.square(error))) / weights.sum()
    expected = tape.gradient(total, trainer.network.trainable_variables)
    for found, wanted in zip(applied, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-6)
    assert numbers[0] / numbers[1] == pytest.approx(float(total), rel=1e-5)


def test_the_validation_score_pools_over_the_valid_area(train):
    """In kelvin, of a network that still is the interpolation."""
    mask = random_mask(5, 4, 0.4)
    trainer, _, _ = train("x", masks=(None, mask))
    scores, _ = trainer._validate()
    samples = trainer.validation
    coarse, fine, _ = samples.take(np.arange(5))
    error = 5.0 * (trainer.predict(coarse) - fine)
    weights = np.broadcast_to(Grid.of(samples.fine).area.values[..., None], fine.shape) * mask
    assert scores["validation_rmse"] == pytest.approx(np.sqrt(np.average(error**2, weights=weights)), rel=1e-5)
    assert scores["validation_mae"] == pytest.approx(np.average(np.abs(error), weights=weights), rel=1e-5)


def applied_by(trainer, monkeypatch, batch):
    """Gradients that the optimiser is given for a batch, and the numbers of its step."""
    given = []
    monkeypatch.setattr(trainer.optimizer, "apply", lambda gradients, _: given.extend(gradients))
    tf.config.run_functions_eagerly(True)
    try:
        numbers = trainer._step(*batch.arrays, None, tf.zeros(2)).numpy()
    finally:
        tf.config.run_functions_eagerly(False)
    return [gradient.numpy() for gradient in given], numbers


def norm_of(gradients):
    return np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))


def test_the_gradient_of_a_batch_is_clipped(field_of, monkeypatch):
    """The mean over its samples, not the sum of them."""
    samples = Fields(field_of(4, seed=1))
    (batch,) = batches(samples, np.arange(4), 4, 0, 1)
    whole, _ = applied_by(trainer_of(samples, samples, OneRank(monkeypatch)), monkeypatch, batch)
    for factor in (0.5, 2.0):
        limit = float(factor * norm_of(whole))
        trainer = trainer_of(samples, samples, OneRank(monkeypatch), clip_norm=limit)
        found, _ = applied_by(trainer, monkeypatch, batch)
        for gradient, expected in zip(found, whole, strict=True):
            np.testing.assert_allclose(gradient, min(factor, 1.0) * expected, rtol=1e-4, atol=1e-8)


def test_turned_samples_bring_their_static_fields_and_areas(field_of, monkeypatch):
    """A batch cut from the domain trains as the network alone would on these fields."""
    samples = Fields(field_of(3, seed=1), random_mask(3, part=0.5))
    static = np.random.default_rng(3).normal(size=(1, 8, 12, 2)).astype(np.float32)
    choices = {"network": {"localized": "none"}, "patch_size": 4, "augment": ["flip-y"], "loss": {"mse": 1.0}}
    trainer = trainer_of(samples, samples, OneRank(monkeypatch), static=static, **choices)
    randomise(trainer)
    (batch,) = batches(samples, np.arange(3), 3, 0, 1, cutting=trainer._cutting, epoch=1)
    assert (batch.fine.shape, batch.static.shape) == ((3, 4, 4, 1), (3, 4, 4, 2))
    found, numbers = applied_by(trainer, monkeypatch, batch)
    weights = batch.area * batch.mask
    with tf.GradientTape() as tape:
        error = trainer.network([batch.coarse, batch.static], training=True) - batch.fine
        loss = tf.reduce_sum(weights * tf.square(error)) / weights.sum()
    expected = tape.gradient(loss, trainer.network.trainable_variables)
    for gradient, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=2e-4, atol=1e-6)
    assert numbers[1] == pytest.approx(weights.sum() / 16, rel=1e-5)


def test_patches_are_drawn_anew_in_each_epoch(train, monkeypatch):
    epochs = []
    whole = supervised.batches

    def noted(*arguments, cutting=None, epoch=0):
        epochs.append((cutting is not None, epoch))
        return whole(*arguments, cutting=cutting, epoch=epoch)

    monkeypatch.setattr(supervised, "batches", noted)
    _, _, fit = train("patches", network={"localized": "none"}, patch_size=4)
    fit()
    # The validation is of the whole domain.
    assert epochs == [step for epoch in range(EPOCHS) for step in ((True, epoch), (False, 0))]


def test_the_learning_rate_is_that_of_the_schedule(train):
    _, _, fit = train("x", schedule="piecewise", piecewise={2: 0.5}, warmup_epochs=2.0, learning_rate=0.01)
    progress, _ = fit()
    rates = [row["learning_rate"] for row in progress.history]
    assert rates == pytest.approx([0.005, 0.01, 0.005])
    columns = ["epoch", "loss", "validation_loss", "validation_rmse", "validation_mae", "learning_rate", "seconds"]
    assert list(progress.history[0]) == columns


@pytest.mark.parametrize("best_by", ["rmse", "mae", "loss"])
def test_the_best_epoch_is_that_of_the_score_chosen(train, monkeypatch, tmp_path, best_by):
    """Of three epochs, each is the best by one of the scores; the network ends with its weights."""
    rows = [{"validation_rmse": 1.0 + (n != 0), "validation_mae": 1.0 + (n != 1)} for n in range(EPOCHS)]
    rows = [row | {"validation_loss": 1.0 + (number != 2)} for number, row in enumerate(rows)]
    trainer, _, fit = train("x", best_by=best_by)
    weights = []

    def scored():
        weights.append([variable.numpy() for variable in trainer.network.variables])
        return rows[len(weights) - 1], [0.0, 0.0]

    monkeypatch.setattr(trainer, "_validate", scored)
    progress, _ = fit()
    best = ["rmse", "mae", "loss"].index(best_by)
    assert (progress.best_epoch, progress.best) == (best + 1, 1.0)
    for variable, expected in zip(trainer.network.variables, weights[best], strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    assert standing.read(tmp_path / "x").best_by == best_by


@pytest.mark.parametrize(("delta", "epochs"), [(0.0, 3), (0.5, 2)])
def test_patience_counts_gains_of_a_size(train, monkeypatch, delta, epochs):
    trainer, _, fit = train("x", patience=1, min_delta=delta)
    scores = iter([3.0, 2.8, 2.6])
    row = {"validation_mae": 1.0, "validation_loss": 1.0}
    monkeypatch.setattr(trainer, "_validate", lambda: (row | {"validation_rmse": next(scores)}, [0.0, 0.0]))
    progress, _ = fit()
    # An epoch that is too little better to go on is the best one all the same.
    assert (progress.epoch, progress.best_epoch) == (epochs, epochs)


def test_fine_tuning_trains_all_but_the_frozen_layers(train, tmp_path):
    network = {"norm": "batch"}
    source, _, fit = train("source", network=network)
    fit()
    source.network.save(tmp_path / "model.keras")
    before = {variable.path: variable.numpy() for variable in source.network.weights}
    frozen = [layer.name for layer in source.network.layers if layer.weights][:2]
    choices = {"start_from": "other", "freeze": frozen, "initial": tmp_path / "model.keras"}
    trainer, _, fit = train("tuned", network=network, **choices)
    for variable in trainer.network.weights:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    assert len(trainer.optimizer.variables) == 2 + 2 * len(trainer.network.trainable_variables)
    fit()
    same = {v.path: np.array_equal(v.numpy(), before[v.path]) for v in trainer.network.weights}
    assert any("moving_mean" in path for path in same)
    for path, unchanged in same.items():
        assert unchanged == (path.split("/")[0] in frozen), path


@pytest.fixture
def mixed(keras_reset):
    keras.config.set_dtype_policy("mixed_bfloat16")


@pytest.mark.usefixtures("mixed")
def test_mixed_precision_keeps_weights_and_results_in_full(train, tmp_path):
    trainer, _, fit = train("mixed", network={"norm": "batch"})
    progress, _ = fit()
    assert {variable.dtype for variable in trainer.network.weights} == {"float32"}
    with np.load(tmp_path / "mixed" / checkpoints.NAME) as stored:
        assert {str(stored[name].dtype) for name in stored.files if name != "note"} == {"float32", "int64"}
    assert np.isfinite([row["validation_rmse"] for row in progress.history]).all()
    trainer.network.save(tmp_path / "model.keras")
    coarse, _, _ = trainer.samples.take(np.arange(3))
    expected = trainer.predict(coarse)

    # The file knows its precision: nothing needs to be set to predict.
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    output = loaded([coarse], training=False)
    assert output.dtype == "float32"
    np.testing.assert_array_equal(output, expected)
    kinds = (keras.layers.Conv2D, keras.layers.Activation)
    assert "mixed_bfloat16" in {layer.dtype_policy.name for layer in loaded.layers if isinstance(layer, kinds)}
