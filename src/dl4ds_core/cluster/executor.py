"""What has to be mended in Snakemake's SLURM executor."""

from __future__ import annotations

import importlib


def leave_nodes_to_slurm() -> None:
    """Keep the executor from excluding nodes of its own accord when a node has failed.

    It asks sacct for the nodes of the job, which SLURM has put back into the queue: the answer is "None assigned"
    while the job waits, which no later submission survives (issue 485 of snakemake-executor-plugin-slurm), or else the
    healthy nodes that it has moved to. SLURM itself gives no job to a node that is down. What the user excludes stays.
    """
    try:
        executor = importlib.import_module("snakemake_executor_plugin_slurm").Executor
    except ImportError:
        return  # not needed on one machine

    def excluded(self: object) -> set[str]:
        return set(vars(self).get("_excluded", ()))  # a copy: nothing is added

    def exclude(self: object, nodes: set[str]) -> None:
        vars(self)["_excluded"] = nodes

    executor._failed_nodes = property(excluded, exclude)
