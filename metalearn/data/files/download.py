"""Files from the network, and the names inside an archive that came from there.

pooch checks sums too, but begins anew what was interrupted, and lets two processes fetch the same file.
"""

import contextlib
import fcntl
import hashlib
import os
import stat
import urllib.request
import zipfile
from http.client import HTTPException
from io import BufferedRandom
from pathlib import Path
from urllib.error import HTTPError

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

TIMEOUT = 30  # seconds without one byte
CHUNK = 1 << 16  # bytes


def download(url: str, path: Path, *, md5: str) -> None:
    """Fetch `url` into the file `path`, which appears only when it is whole and its sum is right.

    Does nothing when `path` exists. What an interrupted download left in `<path>.part` is continued, and
    processes that want the same file at the same time wait for the first. Raises OSError when the network or
    the disk fails (the part is kept for the next time) and ValueError when the sum is wrong (the part is
    deleted), each with one line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    while not path.exists():
        with part.open("a+b") as file:
            # Some network file systems have no locks; there the sum alone guards.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if not part.exists() or not os.path.samefile(part, file.fileno()):
                continue  # while this process waited, another one finished or deleted the part
            if _md5(file) != md5:
                _fetch_rest(url, file, part)
            if (found := _md5(file)) != md5:
                part.unlink()
                raise ValueError(f"{url} has the md5 {found} instead of {md5}; the download is deleted")
            os.replace(part, path)


def found_or_downloaded(unpacked: Path, packed: Path, url: str, *, md5: str) -> Path:
    """`unpacked` where it is there; else `packed`, which is downloaded when it is absent too.

    Raises FileNotFoundError with one line that says what to put where.
    """
    if unpacked.exists():
        return unpacked
    try:
        download(url, packed, md5=md5)
    except (OSError, ValueError) as error:
        advice = f"put {packed.name} or {unpacked.name} into {unpacked.parent.absolute()}"
        raise FileNotFoundError(f"{unpacked.name} is missing; {advice} ({error})") from error
    return packed


def _fetch_rest(url: str, file: BufferedRandom, part: Path) -> None:
    """Append to the file what it lacks of `url`; OSError when that fails."""
    try:
        _append(url, file)
    except (OSError, HTTPException) as error:
        file.flush()
        if not (size := os.path.getsize(part)):
            part.unlink()
        kept = f"; the next try continues from the {size:,} bytes in {part}" if size else ""
        raise OSError(f"cannot download {url} ({str(error).strip('<>')}){kept}") from error


def _append(url: str, file: BufferedRandom) -> None:
    start = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        file.truncate(0)  # 416: the part is longer than the file, so it is not a part of it
        _append(url, file)
        return
    with response, _bar() as bar:
        if start and response.status != 206:  # the server has no ranges and sends everything
            start = 0
            file.truncate(0)
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total, completed=start)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.advance(task, len(chunk))
    # A connection that ends early looks to http.client like the end of the file.
    if total is not None and (size := file.seek(0, os.SEEK_END)) < total:
        raise OSError(f"the connection ended after {size:,} of {total:,} bytes")


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _md5(file: BufferedRandom) -> str:
    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of a zip; ValueError when a name leads out of the folder, or a member is a link.

    The package reads images straight from the zip and so writes none of these names, but an archive that has
    such a member was made to do harm, and whoever unpacks it by hand should know.
    """
    for member in archive.infolist():
        check_member(member.filename, is_link=stat.S_ISLNK(member.external_attr >> 16))
    return [member for member in archive.infolist() if not member.is_dir()]


def check_member(name: str, *, is_link: bool) -> None:
    """The same of one member of any archive."""
    steps = name.replace("\\", "/").split("/")
    if ".." in steps or steps[0] == "" or ":" in steps[0]:
        raise ValueError(f"the member '{name}' would be written outside its folder")
    if is_link:
        raise ValueError(f"the member '{name}' is a link")
