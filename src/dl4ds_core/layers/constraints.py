"""Physical constraints on the output of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

#: Keeps means of dry blocks from being divided by zero, and slopes of roots finite, as a part of what is usual.
TINY = 1e-6
#: Less than any output.
LOWEST = -1e30
#: What may be asked for, by predictand.
KINDS = ("none", "additive", "multiplicative", "softmax")
#: What may have been done to a predictand before it was scaled.
TRANSFORMS = ("none", "log1p", "cube-root")
#: Largest logarithm that is transformed back: beyond it, exponentials and their gradients overflow.
LARGEST = 30.0


@keras.saving.register_keras_serializable("dl4ds_core")
class Floor(keras.layers.Layer):
    """Raise what is below a floor of each predictand to it, such as zero in normalised units. No floor at first.

    Input shape
    -----------
    (batch, height, width, predictands), of any height and width

    Output shape
    ------------
    (batch, height, width, predictands)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make a place for the floors, shape (predictands,)."""
        start = keras.initializers.Constant(LOWEST)
        self.floors = self.add_weight(name="floors", shape=(input_shape[-1],), initializer=start, trainable=False)

    def call(self, inputs: Any) -> Any:
        """Take the larger of field and floor."""
        return ops.maximum(inputs, self.floors)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape


@keras.saving.register_keras_serializable("dl4ds_core")
class Constrain(keras.layers.Layer):
    """Make means of fields over coarse cells equal to the coarse input, in physical units.

    Means are weighted by what `set_physics` gives: the areas of the cells, zero where there is never a value. Blocks
    without any weight are left as they are.

    Parameters
    ----------
    kinds : sequence of str
        One of ``KINDS`` per predictand. `additive` adds one number to all cells of a block, `multiplicative` multiplies
        their positive parts by one, `softmax` divides the coarse value among the cells by the exponentials of the
        network's output.
    transforms : sequence of str
        How each predictand was transformed before it was scaled, one of ``TRANSFORMS``. Not ``log1p`` with
        `additive`, which may give negative values.
    scale : int
        Fine cells per coarse cell, along each axis.
    context : int
        Coarse cells on each side that have no fine cells.

    Input shape
    -----------
    [(batch, height, width, predictands), (batch, coarse height, coarse width, predictands)], normalised units

    Output shape
    ------------
    (batch, height, width, predictands), normalised units

    References
    ----------
    Harder, P. et al. (2023). Hard-constrained deep learning for climate downscaling. Journal of Machine Learning
    Research, 24(365), 1-40. doi:10.48550/arXiv.2208.05424
    """

    def __init__(
        self, kinds: Sequence[str], transforms: Sequence[str], scale: int, context: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for what, given, known in (("constraints", kinds, KINDS), ("transforms", transforms, TRANSFORMS)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(f"expected {what} among {', '.join(known)}, found {unknown[0]!r}")
        if len(kinds) != len(transforms):
            raise ValueError(f"expected one transform per constraint ({len(kinds)}), found {len(transforms)}")
        if ("additive", "log1p") in zip(kinds, transforms, strict=True):
            raise ValueError("`additive` may give negative values, which have no log1p; use `multiplicative`")
        self.kinds = list(kinds)
        self.transforms = list(transforms)
        self.scale = scale
        self.context = context

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Make places for the weights of cells and for offsets and factors of the scaling."""
        fine, coarse = (tuple(shape[1:]) for shape in input_shape)
        if None in (*fine, *coarse):
            raise ValueError(f"expected a fixed height and width, found the input shapes {input_shape}")

        def constant(name: str, shape: tuple[Any, ...], start: str) -> Any:
            return self.add_weight(name=name, shape=shape, initializer=start, trainable=False)

        self.cell_weights = constant("cell_weights", fine, "ones")
        self.fine_offset, self.fine_factor = (
            constant("fine_offset", fine, "zeros"),
            constant("fine_factor", fine, "ones"),
        )
        self.coarse_offset = constant("coarse_offset", coarse, "zeros")
        self.coarse_factor = constant("coarse_factor", coarse, "ones")

    def set_physics(self, *, cell_weights: Any, fine: tuple[Any, Any], coarse: tuple[Any, Any]) -> None:
        """Give the layer what it must know of the fields; saved with the network.

        Parameters
        ----------
        cell_weights : array
            Area of each fine cell, zero where the predictand never has a value, (height, width, predictands).
        fine, coarse : pair of arrays
            Offset and factor of the scaling on both grids, in the shapes of the inputs without batch.
        """
        for variable, values in (
            (self.cell_weights, cell_weights),
            (self.fine_offset, fine[0]),
            (self.fine_factor, fine[1]),
            (self.coarse_offset, coarse[0]),
            (self.coarse_factor, coarse[1]),
        ):
            variable.assign(values)

    def call(self, inputs: Sequence[Any]) -> Any:
        """Constrain predictand by predictand, in blocks of shape (batch, rows, scale, columns, scale)."""
        output, coarse = inputs
        cut = slice(self.context, -self.context or None)
        given = coarse[:, cut, cut] * self.coarse_factor[cut, cut] + self.coarse_offset[cut, cut]
        fields = [self._field(number, output, given) for number in range(len(self.kinds))]
        return ops.stack(fields, axis=-1)

    def _field(self, number: int, output: Any, given: Any) -> Any:
        kind, transform = self.kinds[number], self.transforms[number]
        raw = output[..., number]
        if kind == "none":
            return raw
        factor, offset = self.fine_factor[..., number], self.fine_offset[..., number]
        physical = _inverse(transform, raw * factor + offset)
        weights = self._blocks(self.cell_weights[None, ..., number])
        target = _inverse(transform, given[..., number])[:, :, None, :, None]
        # Some predictands are given per second: what is little depends on the unit.
        least = TINY * _inverse(transform, ops.mean(factor))
        blocks = _conserved(kind, self._blocks(physical), self._blocks(raw), target, weights, least)
        values = _forward(transform, ops.reshape(blocks, (-1, *output.shape[1:3])), least)
        return (values - offset) / factor

    def _blocks(self, field: Any) -> Any:
        _, height, width = field.shape
        return ops.reshape(field, (-1, height // self.scale, self.scale, width // self.scale, self.scale))

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return the shape of the fine field."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"kinds": self.kinds, "transforms": self.transforms, "scale": self.scale, "context": self.context}
        return {**super().get_config(), **own}


def _conserved(kind: str, physical: Any, raw: Any, target: Any, weights: Any, least: Any) -> Any:
    """Return blocks whose weighted means are the target, wherever a block has any weight.

    Where all of a block is at or below zero, `multiplicative` shares out the target evenly, by ``least`` in each cell.
    """
    total = ops.sum(weights, axis=(2, 4), keepdims=True)
    shares = weights / ops.where(total > 0, total, 1.0)

    def mean(blocks: Any) -> Any:
        return ops.sum(blocks * shares, axis=(2, 4), keepdims=True)

    if kind == "additive":
        result = physical + target - mean(physical)
    else:
        if kind == "multiplicative":
            positive = ops.relu(physical) + least
        else:
            # The largest output of a block divides out: without it, exponentials overflow. Not that of a cell without
            # weight, beside which all others might vanish.
            largest = ops.max(ops.where(weights > 0, raw, LOWEST), axis=(2, 4), keepdims=True)
            positive = ops.exp(ops.where(weights > 0, raw, largest) - largest)
        average = mean(positive)
        result = positive * (ops.relu(target) / ops.where(total > 0, average, 1.0))
    return ops.where(total > 0, result, physical)


def _inverse(transform: str, values: Any) -> Any:
    if transform == "log1p":
        return ops.expm1(ops.minimum(values, LARGEST))
    return values * values * values if transform == "cube-root" else values


def _forward(transform: str, values: Any, least: Any) -> Any:
    if transform == "log1p":
        return ops.log1p(ops.relu(values))
    return _cube_root(values, least) if transform == "cube-root" else values


def _cube_root(values: Any, least: Any) -> Any:
    """Return cube roots; below ``least``, where their slope and so gradients would be infinite, a straight line."""
    size = ops.abs(values)
    root = ops.sign(values) * ops.power(ops.maximum(size, least), 1 / 3)
    return ops.where(size > least, root, values * ops.power(least, -2 / 3))
