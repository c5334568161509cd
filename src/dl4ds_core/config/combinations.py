"""What can't work in a network together with the data or its training: each is said before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dl4ds_core.config.drawing import drawn, two_kinds
from dl4ds_core.config.models import CONSERVING, Constraint, Model
from dl4ds_core.config.training import Training, merged

if TYPE_CHECKING:
    from dl4ds_core.config.schema import Config

#: Keys of `training` with which a network sees other cells than those of the whole grid in their order.
MOVING = {"patch_size": "cut out of the grid", "augment": "turned"}
#: Constraints for fields that are never negative.
NEVER_NEGATIVE: tuple[Constraint, ...] = ("multiplicative", "softmax")
#: How many names a message lists at most.
SHOWN = 5


def impossible_models(config: Config) -> Iterator[str]:
    """Find what can't work, one line per problem, with the key and what to do instead."""
    begins: dict[str, str] = {}
    for name, model in config.models.items():
        yield from _inputs(config, name, model)
        yield from _output(config, name, model)
        conflict = two_kinds(config, name, model)
        if conflict:
            yield conflict
            continue
        try:
            training = merged(config.training, model.training, likelihood=model.distribution is not None)
        except ValidationError as error:
            for line in (line for item in error.errors() for line in str(item["ctx"]["error"]).splitlines()):
                yield (
                    f"models.{name}.training: {line} (keys that it leaves out are as in `training`; 0, null, or an "
                    "empty map or list undoes them)"
                )
            continue
        for predictand, constraint in model.constraints.items():
            problems = _constraint(config, model, training, predictand, constraint)
            yield from (f"models.{name}.constraints.{predictand}: {problem}" for problem in problems)
        yield from _moved_cells(config, name, training)
        yield from drawn(config, name, model, training)
        if training.start_from is not None:
            begins[name] = training.start_from
    yield from _beginnings(config, begins)


def _key(config: Config, name: str, key: str) -> str:
    """Return where a key of a model's training is given."""
    own = config.models[name].training
    return f"models.{name}.training.{key}" if key in getattr(own, "model_fields_set", ()) else f"training.{key}"


def _inputs(config: Config, name: str, model: Model) -> Iterator[str]:
    if model.residual and config.data.coarse.origin == "none":
        yield (
            f"models.{name}.residual: there is no coarse field to add to with `data.coarse: {{from: none}}`; "
            "leave the key out"
        )
    if model.static_branch and not config.data.static:
        yield f"models.{name}.static_branch: there are no static fields; name some in `data.static`, or leave it out"


def _output(config: Config, name: str, model: Model) -> Iterator[str]:
    if model.output_activation is None or model.residual is False or config.data.coarse.origin == "none":
        return
    yield (
        f"models.{name}.output_activation: it bounds what is predicted, but a residual network predicts a difference; "
        "set `residual: false`, or use `constraints`"
    )


def _constraint(
    config: Config, model: Model, training: Training, predictand: str, constraint: Constraint
) -> Iterator[str]:
    """Find what keeps a constraint from holding in what is written, in physical units."""
    entry = config.data.predictands.get(predictand)
    if entry is None:
        yield f"expected the name of a predictand ({', '.join(config.data.predictands)})"
        return
    if constraint == "additive" and config.normalization_of(model, predictand).transform == "log1p":
        yield (
            f"`additive` may give negative values, which have no log1p (`normalization` of {predictand}); use "
            "`multiplicative` or `softmax`"
        )
    if constraint not in CONSERVING:
        if config.normalization_of(model, predictand).per == "cell":
            yield (
                f"`non-negative` needs one zero for all cells, and `normalization` of {predictand} is `per: cell`; use "
                "`per: domain`"
            )
        return
    if config.data.coarse.origin == "none":
        yield (
            f"`{constraint}` keeps the means of coarse fields, and there are none with `data.coarse: {{from: none}}`; "
            "use `non-negative`, or leave the key out"
        )
    else:
        if entry.dry_below is not None:
            yield (
                f"`{constraint}` keeps means, and `data.predictands.{predictand}.dry_below` changes them afterwards; "
                "leave out one of the two"
            )
        if config.normalization_of(model, predictand).dry_below is not None:
            yield (
                f"`{constraint}` keeps the means of the coarse input, which has lost small values by `dry_below` in "
                f"`normalization` of {predictand}; leave out one of the two"
            )
        if training.retransformation == "smearing":
            yield (
                f"`{constraint}` keeps means, and `retransformation: smearing` changes them afterwards; set "
                "`training: {retransformation: none}` for this model"
            )
        yield from _lower_limits(config, predictand, constraint)


