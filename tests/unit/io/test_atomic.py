"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dl4ds_core import io


class TestAtomic:
    def test_a_success_is_renamed_and_nothing_else_left(self, tmp_path):
        target = tmp_path / "new" / "a.nc"
        with io.atomic(target) as temporary:
            temporary.write_text("whole")
            assert not target.exists()
            assert temporary.parent == target.parent
            assert temporary.suffix == ".nc"
        assert target.read_text() == "whole"
        assert os.listdir(target.parent) == ["a.nc"]

    @staticmethod
    def write_half(path: Path, error: BaseException) -> None:
        with io.atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_a_failure_leaves_nothing(self, tmp_path, error):
        with pytest.raises(error):
            self.write_half(tmp_path / "a.nc", error())
        assert os.listdir(tmp_path) == []

    def test_a_failure_keeps_what_was_there(self, tmp_path):
        (tmp_path / "a.nc").write_text("old")
        with pytest.raises(ValueError, match="half way"):
            self.write_half(tmp_path / "a.nc", ValueError("half way"))
        assert (tmp_path / "a.nc").read_text() == "old"
        assert os.listdir(tmp_path) == ["a.nc"]

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
    def test_others_may_read_what_the_umask_allows(self, tmp_path, mask, mode):
        before = os.umask(mask)
        try:
            with io.atomic(tmp_path / "a.nc") as temporary:
                temporary.write_text("whole")
            assert os.umask(mask) == mask
        finally:
            os.umask(before)
        assert (tmp_path / "a.nc").stat().st_mode & 0o777 == mode
