"""Work in pieces: all of it, in order, and no more of it waiting than a few results."""

from __future__ import annotations

import sys
import threading
import warnings

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.verification import pieces
from dl4ds_core.verification.distribution import perkins, wasserstein


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("fewest", "rows"), [(1, 2), (5, 5)])
def test_all_rows_come_in_order(threads: int, fewest: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 16)
    with pieces.crew(threads) as crew:
        found = list(crew.work(lambda part: (part.start, part.stop), 23, 8, fewest))
    assert [(part.start, part.stop) for part, _ in found] == [result for _, result in found]
    assert [part.start for part, _ in found] == list(range(0, 23, rows))
    assert found[-1][0].stop == 23


def test_results_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    made, lock = [0], threading.Lock()

    def count(part: slice) -> None:
        with lock:
            made[0] += 1

    with pieces.crew(2) as crew:
        for taken, _ in enumerate(crew.work(count, 200, 1), 1):
            assert made[0] - taken <= 2 * 2 + 1


def test_what_holds_for_the_process_is_as_before_afterwards() -> None:
    before, within = sys.getswitchinterval(), []

    def work_and_fail() -> None:
        with pieces.crew(2):
            within.append(sys.getswitchinterval())
            raise KeyError

    with pytest.raises(KeyError):
        work_and_fail()
    assert within[0] < before
    assert sys.getswitchinterval() == before


def test_crews_that_overlap_leave_the_process_as_it_was() -> None:
    before = sys.getswitchinterval()
    first, second = pieces.crew(2), pieces.crew(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() < before
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == before


def test_no_score_of_series_changes_the_filters_of_warnings() -> None:
    """They belong to all threads."""
    empty = np.full((2, 40), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (perkins, wasserstein):
            assert np.isnan(function(*(_labelled(values) for values in (empty, empty)), reduce_dims="time")).all()


def _labelled(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("cell", "time"))
