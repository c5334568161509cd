"""Deep-learning downscaling of gridded climate and weather data.

The modules are layered (see ``docs/architecture.md``); importing the package itself imports none of them, so that
data and verification jobs never pay for TensorFlow.
"""

__version__ = "0.1.0"
