"""The file of a checkpoint: verified before anything in it is believed.

PyTorch writes a CRC-32 for each record of its zip format, and does not look at it when it reads.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

REMEDY = "copy it again, or take another checkpoint of its run"
STATISTICS = {"mean", "std", "ci95", "num_episodes"}
ZIP = b"PK\x03\x04"
ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, OverflowError, UnicodeDecodeError)


def best_of(path: Path) -> Path:
    """The checkpoint that a path names: of a run directory, or of its folder of checkpoints, the best one."""
    if not path.is_dir():
        return path
    return path / ("best.ckpt" if path.resolve().name == "checkpoints" else "checkpoints/best.ckpt")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """All that a checkpoint of metalearn holds; each record agrees with its checksum.

    Raises FileNotFoundError when there is no such file, and ValueError in one line when it is
    damaged, is of another format, or would need code to be loaded.
    """
    verify(path)
    checkpoint: dict[str, Any] = _loaded(path, mmap=False)
    _check_origin(path, checkpoint)
    origin = checkpoint["metalearn"]
    if not all(isinstance(origin.get(part), str) for part in ("dataset", "algorithm", "backbone")):
        raise _no_checkpoint(path, "it does not name its data set, algorithm and backbone")
    weights, step = checkpoint.get("state_dict"), checkpoint.get("global_step")
    if not isinstance(weights, dict) or not all(map(_is_weight, weights.items())):
        raise _no_checkpoint(path, "its state_dict is not a dictionary of tensors")
    if not isinstance(step, int) or isinstance(step, bool):
        raise _no_checkpoint(path, f"its global_step is {step!r:.40}, not a number of steps")
    if not _is_validation(checkpoint.get("val")):
        raise _no_checkpoint(path, "its val does not hold means with intervals")
    return checkpoint


def read_origin(path: Path) -> dict[str, Any]:
    """Which run wrote a checkpoint: its choices and overrides. Raises as `read_checkpoint` does.

    The weights are mapped and not read, since the command line needs this before anything else;
    whatever uses the weights afterwards reads the whole file.
    """
    verify(path, only="data.pkl")
    checkpoint = _loaded(path, mmap=True)
    _check_origin(path, checkpoint)
    origin: dict[str, Any] = checkpoint["metalearn"]
    return origin


def verify(path: Path, only: str = "") -> None:
    """Compare the records whose names end so with their checksums. Raises as `read_checkpoint` does."""
    if not path.is_file():
        is_folder = path.is_dir()
        raise FileNotFoundError(
            f"{path} is a folder, not a checkpoint" if is_folder else f"there is no checkpoint {path}"
        )
    with path.open("rb") as file:
        start = file.read(64)
    if not start.startswith(ZIP):
        raise _no_checkpoint(path, _description(start))
    record = ""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_plain(infos, path.stat().st_size)
            if not any(info.filename.endswith("/data.pkl") for info in infos):
                raise _no_checkpoint(path, "it is a zip file, but not one of PyTorch")
            for info in infos:
                record = info.filename
                if record.endswith(only):
                    _read_through(archive, info)
    except ZIP_ERRORS as error:
        where = f"record {record!a:.60}: " if record else "its list of records; it may be cut short: "
        raise ValueError(f"{path} is damaged ({where}{_line(error)}): {REMEDY}") from error


def _check_plain(records: list[zipfile.ZipInfo], size: int) -> None:
    """Raises BadZipFile for what PyTorch never writes, and reads in another way than Python does."""
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise zipfile.BadZipFile("a record is compressed")  # it could grow without limit
    if sum(record.file_size for record in records) > size:
        raise zipfile.BadZipFile("the records are larger than the file")
    if any(record.external_attr for record in records):
        raise zipfile.BadZipFile("a record is a folder")  # which PyTorch takes as read, and empty


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as file:
        while file.read(1 << 20):  # the checksum is compared at the end
            pass


def _loaded(path: Path, *, mmap: bool) -> Any:
    import torch  # late, because --help must not wait for it

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # whatever a file that is no checkpoint makes torch raise
        foreign = re.search(r"\bGLOBAL (\S+)", str(error))
        name = foreign[1] if foreign else "Python objects"
        objects = f"it holds {name}, which is not loaded since it could run code"
        is_pickle = isinstance(error, pickle.UnpicklingError)
        raise _no_checkpoint(path, objects if is_pickle else _line(error)) from error


def _check_origin(path: Path, checkpoint: Any) -> None:
    if not isinstance(checkpoint, dict) or "metalearn" not in checkpoint:
        of_lightning = isinstance(checkpoint, dict) and "pytorch-lightning_version" in checkpoint
        kind = "a checkpoint of another project of PyTorch Lightning" if of_lightning else "other data"
        raise _no_checkpoint(path, f"it is {kind}")
    origin = checkpoint["metalearn"]
    overrides = origin.get("overrides") if isinstance(origin, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise _no_checkpoint(path, "it does not record its overrides")
    if not isinstance(origin.get("num_base_classes", 0), int):
        raise _no_checkpoint(path, "its num_base_classes is not a number")


def _is_weight(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _is_validation(val: Any) -> bool:
    """Whether these are scores by name, or None of a run before its first validation."""
    if val is None:
        return True
    return isinstance(val, dict) and all(
        isinstance(score, dict)
        and score.keys() >= STATISTICS
        and all(isinstance(score[name], int | float) for name in STATISTICS)
        for score in val.values()
    )


def _description(start: bytes) -> str:
    if not start:
        return "it is empty"
    text = start.split(b"\n")[0].decode("ascii", errors="replace")
    if text.isprintable() and text.isascii():
        return f"it is a text that begins with {text[:30]!r}"
    return f"it begins with {start[:8]!r}, unlike a file of PyTorch 1.6 or later"


def _no_checkpoint(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is not a checkpoint of metalearn: {why}")


def _line(error: BaseException) -> str:
    """The first line of a message of a library."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
