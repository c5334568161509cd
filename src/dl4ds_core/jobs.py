"""What every job shares: logging to the rule's log file, and errors without a traceback where a user can mend them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dl4ds_core.errors import DownscalingError

logger = logging.getLogger(__name__)

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(log_file: str | Path | None = None, level: int = logging.INFO) -> None:
    """Send messages of the library to stderr and, if given, to a log file."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, mode="w", encoding="utf-8"))
    logging.basicConfig(level=logging.WARNING, format=FORMAT, handlers=handlers, force=True)
    logging.getLogger("dl4ds_core").setLevel(level)
    logging.captureWarnings(True)
    quieten_libraries()


def quieten_libraries() -> None:
    """Silence what a library says in every job: the registry of CF units redefines some of pint's on purpose."""
    logging.getLogger("pint").setLevel(logging.ERROR)


def prefer_own_programs() -> None:
    """Let jobs find the programs beside this Python, whether or not its environment is activated.

    The conda environment of a rule, where one is used, is activated later and so still comes first.
    """
    own = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])


def run(main: Callable[..., Any], log_file: str | Path | None = None, **arguments: Any) -> None:
    """Run the main function of a job.

    A `DownscalingError` is logged as one message and ends the job with status 1; anything else is a bug, whose
    traceback goes to the log too.

    Parameters
    ----------
    main : callable
        Called with ``arguments``.
    log_file : str or Path, optional
        The rule's log file.
    """
    configure_logging(log_file)
    try:
        main(**arguments)
    except DownscalingError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception:
        logger.exception("unexpected error; this is a bug of the software")
        raise
