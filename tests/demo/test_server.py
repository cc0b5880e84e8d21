"""Server of the demo: answers of the learner, and one line for anything else."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from demo_server import serving
from learners import checkpoint, learner

from metalearn.demo import default_run, server
from metalearn.demo.__main__ import main
from metalearn.demo.server import PAGE
from metalearn.demo.task import LARGEST, task_of

DOWN, ACROSS = [[[0.5, 0.1], [0.5, 0.9]]], [[[0.1, 0.5], [0.9, 0.5]]]
TASK = {"classes": [[DOWN, DOWN], [ACROSS]], "query": [[[0.2, 0.5], [0.8, 0.55]]]}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(learner(tmp_path_factory.mktemp("run"))) as address:
        yield address


def post(address: str, body: bytes, host: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/recognise", data=body, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_answer_is_that_of_the_learner(address: str, tmp_path: Path) -> None:
    status, text = post(address, json.dumps(TASK).encode())
    answer, ours = json.loads(text), learner(tmp_path)
    recogniser, task = server.Recogniser(ours), task_of(json.dumps(TASK).encode())
    ours.fit([recogniser.image(drawing) for drawing in task.support], task.ways)
    assert status == 200 and task.ways == [0, 0, 1]
    np.testing.assert_allclose(answer["probabilities"], ours.predict_proba([recogniser.image(task.query)])[0])
    assert answer["probabilities"][1] > 0.5 and answer["seen"].startswith("data:image/png;base64,")


def test_the_page_is_whole_and_names_its_run(address: str) -> None:
    html = urllib.request.urlopen(address, timeout=30).read().decode()
    for name in re.findall(r'(?:src|href)="(\w[\w.]*\.\w+)"', html):
        assert urllib.request.urlopen(f"{address}/{name}", timeout=30).status == 200
    assert all("//" not in re.sub(r"(^|\s)// .*", "", path.read_text()) for path in PAGE.iterdir())
    facts = json.loads(urllib.request.urlopen(f"{address}/run", timeout=30).read())
    assert facts["made_by"] == "prototypical on conv4, trained on glyphs" and facts["most_classes"] == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "not an object of classes and query"),
        ({"classes": [[DOWN]]}, "not an object of classes and query"),
        ({**TASK, "classes": []}, "characters: 1 to 20 are possible, not 0"),
        ({**TASK, "classes": [[DOWN]] * 21}, "characters: 1 to 20 are possible, not 21"),
        ({**TASK, "classes": [[DOWN], []]}, "drawings of character 2: 1 to 5 are possible, not 0"),
        ({**TASK, "query": "E"}, "strokes of a drawing: 1 to 40 are possible, not no list"),
        ({**TASK, "query": [[]]}, "points of a stroke: 1 to 2000 are possible, not 0"),
        ({**TASK, "query": [[[0, 0, 0]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[0, 0], [1]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[0, 1.5]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[0, float("nan")]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[0, {}]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[0, 10**400]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[0, 1]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[[True, 0.5]]]}, "two numbers from 0 to 1"),
        ({**TASK, "query": [[["0.2", "0.5"]]]}, "two numbers from 0 to 1"),
        (b" " * (LARGEST + 1), "larger than"),
    ],
)
def test_any_other_request_is_refused_in_a_line(address: str, given, message: str) -> None:
    status, text = post(address, given if isinstance(given, bytes) else json.dumps(given).encode())
    assert status == 400 and message in json.loads(text)["error"]


def test_more_characters_than_a_head_has_are_refused(tmp_path: Path) -> None:
    with serving(learner(tmp_path, "algorithm=maml")) as address:
        assert post(address, json.dumps(TASK).encode())[0] == 200
        status, text = post(address, json.dumps({**TASK, "classes": [[DOWN]] * 6}).encode())
    assert status == 400 and "classifies 5 ways, not 6" in json.loads(text)["error"]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_request_that_stays_unfinished_leaves_no_traceback(tmp_path: Path, capfd, leaves: bool) -> None:
    with socket.socket() as client, serving(learner(tmp_path)) as address:
        client.connect((server.HOST, int(address.rpartition(":")[2])))
        client.sendall(b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        urllib.request.urlopen(f"{address}/run", timeout=30).read()  # the server now waits for the rest
        if leaves:
            client.close()
    said = capfd.readouterr().err
    assert said == "" if leaves else re.fullmatch(r".*Cancel 1 running task\(s\), timeout.*\n", said)


def test_other_names_of_the_machine_are_refused(address: str) -> None:
    assert post(address, json.dumps(TASK).encode(), host="example.org")[0] == 400


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_it_serves_until_it_is_interrupted(tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupt(ready: server.Server) -> None:
        while not ready.started:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    def build(learner, build=server.server):
        ready = build(learner)
        threading.Thread(target=interrupt, args=[ready]).start()
        return ready

    monkeypatch.setattr(server, "server", build)
    code, out, err = call(capsys, checkpoint(tmp_path), "--port", 0)
    assert (code, err) == (0, "") and re.fullmatch(r"draw at http://127.0.0.1:\d+, end with Ctrl-C\n", out)


def test_what_cannot_be_served_says_so_in_a_line(tmp_path: Path, capsys, monkeypatch) -> None:
    run = checkpoint(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = call(capsys, run, "--port", port)
    assert code == 2 and f"port {port} is not free: choose another with --port N" in err and err.count("\n") == 1
    for wrong in (70_000, -1):
        code, _, err = call(capsys, run, f"--port={wrong}")
        assert (code, err) == (2, f"metalearn.demo: --port {wrong} must be from 0 to 65535\n")
    code, _, err = call(capsys, checkpoint(tmp_path, algorithm="prototypical", dataset="cub"))
    assert code == 2 and "trained on cub: the demo needs a run on glyphs" in err
    for algorithm in ("pt_map", "bd_cspn"):
        code, _, err = call(capsys, checkpoint(tmp_path, f"algorithm={algorithm}"))
        assert code == 2 and "so a single one has no information" in err and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = call(capsys, run)
    assert code == 2 and "uvicorn is missing: pip install -e '.[demo]'" in err


@pytest.mark.parametrize(
    ("status", "checkpoint", "command"),
    [
        (None, None, "hydra.run.dir={}"),
        (None, "last", "resume={}"),
        (None, "best", "resume={}"),  # killed in its first validation
        ("interrupted", "last", "resume={}"),
        ("failed", None, "hydra.run.dir={}"),
        ("completed", "last", None),
    ],
)
def test_the_default_run_is_trained_once(tmp_path: Path, monkeypatch, status, checkpoint, command) -> None:
    called = []
    monkeypatch.setattr(default_run.subcommands, "run_shown", lambda *words: called.append(words))
    if status:
        (tmp_path / "result.json").write_text(json.dumps({"status": status, "error": None, "test": None, "val": None}))
    if checkpoint:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / f"checkpoints/{checkpoint}.ckpt").touch()
    assert default_run.default_run(tmp_path) == tmp_path
    assert called == ([("metalearn", command.format(tmp_path))] if command else [])


SAVING = """
import signal, time
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    Path("saved").touch()
"""
SHOWING = """
import signal
from metalearn.predict.subcommands import run_shown

signal.signal(signal.SIGINT, signal.default_int_handler)
run_shown("saving")
"""


def test_ctrl_c_lets_a_training_save(tmp_path: Path) -> None:
    (tmp_path / "saving.py").write_text(SAVING)
    command = [sys.executable, "-c", SHOWING]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
    assert (tmp_path / "saved").exists()
