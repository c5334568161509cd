"""What is mended in Snakemake's SLURM executor."""

from __future__ import annotations

import pytest

from dl4ds_core.cluster.executor import leave_nodes_to_slurm

plugin = pytest.importorskip("snakemake_executor_plugin_slurm")


def test_nodes_are_excluded_by_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin.Executor, "_failed_nodes", None, raising=False)  # undone at the end
    leave_nodes_to_slurm()
    executor = object.__new__(plugin.Executor)
    executor._failed_nodes = {"node7"}  # as its constructor does from its option
    executor._failed_nodes.add("None assigned")  # as it does when a node has failed
    assert executor._failed_nodes == {"node7"}
