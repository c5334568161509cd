"""The configuration: typed sections, loading with messages a user understands, and its documentation."""

from dl4ds_core.config.loading import ModelSettings, digest, load, model_settings, parse, read
from dl4ds_core.config.periods import Period, parse_period
from dl4ds_core.config.schema import Config
from dl4ds_core.config.splits import SPLITS
from dl4ds_core.config.training import Normalization
from dl4ds_core.config.verification import BASELINES

__all__ = [
    "BASELINES",
    "SPLITS",
    "Config",
    "ModelSettings",
    "Normalization",
    "Period",
    "digest",
    "load",
    "model_settings",
    "parse",
    "parse_period",
    "read",
]
