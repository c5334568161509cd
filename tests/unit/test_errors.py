"""Errors: one base class, and a list that shows all problems at once."""

from __future__ import annotations

import pytest

from dl4ds_core import errors
from dl4ds_core.errors import ConfigError, DataError, DownscalingError, ProblemList


@pytest.mark.parametrize("name", ["ConfigError", "DataError", "RegridError", "TrainingError"])
def test_one_base_class(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, DownscalingError)
    assert not issubclass(kind, ValueError), "a ValueError is a bug of the software, a DownscalingError is not"


def test_no_problem_raises_nothing() -> None:
    ProblemList().raise_if_any()


def test_one_problem_is_not_numbered() -> None:
    problems = ProblemList()
    problems.add("data.scale: too large")
    with pytest.raises(DataError) as raised:
        problems.raise_if_any()
    assert str(raised.value) == "data.scale: too large"


def test_all_problems_once_in_order_and_of_the_kind_asked_for() -> None:
    problems = ProblemList()
    problems.extend(["first", DataError("second"), "first"])
    problems.add("third")
    with pytest.raises(ConfigError) as raised:
        problems.raise_if_any(ConfigError)
    assert str(raised.value).splitlines() == ["3 problems:", "  1. first", "  2. second", "  3. third"]
