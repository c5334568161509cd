"""The report: one self-contained page, and the archive that holds a study without its data."""

from dl4ds_core.report.archive import write_archive
from dl4ds_core.report.data import by_run, describe_samples, runs
from dl4ds_core.report.page import write_report

__all__ = ["by_run", "describe_samples", "runs", "write_archive", "write_report"]
