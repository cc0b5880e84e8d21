"""Untrusted pickles: allowed content, and no code execution."""

import builtins
import datetime
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_images import dumped, encoded, pixels

from metalearn.data.files.pickles import load_plain, pngs_in

PROTOCOLS = [0, 1, 2, 3, 4, 5, "python 2"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_dicts_lists_strings_and_numbers_are_read(tmp_path: Path, protocol: int | str) -> None:
    content = {
        "images": pixels(0),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3), np.float32),
        "names": np.array(["ab", "cde"]),
        "scalars": [np.int64(7), np.float32(0.5), True, None, 3, 2.5],
        "text": ["a", ("b", 1)],
        "long": "x" * 300,
    }
    (tmp_path / "file").write_bytes(dumped(content, protocol))
    found = load_plain(tmp_path / "file")
    assert found.keys() == content.keys()
    for name in ("images", "fortran", "big endian", "empty", "names"):
        np.testing.assert_array_equal(found[name], content[name])
        assert found[name].dtype == content[name].dtype
    assert found["scalars"] == [7, 0.5, True, None, 3, 2.5]
    assert found["text"] == ["a", ["b", 1]] and found["long"] == content["long"]


class Code:
    """Code that a pickle would run when loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def persistent(path: Path) -> bytes:
    return b"cos\nsystem\n(S'touch " + str(path).encode() + b"'\ntR."


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_not_run(tmp_path: Path, protocol: int) -> None:
    evil = tmp_path / "evil"
    for number, code in enumerate(
        [
            Code(os.system, f"touch {evil}"),
            Code(builtins.eval, f"open({str(evil)!r}, 'w')"),
            Code(np.load, str(evil)),
            Code(np.memmap, str(evil), "uint8", "w+", 0, (3,)),
            {"image_data": pixels(0), "class_dict": {"n1": [Code(os.mkdir, str(evil))]}},
        ]
    ):
        file = tmp_path / f"file{number}"
        file.write_bytes(pickle.dumps(code, protocol))
        with pytest.raises(ValueError, match=rf"^{file} is not a pickle of arrays, .*it asks for ") as caught:
            load_plain(file)
        assert "\n" not in str(caught.value)
        assert list(pngs_in(file)) == []
    (tmp_path / "old").write_bytes(persistent(evil))
    with pytest.raises(ValueError, match=r"it asks for os.system"):
        load_plain(tmp_path / "old")
    assert not evil.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(datetime.date(2020, 1, 1), id="date"),
        pytest.param(OrderedDict(a=1), id="another dict"),
        pytest.param({1, 2}, id="set"),
        pytest.param(np.array([object], dtype=object), id="objects"),
        pytest.param(np.zeros(2, [("a", "u1"), ("b", "f4")]), id="fields"),
        pytest.param(os.system, id="function"),
        pytest.param(np.dtype("u1"), id="type alone"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "file").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"is not a pickle of arrays, dicts, lists, strings and numbers \(.+\)$"):
        load_plain(tmp_path / "file")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"image_data": pixels(0), "labels": list(range(100))})
    file = tmp_path / "file"
    rng = np.random.default_rng(0)
    damaged = [b"", b"no pickle", *(whole[:end] for end in range(0, len(whole), 20))]
    damaged += [bytes(rng.integers(0, 256, 200, dtype=np.uint8)) for _ in range(100)]
    # Object outside the file; list that contains itself.
    damaged += [b"P1\n.", b"\x80\x02]q\x00h\x00a."]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is not a pickle") as caught:
            load_plain(file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_png_images_are_found_in_their_order(tmp_path: Path, protocol: int | str) -> None:
    pngs = [encoded(pixels(i), "PNG") for i in range(3)]
    content = [np.frombuffer(png, np.uint8)[:, None] for png in pngs]  # form of OpenCV's encoder
    file = tmp_path / "file"
    file.write_bytes(dumped(content, protocol))
    assert list(pngs_in(file)) == pngs
    file.write_bytes(dumped(content, protocol)[:-400])
    with pytest.raises(ValueError, match="is a damaged pickle"):
        list(pngs_in(file))
