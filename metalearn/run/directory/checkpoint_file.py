"""The file of a checkpoint: verified before its content is used.

PyTorch writes a CRC-32 for each record of its zip format, but does not compare it when it reads.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from metalearn.formats import first_line
from metalearn.run.directory.origin import FACTS, Origin
from metalearn.run.directory.result import Evaluation

REMEDY = "copy it again, or use another checkpoint of its run"
ZIP = b"PK\x03\x04"
ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, OverflowError, UnicodeDecodeError)


def best_of(path: Path) -> Path:
    """Returns a checkpoint's path: the best one of a run directory or of its checkpoints/."""
    if not path.is_dir():
        return path
    return path / ("best.ckpt" if path.resolve().name == "checkpoints" else "checkpoints/best.ckpt")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint of metalearn, after a check of all checksums.

    Raises FileNotFoundError if the file is missing, and ValueError in one line if it is damaged,
    has another format, or would run code when it is loaded.
    """
    verify(path)
    checkpoint: dict[str, Any] = _loaded(path, mmap=False)
    _origin(path, checkpoint)
    weights, step = checkpoint.get("state_dict"), checkpoint.get("global_step")
    if not isinstance(weights, dict) or not all(map(_is_weight, weights.items())):
        raise _no_checkpoint(path, "its state_dict is not a dictionary of tensors")
    if not isinstance(step, int) or isinstance(step, bool):
        raise _no_checkpoint(path, f"its global_step is {step!r:.40}, not a number of steps")
    if (val := checkpoint.get("val")) is not None:  # None before the first validation
        try:
            Evaluation.of(val, "its val")
        except ValueError as error:
            raise _no_checkpoint(path, str(error)) from error
    return checkpoint


def read_origin(path: Path) -> Origin:
    """Returns the facts of the run that wrote a checkpoint.

    The weights are mapped, not read, so that the command line starts quickly; code that uses them
    later reads the whole file. Raises as `read_checkpoint` does.
    """
    verify(path, only="data.pkl")
    return _origin(path, _loaded(path, mmap=True))


def verify(path: Path, only: str = "") -> None:
    """Verifies the checksums of the records whose names end in `only`.

    Raises as `read_checkpoint` does.
    """
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
        raise ValueError(f"{path} is damaged ({where}{first_line(error)}): {REMEDY}") from error


def _check_plain(records: list[zipfile.ZipInfo], size: int) -> None:
    """Raises BadZipFile for records that PyTorch never writes and Python reads differently."""
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise zipfile.BadZipFile("a record is compressed")  # it could grow without limit
    if sum(record.file_size for record in records) > size:
        raise zipfile.BadZipFile("the records are larger than the file")
    if any(record.external_attr for record in records):
        raise zipfile.BadZipFile("a record is a folder")  # PyTorch would read it as empty


def _read_through(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as file:
        while file.read(1 << 20):  # the checksum is compared at the end
            pass


def _loaded(path: Path, *, mmap: bool) -> Any:
    import torch  # late: --help must not wait for it

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises any kind for a file that is not a checkpoint
        foreign = re.search(r"\bGLOBAL (\S+)", str(error))
        name = foreign[1] if foreign else "Python objects"
        objects = f"it holds {name}, which is not loaded because it could run code"
        is_pickle = isinstance(error, pickle.UnpicklingError)
        raise _no_checkpoint(path, objects if is_pickle else first_line(error)) from error


def _origin(path: Path, checkpoint: Any) -> Origin:
    if not isinstance(checkpoint, dict) or FACTS not in checkpoint:
        is_lightning = isinstance(checkpoint, dict) and "pytorch-lightning_version" in checkpoint
        kind = "a checkpoint of another project with PyTorch Lightning" if is_lightning else "other data"
        raise _no_checkpoint(path, f"it is {kind}")
    try:
        return Origin.of(checkpoint)
    except ValueError as error:
        raise _no_checkpoint(path, f"{error}; another version may have written it") from error


def _is_weight(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _description(start: bytes) -> str:
    if not start:
        return "it is empty"
    text = start.split(b"\n")[0].decode("ascii", errors="replace")
    if text.isprintable() and text.isascii():
        return f"it is a text that begins with {text[:30]!r}"
    return f"it begins with {start[:8]!r}, unlike a file of PyTorch 1.6 or later"


def _no_checkpoint(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is not a checkpoint of metalearn: {why}")
