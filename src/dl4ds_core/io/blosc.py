"""Blosc as Zarr stores use it, but refusing chunks that are cut off.

numcodecs reads beyond the end of such a chunk, and may return wrong numbers without a word
(https://github.com/zarr-developers/numcodecs/issues/228).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numcodecs
import zarr
from numcodecs.blosc import Blosc
from numcodecs.compat import ensure_contiguous_ndarray
from zarr.codecs import BloscCodec
from zarr.registry import fully_qualified_name, register_codec

#: Bytes of the header; its last four are the number of bytes of the chunk, the header among them.
_HEADER = 16


class WholeBlosc(Blosc):
    """Blosc of numcodecs (Zarr format 2) that decodes whole chunks only."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk.

        Raises
        ------
        ValueError
            If it has fewer bytes than its header says.
        """
        chunk = ensure_contiguous_ndarray(buf).view("u1")
        required = max(_HEADER, int.from_bytes(chunk[_HEADER - 4 : _HEADER].tobytes(), "little"))
        if chunk.size < required:
            raise ValueError(f"a chunk is truncated and has {chunk.size} of {required} bytes; fetch it again")
        return super().decode(buf, out)


class WholeBloscCodec(BloscCodec):
    """The same for Zarr format 3."""

    @cached_property
    def _blosc_codec(self) -> Blosc:
        choices = super()._blosc_codec.get_config()
        return WholeBlosc(**{name: value for name, value in choices.items() if name != "id"})


def use_whole_blosc() -> None:
    """Let this process read Zarr stores with these codecs."""
    numcodecs.register_codec(WholeBlosc)
    register_codec("blosc", WholeBloscCodec)
    zarr.config.set({"codecs.blosc": fully_qualified_name(WholeBloscCodec)})
