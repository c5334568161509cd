"""Applying trained networks and fitted baselines, chunk by chunk, so that memory doesn't grow with the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.channels import field_names, normalised_channel
from dl4ds_core.draws import Stream, generator, noise
from dl4ds_core.ensembles import MEMBER, member_axis
from dl4ds_core.grids import Grid
from dl4ds_core.members import Members, sampled
from dl4ds_core.pipeline import static_input
from dl4ds_core.retransformation import Residuals, smeared
from dl4ds_core.scaling import Scaler
from dl4ds_core.time import seconds, windows

#: Time steps predicted at once; with members fewer, but no fewer than these.
CHUNK, FEWEST = 64, 8

Predictor = Callable[[xr.Dataset], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """What predictions of a variable may be.

    Attributes
    ----------
    minimum : float or None
        Smaller predictions are set to this.
    dry_below : float or None
        Predictions below this are set to zero.
    """

    minimum: float | None = None
    dry_below: float | None = None

    @property
    def non_negative(self) -> bool:
        """Whether no prediction is below 0."""
        return self.dry_below is not None or (self.minimum is not None and self.minimum >= 0)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return values, in the units of the limits, that keep them; missing ones stay missing."""
        if self.minimum is not None:
            values = np.maximum(values, np.asarray(self.minimum, values.dtype))
        if self.dry_below is not None:
            values = np.where(values < self.dry_below, np.asarray(0, values.dtype), values)
        return values


