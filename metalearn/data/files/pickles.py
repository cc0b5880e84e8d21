"""Safe reading of untrusted pickles: as data, without running code.

A pickle is a program. This reader knows only the few names that arrays are pickled with, maps them
to functions of its own, and refuses all others. The worst that a pickle can do is to hold wrong
numbers.
"""

import os
import pickle
import pickletools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from metalearn.data.files.regular import open_regular
from metalearn.formats import one_line

PLAIN_DTYPE = re.compile(r"[biuf]\d{1,2}|[SU]\d+")
PNG = b"\x89PNG\r\n\x1a\n"


def load_plain(path: Path) -> Any:
    """Loads a pickle of arrays, dicts, lists, strings and numbers; tuples become lists.

    Python 2 text becomes str. Raises ValueError in one line for other content or a damaged file.
    """
    with open_regular(path) as file:
        return read_plain(file, path)


def read_plain(file: IO[bytes], where: Path) -> Any:
    """Loads a pickle as `load_plain` does, from an open file; errors call the file `where`."""
    try:
        value = _Reader(file, encoding="bytes").load()
        return _Plain(file.seek(0, os.SEEK_END)).of(value)
    except OSError:
        raise
    except Exception as error:  # a forged pickle can raise anything
        reason = one_line(error)
        raise ValueError(f"{where} is not a pickle of arrays, dicts, lists, strings and numbers ({reason})") from error


def pngs_in(path: Path) -> Iterator[bytes]:
    """Yields the PNG images in a pickle in order, one at a time; builds and runs nothing.

    Raises ValueError in one line if the file is damaged.
    """
    with open_regular(path) as file:
        try:
            for _, argument, _ in pickletools.genops(file):
                # Bytes of Python 2 and of old protocols appear as text with the same codes.
                if isinstance(argument, str) and argument.startswith(PNG.decode("latin-1")):
                    yield argument.encode("latin-1")
                elif isinstance(argument, (bytes, bytearray)) and argument.startswith(PNG):
                    yield bytes(argument)
        except OSError:
            raise
        except Exception as error:  # e.g. MemoryError for a forged length
            raise ValueError(f"{path} is a damaged pickle ({error})") from error


class _Array:
    """Placeholder of an array between its announcement and its content."""

    values: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], "_Dtype", bool, bytes]) -> None:
        _, shape, dtype, fortran, content = state
        self.values = _from_buffer(content, dtype, shape, "F" if fortran else "C")


class _Dtype:
    """Type of plain numbers or strings; for these, the state is only the order of the bytes."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        code = code.decode() if isinstance(code, bytes) else code
        if not PLAIN_DTYPE.fullmatch(code):
            raise ValueError(f"an array of the type {code}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order: Any = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


def _from_buffer(content: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _announce(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.dtype)[0].item()


def _latin1(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the codec {codec}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


NAMES = {
    ("numpy", "ndarray"): _Array,  # argument of `_reconstruct`
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,  # bytes of Python 3 in the protocols of Python 2
    ("__builtin__", "bytes"): _no_bytes,  # bytes of length 0 there
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _announce for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Reader(pickle._Unpickler):
    # This reader is the Python one, because the C reader holds the bytes of Python 2 twice. For a
    # bytearray the Python reader does so too; plain bytes avoid it. miniImageNet has 0.8 GB.
    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]]}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise ValueError(f"it asks for {module}.{name}")
        return NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("it asks for an object outside the file")


class _Plain:
    """Converter of plain containers, read from `size` bytes.

    More items than bytes mean that lists refer to the same lists again and again.
    """

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def of(self, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"its {self.size:,} bytes stand for more items than that")
        match value:
            case _Array():
                return value.values
            case dict():
                return {self.of(key): self.of(item) for key, item in value.items()}
            case list() | tuple():
                return [self.of(item) for item in value]
            case bytes():
                return value.decode("latin-1")
            case None | bool() | int() | float() | str() | np.ndarray():
                return value
        raise ValueError(f"it holds a {type(value).__name__}")
