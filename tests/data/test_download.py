"""Downloads from a server on this machine, and archives with harmful names."""

import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from metalearn.data.files.download import download, zip_members

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """Server of one file on 127.0.0.1 that records requests and responses."""

    url: str = ""
    ranges: bool = True  # whether Range requests are supported
    breaks_after: int | None = None  # bytes of a body after which the connection ends
    asked: list[str | None] = field(default_factory=list)  # Range header of each request
    sent: list[int] = field(default_factory=list)  # bytes of each body


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if not self.path.endswith("/file.zip"):
                self.send_error(404)
                return
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            body = CONTENT[start:][: state.breaks_after]
            state.sent.append(len(body))
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/file.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.zip"
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file.zip"]
    assert server.asked == [None]


def test_a_file_that_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(b"put here by hand")
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == b"put here by hand" and server.asked == []


def test_a_part_is_continued_and_only_the_rest_is_sent(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:200_000])
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=200000-"] and server.sent == [100_000]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    path = tmp_path / "file.zip"
    (tmp_path / "file.zip.part").write_bytes(b"x" * 200_000)
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT and server.sent == [300_000]


def test_a_whole_part_is_only_renamed(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT and server.asked == []


def test_a_part_longer_than_the_file_starts_anew(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    (tmp_path / "file.zip.part").write_bytes(b"x" * 300_001)
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=300001-", None]  # the first request is answered by 416


def test_a_broken_connection_keeps_the_part(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    server.breaks_after = 120_000
    with pytest.raises(OSError, match="ended after 120,000 of 300,000 bytes.*continues from the 120,000"):
        download(server.url, path, md5=MD5)
    assert not path.exists()
    server.breaks_after = None
    download(server.url, path, md5=MD5)
    assert path.read_bytes() == CONTENT and server.sent == [120_000, 180_000]


def test_a_wrong_sum_deletes_the_part(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"has the md5 {MD5} instead of {'0' * 32}") as caught:
        download(server.url, tmp_path / "file.zip", md5="0" * 32)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["{url}/no/such", "http://127.0.0.1:9/file.zip"])
def test_no_file_and_no_server_leave_nothing(server: Server, tmp_path: Path, address: str) -> None:
    with pytest.raises(OSError, match="^cannot download http.*(404|refused)") as caught:
        download(address.format(url=server.url), tmp_path / "file.zip", md5=MD5)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_downloads_at_the_same_time_are_one(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    jobs = [threading.Thread(target=download, args=(server.url, path), kwargs={"md5": MD5}) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert path.read_bytes() == CONTENT and server.sent == [300_000]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "C:/evil"])
def test_names_outside_the_folder_are_refused(name: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("fine/a.png", b"")
        archive.writestr(zipfile.ZipInfo(name), b"")
        with pytest.raises(ValueError, match="outside its folder"):
            zip_members(archive)


def test_links_are_refused() -> None:
    link = zipfile.ZipInfo("images/a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        archive.writestr(link, "/etc/passwd")
        with pytest.raises(ValueError, match="is a link"):
            zip_members(archive)


def test_plain_names_pass_and_folders_are_left_out() -> None:
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        archive.mkdir("images")
        archive.writestr("images/a..b.png", b"")
        assert [member.filename for member in zip_members(archive)] == ["images/a..b.png"]
