"""Keras layers of the networks, written with ``keras.ops`` only, so that they run on every backend."""

from dl4ds_core.layers.activations import ConcatenatedReLU
from dl4ds_core.layers.attention import ChannelAttention
from dl4ds_core.layers.batch_normalization import BatchNormalization, part_of_batch
from dl4ds_core.layers.constraints import Constrain, Floor
from dl4ds_core.layers.detail import Detail
from dl4ds_core.layers.distributions import DistributionParameters, raw_channels
from dl4ds_core.layers.dropout import FeatureDropout, share_dropout
from dl4ds_core.layers.interpolate import Interpolate
from dl4ds_core.layers.localized import LocalizedAffine, LocalizedConvolution, LocalizedRegression
from dl4ds_core.layers.padding import CropLike, PadToMultiple, RepeatEdges
from dl4ds_core.layers.recurrent import ConvolutionalLSTM
from dl4ds_core.layers.static import ConcatenateStatic
from dl4ds_core.layers.subpixel import PixelShuffle
from dl4ds_core.layers.waves import Waves

__all__ = [
    "BatchNormalization",
    "ChannelAttention",
    "ConcatenateStatic",
    "ConcatenatedReLU",
    "Constrain",
    "ConvolutionalLSTM",
    "CropLike",
    "Detail",
    "DistributionParameters",
    "FeatureDropout",
    "Floor",
    "Interpolate",
    "LocalizedAffine",
    "LocalizedConvolution",
    "LocalizedRegression",
    "PadToMultiple",
    "PixelShuffle",
    "RepeatEdges",
    "Waves",
    "part_of_batch",
    "raw_channels",
    "share_dropout",
]