def _lower_limits(config: Config, predictand: str, constraint: Constraint) -> Iterator[str]:
    """Find where a lower limit that is there, or one that is not, would change a mean."""
    minimum = config.data.predictands[predictand].minimum
    if constraint not in NEVER_NEGATIVE:
        if minimum is not None:
            yield (
                f"`{constraint}` keeps means, and raising values to `data.predictands.{predictand}.minimum` changes "
                f"them afterwards; use {' or '.join(f'`{kind}`' for kind in NEVER_NEGATIVE)}"
            )
        return
    limits = {f"data.predictands.{predictand}.minimum": minimum}
    if config.data.coarse.explicit:
        entry = config.data.coarse_entries()[predictand]
        key = f"data.coarse.variables.{predictand}"
        limits |= {f"{key}.minimum": entry.minimum} if config.data.coarse.variables[predictand] is entry else {}
    for key, limit in limits.items():
        if limit != 0:
            found = "none" if limit is None else f"{limit:g}"
            yield f"`{constraint}` is for fields from 0 up; set `{key}: 0` (found {found}), or use `additive`"


def _moved_cells(config: Config, name: str, training: Training) -> Iterator[str]:
    """Find what supposes the whole grid, where a network is trained on parts of it or on turned fields."""
    model, scale, patch = config.models[name], config.data.scale, training.patch_size
    if patch is not None and (patch % scale or patch < 2 * scale):
        yield (
            f"{_key(config, name, 'patch_size')}: expected two or more whole coarse cells, so a multiple of data.scale "
            f"from {2 * scale} on, found {patch}"
        )
    for key, how in MOVING.items():
        if not getattr(training, key):
            continue
        where = _key(config, name, key)
        if model.localized != "none":
            yield (
                f"models.{name}.localized: `{model.localized}` has weights for each cell of the grid, and with "
                f"`{where}` samples are {how}; set `localized: none`, or undo that key for this model"
            )
        for predictand, constraint in model.constraints.items():
            if constraint in CONSERVING:
                yield (
                    f"models.{name}.constraints.{predictand}: `{constraint}` has area weights for each cell of the "
                    f"grid, and with `{where}` samples are {how}; use `non-negative`, or undo that key for this model"
                )


def _beginnings(config: Config, begins: Mapping[str, str]) -> Iterator[str]:
    """Find networks that begin with the weights of none, or of themselves in the end."""
    for name, start in begins.items():
        if start not in config.models and not start.endswith(".keras"):
            similar = [other for other in config.models if other.startswith(f"{start}_")]
            names = similar or [other for other in config.models if other != name]
            listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            yield (
                f"{_key(config, name, 'start_from')}: expected another model ({listed or 'there is none'}) or a path "
                f"that ends in .keras, found {start!r}"
            )
        circle = [name]
        while circle[-1] in begins and begins[circle[-1]] not in circle:
            circle.append(begins[circle[-1]])
        # Of a circle, say it once; of what leads into one, nothing.
        if begins.get(circle[-1]) == name and name == min(circle):
            yield (
                f"{_key(config, name, 'start_from')}: {' begins with '.join([*circle, name])}; one of them must begin "
                "with none (null, where the key is inherited)"
            )
