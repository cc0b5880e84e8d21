"""Reading checkpoints: damaged, of another format, made by hand, or valid."""

import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from origins import facts

from metalearn.run.directory.checkpoint import load_backbone
from metalearn.run.directory.checkpoint_file import read_checkpoint, read_origin

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def checkpoint(metalearn) -> bytes:
    finished = metalearn("trainer.max_steps=2")
    assert finished.code == 0, finished.text
    return (finished.folder / "checkpoints/best.ckpt").read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.ckpt"


def plain(node: Any) -> Any:
    """Replaces the tensors of a tree by their bytes, which can be compared."""
    if isinstance(node, dict):
        return {key: plain(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [plain(child) for child in node]
    return (node.shape, node.numpy().tobytes()) if isinstance(node, torch.Tensor) else node


def is_refused(path: Path, content: bytes, right: Any) -> bool:
    """Whether a file is refused in one line; fails if it reads as other content."""
    path.write_bytes(content)
    try:
        read = read_checkpoint(path)
    except (ValueError, OSError) as error:
        line = str(error)
    else:
        assert plain(read) == right
        return False
    assert line.startswith(f"{path} is ") and "\n" not in line and len(line) < 500
    return True


def test_a_flipped_bit_is_refused_or_harmless(checkpoint: bytes, path: Path) -> None:
    path.write_bytes(checkpoint)
    right = plain(read_checkpoint(path))
    drawn = random.Random(0)
    directory = checkpoint.index(b"PK\x01\x02") * 8  # start of the list of records
    places = [drawn.randrange(len(checkpoint) * 8) for _ in range(200)]
    places += [drawn.randrange(directory, len(checkpoint) * 8) for _ in range(100)]
    refused = 0
    for place in places:
        content = bytearray(checkpoint)
        content[place // 8] ^= 1 << place % 8
        refused += is_refused(path, bytes(content), right)
    assert refused > 200  # the other bits are in the padding between records, and in dates


def test_a_flipped_bit_in_each_record_is_refused(checkpoint: bytes, path: Path) -> None:
    path.write_bytes(checkpoint)
    with zipfile.ZipFile(path) as archive:
        records = [info for info in archive.infolist() if info.file_size]
    assert len(records) > 50
    for record in records:
        content, header = bytearray(checkpoint), record.header_offset
        lengths = (content[header + 26 : header + 28], content[header + 28 : header + 30])
        content[header + 30 + sum(int.from_bytes(length, "little") for length in lengths)] ^= 1
        path.write_bytes(bytes(content))
        message = f"^{path} is damaged \\(record '{record.filename}': Bad CRC-32 .*: copy it again, or use another"
        with pytest.raises(ValueError, match=message):
            read_checkpoint(path)


def test_a_record_that_says_it_is_a_folder_is_refused(checkpoint: bytes, path: Path) -> None:
    """Refuses a record that PyTorch would skip, leaving its tensor uninitialised."""
    content = bytearray(checkpoint)
    content[checkpoint.rindex(b"PK\x01\x02") + 38] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="a record is a folder"):
        read_checkpoint(path)


@QUICK
@given(st.data())
def test_cut_moved_and_filled_bytes_are_refused_or_harmless(checkpoint: bytes, tmp_path: Path, data: Any) -> None:
    path = tmp_path / "one.ckpt"
    path.write_bytes(checkpoint)
    right = plain(read_checkpoint(path))
    begin = data.draw(st.integers(0, len(checkpoint)))
    end = data.draw(st.integers(begin, min(len(checkpoint), begin + 4096)))
    filling = data.draw(st.binary(max_size=64))
    is_refused(path, checkpoint[:begin] + filling + checkpoint[end:], right)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("executed",)


ORIGIN = facts("seed=1")
WHOLE = {"metalearn": ORIGIN, "state_dict": {"w": torch.zeros(2)}, "global_step": 3}
SCORE = {"mean": 0.5, "std": 0.1, "ci95": 0.1, "num_episodes": 5}


@pytest.mark.parametrize("val", [None, {}, {"accuracy": SCORE}])
def test_a_whole_checkpoint_is_read(path: Path, val: Any) -> None:
    torch.save(WHOLE | {"val": val}, path)
    assert plain(read_checkpoint(path)) == plain(WHOLE | {"val": val})
    assert read_origin(path).facts() == ORIGIN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"metalearn": {"overrides": Evil()}}, "it holds print, which is not loaded because it could run code"),
        ({"a": Path("x")}, "it holds pathlib.* which is not loaded because it could run code"),
        ({"state_dict": {}, "pytorch-lightning_version": "2"}, "it is a checkpoint of another project with PyTorch L"),
        ({"state_dict": {}}, "it is other data"),
        ([1], "it is other data"),
        (WHOLE | {"metalearn": 3}, "it is 3, not a group of keys"),
        (WHOLE | {"metalearn": ORIGIN | {"overrides": [1]}}, r"overrides\[0\] is 1, not a text"),
        (WHOLE | {"metalearn": ORIGIN | {"overrides": "seed=1"}}, "overrides is 'seed=1', not a list"),
        (WHOLE | {"metalearn": ORIGIN | {"num_base_classes": "x"}}, "num_base_classes is 'x', not a whole number"),
        (WHOLE | {"metalearn": {"overrides": []}}, "dataset is missing"),
        (WHOLE | {"state_dict": [1]}, "its state_dict is not a dictionary of tensors"),
        (WHOLE | {"state_dict": {"w": 1}}, "its state_dict is not a dictionary of tensors"),
        (WHOLE | {"global_step": None}, "its global_step is None, not a number of steps"),
        (WHOLE | {"val": "x"}, "its val is 'x', not a group of keys"),
        (WHOLE | {"val": {"accuracy": SCORE | {"mean": "x"}}}, "its val.accuracy.mean is 'x', not a number"),
    ],
)
def test_what_is_made_by_hand_is_refused_in_one_line(path: Path, content: Any, message: str, capsys) -> None:
    torch.save(content, path)
    with pytest.raises(ValueError, match=f"^{path} is not a checkpoint of metalearn: {message}[^\n]*$"):
        read_checkpoint(path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a checkpoint of metalearn: it is empty"),
        (b"no checkpoint\nat all", "is not a checkpoint of metalearn: it is a text that begins with 'no checkpoint'"),
        (b"\x80\x02}q.", "is not a checkpoint of metalearn: it begins with b'.*', unlike a file of PyTorch 1.6"),
        (b"PK\x03\x04", r"is damaged \(its list of records; it may be cut short: "),
    ],
)
def test_what_is_no_zip_file_is_refused_in_one_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    for read in (read_checkpoint, read_origin):
        with pytest.raises(ValueError, match=f"^{path} {message}[^\n]*$"):
            read(path)
    with pytest.raises(ValueError, match=f"^pretrained: {path} {message}[^\n]*$"):
        load_backbone(path, torch.nn.Linear(1, 1), "conv4")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"^there is no checkpoint {tmp_path}/x$"):
        read_checkpoint(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path} is a folder, not a checkpoint$"):
        read_checkpoint(tmp_path)