@dataclass(frozen=True, eq=False)
class NetworkPredictor:
    """A network with all that belongs to it, as a function of coarse fields.

    Attributes
    ----------
    network : keras.Model
        From normalised inputs to normalised outputs.
    scalers : mapping
        Those the network was trained with.
    static : numpy.ndarray or None
        Static fields, shape (1, Y, X, field), normalised units.
    predictands, channels : list of str
        Names of outputs and inputs, in the order of the network's channels.
    residuals : mapping
        By predictand, errors of the training period for the smearing estimate.
    members : Members
        What is drawn, and how often.
    shape : (int, int) or None
        Fine cells along Y and X: for networks that take noise.
    diffusion : ResidualDiffusion or None
        What draws residuals of the network, if anything does.
    """

    network: Any
    scalers: Mapping[str, Scaler]
    static: np.ndarray | None
    predictands: list[str]
    channels: list[str]
    residuals: Mapping[str, Residuals]
    members: Members = field(default_factory=Members)
    shape: tuple[int, int] | None = None
    diffusion: Any = None

    @property
    def window(self) -> int | None:
        """Time steps that the network sees at once; None if it takes single fields."""
        shape = self.network.inputs[0].shape
        return int(shape[1]) if len(shape) == 5 else None

    def __call__(self, coarse: xr.Dataset, steps: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Predict.

        Parameters
        ----------
        coarse : xarray.Dataset
            Coarse fields (time, Y, X), with the context the network was trained with.
        steps : numpy.ndarray, optional
            For networks of windows: numbers of the steps of ``coarse`` of each window, shape (prediction, window); by
            default ``coarse`` is the whole record, and each of its steps is predicted.

        Returns
        -------
        dict
            Arrays (time, Y, X) in physical units, float32, by predictand; with members (member, time, Y, X).
        """
        inputs, keys = self.normalised(coarse), seconds(coarse["time"])
        size = CHUNK
        if self.window is not None:
            steps = windows(coarse["time"], self.window) if steps is None else steps
            keys = keys[steps[:, -1]]
            # So many windows at once that they have about as many fields as a chunk of single ones.
            size = max(1, CHUNK // self.window)
        parts = [slice(start, start + size) for start in range(0, len(keys), size)]
        given = [(inputs[part] if steps is None else inputs[steps[part]], keys[part]) for part in parts]
        drawn = self.physical(np.concatenate([self._drawn(*part) for part in given], axis=1))
        return drawn if self.members.dimension else {name: values[0] for name, values in drawn.items()}

    def normalised(self, coarse: xr.Dataset) -> np.ndarray:
        """Return coarse fields as the network takes them: (time, Y, X, channel), float32, filled, normalised units."""
        return np.stack([normalised_channel(coarse, name, self.scalers) for name in self.channels], axis=-1)

    def output(self, inputs: Any, static: np.ndarray | None = None) -> Any:
        """Return the network's single prediction: means of distributions, and what it gives for its first draw.

        Parameters
        ----------
        inputs : numpy.ndarray or tensor
            Shape (sample, [window,] Y, X, channel), normalised units.
        static : numpy.ndarray, optional
            Other static fields than those of the predictor, shape (1, Y, X, field), normalised units.

        Returns
        -------
        tensor
            Shape (sample, Y, X, predictand), normalised units.
        """
        return self._network(inputs, range(len(inputs)), 0, static)[..., : len(self.predictands)]

    def _network(
        self, inputs: Any, keys: Sequence[int] | np.ndarray, member: int, static: np.ndarray | None = None
    ) -> Any:
        """Return all that the network gives for some samples, with the noise of a member at the times ``keys``."""
        from keras import ops

        fields = self.static if static is None else static
        given = [inputs] if fields is None else [inputs, fields]
        if self.network.inputs[-1].name == "noise":
            if self.shape is None:
                raise ValueError("expected the fine cells along Y and X, for a network that takes noise")
            channels = self.network.inputs[-1].shape[-1]
            moments = [(member, int(key)) for key in keys]
            given.append(noise(self.members.seed, Stream.PREDICTION, moments, (*self.shape, channels)))
        given = [ops.convert_to_tensor(each) for each in given]
        return self._compiled(given) if self._random else self.network(given, training=False)

    @cached_property
    def _compiled(self) -> Callable[[list[Any]], Any]:
        """The network as one graph: for many members of few steps, layer after layer takes many times as long."""
        import tensorflow as tf

        return tf.function(partial(self.network, training=False), reduce_retracing=True, autograph=False)

    def _drawn(self, inputs: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return all members of some samples, (member, sample, Y, X, predictand), normalised units."""
        fields: list[np.ndarray] = []
        for member in range(self.members.count):
            # What is not drawn is the same for all members.
            if member == 0 or self._random:
                found = self._for_member(inputs, keys, member)
            outputs = len(self.predictands)
            if self.members.method == "sampling":
                if self.diffusion is None:
                    layer = self.network.get_layer("distribution")
                    drawn = sampled(layer, found, outputs, self.members.seed, member, keys)
                else:
                    drawn = self._diffused(found, inputs, keys, member)
                fields.append(self._kept(drawn, inputs))
            else:
                fields.append(found[..., :outputs])
        return np.stack(fields)

    def _diffused(self, mean: np.ndarray, inputs: np.ndarray, keys: np.ndarray, member: int) -> np.ndarray:
        """Return a member of what a diffusion model draws around the network's means, in their shape."""
        from keras import ops

        from dl4ds_core.models.diffusion import levels, solve

        moments = [(member, int(key)) for key in keys]
        start = noise(self.members.seed, Stream.SAMPLING, moments, mean.shape[1:])
        given = [ops.convert_to_tensor(each) for each in (mean, inputs)]

        def guess_at(noisy: Any, level: float) -> Any:
            return self._guess(noisy, ops.full((len(mean),), level, dtype="float32"), *given)

        strengths = levels(self.members.steps, mean.shape[1] * mean.shape[2])
        residual = np.asarray(solve(guess_at, ops.convert_to_tensor(start), strengths))
        return mean + residual * np.asarray(self.diffusion.deviations)

    @cached_property
    def _guess(self) -> Callable[..., Any]:
        """The denoiser as one graph: from noisy residuals, the strength of their noise, means and inputs to a guess."""
        import tensorflow as tf

        return tf.function(partial(self.diffusion.guess, static=self.static), reduce_retracing=True, autograph=False)

    @property
    def _random(self) -> bool:
        """Whether the network itself draws: noise, or what it drops."""
        return self.network.inputs[-1].name == "noise" or bool(self._dropping)

    @cached_property
    def _dropping(self) -> list[Any]:
        """The states of generators of dropout that is kept on."""
        layers = self.network._flatten_layers(include_self=False)
        return [layer.seed_generator.state for layer in layers if getattr(layer, "at_prediction", False)]

    def _for_member(self, inputs: np.ndarray, keys: np.ndarray, member: int) -> np.ndarray:
        """Return what the network gives for a member; with dropout sample by sample, each with its own."""
        if not self._dropping:
            return np.asarray(self._network(inputs, keys, member))
        found = []
        for number, key in enumerate(keys):
            random = generator(self.members.seed, Stream.DROPOUT, member, int(key))
            for state in self._dropping:
                state.assign(np.array([random.integers(2**31), 0]))
            found.append(self._network(inputs[number : number + 1], keys[number : number + 1], member))
        return np.concatenate(found)

    def _kept(self, drawn: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Return a sample that keeps the constraints of the network."""
        layers = {layer.name: layer for layer in self.network.layers}
        if "floor" in layers:
            drawn = np.maximum(drawn, np.asarray(layers["floor"].floors))
        if "constraints" in layers:
            last = inputs if self.window is None else inputs[:, -1]
            given = last[..., [self.channels.index(name) for name in self.predictands]]
            drawn = np.asarray(layers["constraints"]([drawn, given]))
        return drawn

    def physical(self, output: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the network gives in physical units, by predictand: ([member,] sample, Y, X), float32."""
        result: dict[str, np.ndarray] = {}
        for number, name in enumerate(self.predictands):
            scaler, values = self.scalers[f"fine.{name}"], output[..., number]
            errors = self.residuals.get(name)
            result[name] = scaler.invert(values) if errors is None else smeared(scaler, values, errors)
        return result


def network_predictor(
    model: str | Path,
    scalers: Mapping[str, Scaler],
    static: str | Path | None,
    predictands: list[str],
    channels: list[str],
    residuals: Mapping[str, Residuals] | None = None,
    members: Members | None = None,
    shape: tuple[int, int] | None = None,
) -> NetworkPredictor:
    """Return a function that predicts from coarse fields with a saved network.

    Parameters
    ----------
    model : str or Path
        A ``model.keras`` file.
    scalers : mapping
        Those the network was trained with.
    static : str or Path or None
        File of static fields.
    predictands, channels : list of str
        Names of outputs and inputs, in the order of the network's channels.
    residuals : mapping, optional
        Errors of the training period, as of ``retransformation.Interface``: predictands named here are
        brought back to their units by the smearing estimate.
    members : Members, optional
        What is drawn, and how often; by default there is one prediction.
    shape : (int, int), optional
        Fine cells along Y and X: for networks that take noise.

    Returns
    -------
    NetworkPredictor
        From a dataset of coarse fields (time, Y, X), with the context the network was trained with, to arrays (time,
        Y, X) in physical units, by predictand.
    """
    import keras

    from dl4ds_core import layers  # noqa: F401 - registers the layers that the file refers to
    from dl4ds_core.models.diffusion import ResidualDiffusion

    network, diffusion = keras.saving.load_model(model, compile=False), None
    if isinstance(network, ResidualDiffusion):
        network, diffusion = network.mean, network
    fix_seeds(network)
    fields = static_input(static, scalers)
    drawn = members or Members()
    return NetworkPredictor(network, scalers, fields, predictands, channels, residuals or {}, drawn, shape, diffusion)


def fix_seeds(network: Any) -> None:
    """Give generators of random numbers, such as those of dropout at prediction, states of their own, always the same.

    So a network that is loaded and applied again, in the same pieces, gives the same values.
    """
    weights = {id(weight) for weight in network.weights}
    states = [variable for variable in network.variables if id(variable) not in weights]
    for number, state in enumerate(states):
        state.assign(np.array([number, 0]))  # a seed, and how much has been drawn


def predict_lazily(
    predictor: Predictor,
    coarse: xr.Dataset,
    like: xr.Dataset,
    valid: Mapping[str, np.ndarray] | None = None,
    limits: Mapping[str, Limits] | None = None,
    members: int | None = None,
) -> xr.Dataset:
    """Return predictions as lazy arrays that are computed when they are written.

    Parameters
    ----------
    predictor : callable
        From a dataset of coarse fields to arrays by predictand, step by step; or a network, which may look back.
    coarse : xarray.Dataset
        Coarse input, (time, Y, X): the whole record, since the first step of a window may lie before a chunk.
    like : xarray.Dataset
        The fine grid, and the attributes of the predictands; nothing else of it is used.
    valid : mapping, optional
        Cells that have truth in the training period, by predictand, shape (Y, X); predictions elsewhere are missing.
    limits : mapping, optional
        By predictand, in the units of the predictions.
    members : int, optional
        Members that the predictor gives, in front; of a network its own.

    Returns
    -------
    xarray.Dataset
        Predictands of shape (time, Y, X), or (member, time, Y, X), float32, physical units.
    """
    import dask.array as da

    grid, times, names = Grid.of(like), coarse["time"], field_names(like)
    members = predictor.members.dimension if isinstance(predictor, NetworkPredictor) else members
    leading, axis = ((), 0) if members is None else ((members,), 1)

    def finished(predict: Predictor, part: xr.Dataset) -> tuple[np.ndarray, ...]:
        # A copy in memory: loading the part itself would keep it there until the last one is done.
        result = predict(part.compute())
        return tuple(_finished(result[name], (valid or {}).get(name), (limits or {}).get(name)) for name in names)

    stacks: dict[str, list[da.Array]] = {name: [] for name in names}
    for predict, part, length in _chunks(predictor, coarse, max(FEWEST, CHUNK // members) if members else CHUNK):
        block = _delayed(partial(finished, predict), part, len(names))
        for number, name in enumerate(names):
            stacks[name].append(da.from_delayed(block[number], (*leading, length, *grid.shape), dtype=np.float32))
    dims = (*(() if members is None else (MEMBER,)), "time", *grid.dims)
    data = {name: (dims, da.concatenate(stacks[name], axis), dict(like[name].attrs)) for name in names}
    coordinates = {"time": times} if members is None else {MEMBER: member_axis(members), "time": times}
    return grid.placed(xr.Dataset(data, coords=coordinates))


def _chunks(predictor: Predictor, coarse: xr.Dataset, size: int) -> Iterator[tuple[Predictor, xr.Dataset, int]]:
    """Yield what predicts a chunk, the coarse fields that it is predicted from, and how many steps it has."""
    starts = range(0, coarse.sizes["time"], size)
    if not isinstance(predictor, NetworkPredictor) or predictor.window is None:
        for start in starts:
            part = coarse.isel(time=slice(start, start + size))
            yield predictor, part, part.sizes["time"]
        return
    steps = windows(coarse["time"], predictor.window)
    for start in starts:
        chunk = steps[start : start + size]
        first = int(chunk.min())
        part = coarse.isel(time=slice(first, start + len(chunk)))
        yield partial(predictor, steps=chunk - first), part, len(chunk)


def _finished(values: np.ndarray, valid: np.ndarray | None, limits: Limits | None) -> np.ndarray:
    values = limits.apply(values) if limits else values
    return values.astype(np.float32) if valid is None else np.where(valid, values, np.nan).astype(np.float32)


def _delayed(compute: Callable[[xr.Dataset], tuple[np.ndarray, ...]], part: xr.Dataset, outputs: int) -> list[object]:
    import dask

    return list(dask.delayed(compute, nout=outputs, pure=False)(part))
