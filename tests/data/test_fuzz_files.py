"""Any bytes as a file of a user give an answer or one line (METALEARN_FUZZ=N sets the number)."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_images import KINDS, SIZES, source, write
from PIL import Image
from tiny_images import encoded, pixels

from metalearn.data.files.any_image import brightest, decode
from metalearn.data.files.class_files import files_by_list
from metalearn.data.files.names import class_name
from metalearn.data.manifest import read_manifest

fuzzed = settings(
    max_examples=int(os.environ.get("METALEARN_FUZZ", "150")),
    deadline=None,  # the machine may be busy
    derandomize="METALEARN_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
IMAGES = [encoded(pixels(i, 9, 11), kind) for i, kind in enumerate((*KINDS, "PPM", "TGA", "ICO", "PCX", "SGI", "QOI"))]


def deep(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(99, dtype=np.uint16).reshape(9, 11) * 600).save(file, kind)
    return file.getvalue()


IMAGES += [deep("PNG"), deep("TIFF")]


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """Returns the result of a call, or the text of its one-line error."""
    try:
        return call(*arguments)
    except (ValueError, OSError) as error:
        return str(error)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draws an image of some format with a few bytes replaced, inserted or removed."""
    content = bytearray(draw(st.sampled_from(IMAGES)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@fuzzed
@given(st.one_of(st.binary(max_size=200), damaged()), st.sampled_from([1, 3]))
def test_any_bytes_are_an_image_or_one_line(content: bytes, channels: int) -> None:
    image = outcome(decode, content, channels)
    if isinstance(image, str):
        assert image and "\n" not in image and "0x" not in image
        return
    assert image.mode == {1: "L", 3: "RGB"}[channels] and min(image.size) > 0
    value, bits = brightest(content)
    assert 0 <= value < 2**bits


NAMES = st.one_of(
    st.sampled_from(["a.png", "./a.png", "b/../a.png", "b", "none.png", "pipe", "", "\0", "x" * 300]),
    st.text(max_size=12),
)
LABELS = st.one_of(st.sampled_from(["a", "a ", "V\u00f6gel", "Vo\u0308gel", "", " "]), st.text(max_size=6))
LINES = st.one_of(
    st.tuples(NAMES, LABELS).map(",".join),
    st.tuples(NAMES, LABELS).map(lambda pair: f'"{pair[0]}","{pair[1]}"'),
    st.text(max_size=30),
)
TABLES = st.tuples(
    st.sampled_from(["path,label\n", "split,class\n", "\ufeffpath,label\r\n", ""]), st.lists(LINES, max_size=5)
).map(lambda parts: (parts[0] + "\n".join(parts[1])).encode(errors="surrogatepass"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("list")
    (folder / "a.png").write_bytes(IMAGES[0])
    (folder / "b").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


@fuzzed
@given(content=st.one_of(TABLES, st.binary(max_size=100)))
def test_any_bytes_are_a_list_or_one_line(folder: Path, content: bytes) -> None:
    (path := folder / "list.csv").write_bytes(content)
    classes = outcome(files_by_list, path)
    if isinstance(classes, str):
        assert str(path) in classes
        return
    assert classes and all(name == class_name(name) != "" for name in classes)
    assert all(os.path.isfile(file) for files in classes.values() for file in files)


@fuzzed
@given(content=st.one_of(TABLES, st.binary(max_size=100)))
def test_any_bytes_are_a_manifest_or_one_line(folder: Path, content: bytes) -> None:
    (path := folder / "manifest.csv").write_bytes(content)
    classes = outcome(read_manifest, path)
    if isinstance(classes, str):
        assert classes.startswith(f"{path} is not a CSV file of split,class (")
        return
    names = sum(classes.values(), ())
    assert list(classes) == ["train", "val", "test"] and len(names) == len({class_name(name) for name in names})


@settings(fuzzed, max_examples=fuzzed.max_examples // 20)
@given(contents=st.lists(st.one_of(st.binary(max_size=50), damaged()), min_size=1, max_size=3))
def test_any_files_among_the_images(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "images"
    write(root)
    for number, content in enumerate(contents):
        (root / f"class b/{number}.x").write_bytes(content)
    banks = source(root, max_unreadable=0.5).load()
    sizes = {name: len(rows) for bank in banks.values() for name, rows in zip(bank.names, bank.rows, strict=True)}
    assert (
        4 <= sizes["class b"] <= 4 + len(contents) and sum(sizes.values()) - sizes["class b"] == sum(SIZES.values()) - 4
    )
