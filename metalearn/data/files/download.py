"""Downloads, and checks of the names inside downloaded archives.

pooch checks sums too, but restarts an interrupted download, and two processes would download twice.
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

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes


def download(url: str, path: Path, *, md5: str) -> None:
    """Downloads `url` to `path`, which appears only when it is complete and its checksum is right.

    Does nothing if `path` exists. A download continues from an interrupted one in `<path>.part`,
    and processes that want the same file wait for the first.

    Raises OSError if network or disk fails (the part is kept), and ValueError if the checksum is
    wrong (the part is deleted), each in one line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    while not path.exists():
        with part.open("a+b") as file:
            # Some network file systems have no locks; there only the checksum guards.
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
    """Returns `unpacked` if it exists, else `packed`, downloaded if absent.

    Raises FileNotFoundError in one line: what to put where.
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
    """Appends the missing rest of `url` to the file. Raises OSError if that fails."""
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
        error.close()
        if error.code != 416 or not start:
            raise
        file.truncate(0)  # 416: the part is longer than the file, so it is no part of it
        _append(url, file)
        return
    with response, _bar() as bar:
        # The server does not support ranges and sends everything.
        if start and response.status != 206:
            start = 0
            file.truncate(0)
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total, completed=start)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.advance(task, len(chunk))
    # To http.client, a connection that ends early looks like the end of the file.
    if total is not None and (size := file.seek(0, os.SEEK_END)) < total:
        raise OSError(f"the connection ended after {size:,} of {total:,} bytes")


def _bar() -> Progress:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _md5(file: BufferedRandom) -> str:
    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Lists the files of a zip. Raises ValueError for a path outside the folder or a link.

    The package reads images straight from the zip, so it writes none of these names. Such an
    archive is malicious, however, and a user may unpack it by hand.
    """
    for member in archive.infolist():
        check_member(member.filename, is_link=stat.S_ISLNK(member.external_attr >> 16))
    return [member for member in archive.infolist() if not member.is_dir()]


def check_member(name: str, *, is_link: bool) -> None:
    """Raises ValueError if a member of an archive is a link or leads out of its folder."""
    steps = name.replace("\\", "/").split("/")
    if ".." in steps or steps[0] == "" or ":" in steps[0]:
        raise ValueError(f"the member '{name}' would be written outside its folder")
    if is_link:
        raise ValueError(f"the member '{name}' is a link")
