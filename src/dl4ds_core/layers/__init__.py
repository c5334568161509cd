"""Keras layers of the networks, written with ``keras.ops`` only, so that they run on every backend."""

from dl4ds_core.layers.interpolate import Interpolate
from dl4ds_core.layers.localized import LocalizedAffine
from dl4ds_core.layers.padding import CropTo, PadToMultiple, RepeatEdges
from dl4ds_core.layers.static import ConcatenateStatic
from dl4ds_core.layers.subpixel import SubpixelUpsampling

__all__ = [
    "ConcatenateStatic",
    "CropTo",
    "Interpolate",
    "LocalizedAffine",
    "PadToMultiple",
    "RepeatEdges",
    "SubpixelUpsampling",
]
