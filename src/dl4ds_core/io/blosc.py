"""Blosc as Zarr stores use it, but refusing chunks that are cut off.

numcodecs reads beyond the end of such a chunk, and may return wrong numbers without a word
(https://github.com/zarr-developers/numcodecs/issues/228).
"""

from __future__ import annotations

from typing import Any

import numcodecs
import zarr
from numcodecs.blosc import Blosc
from numcodecs.compat import ensure_contiguous_ndarray
from zarr.codecs import BloscCodec
from zarr.registry import fully_qualified_name, register_codec

#: Bytes of the header; its last four are the number of bytes of the chunk, the header among them.
_HEADER = 16


def require_whole(chunk: Any) -> None:
    """Refuse a chunk that has fewer bytes than its header says.

    Raises
    ------
    ValueError
        Saying how many there are.
    """
    found = ensure_contiguous_ndarray(chunk).view("u1")
    if found.size < _HEADER:
        raise ValueError(f"a chunk is truncated and has {found.size} bytes, fewer than its header; fetch it again")
    required = int.from_bytes(found[_HEADER - 4 : _HEADER].tobytes(), "little")
    if found.size < required:
        raise ValueError(f"a chunk is truncated and has {found.size} of {required} bytes; fetch it again")


class WholeBlosc(Blosc):
    """Blosc of numcodecs (Zarr format 2) that decodes whole chunks only."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk, see `require_whole`."""
        require_whole(buf)
        return super().decode(buf, out)


class WholeBloscCodec(BloscCodec):
    """The same for Zarr format 3."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        require_whole(chunk_bytes.as_numpy_array())
        return super()._decode_sync(chunk_bytes, chunk_spec)


def use_whole_blosc() -> None:
    """Let this process read Zarr stores with these codecs."""
    numcodecs.register_codec(WholeBlosc)
    register_codec("blosc", WholeBloscCodec)
    zarr.config.set({"codecs.blosc": fully_qualified_name(WholeBloscCodec)})
