"""Searches by Optuna: samplers, and the loop on shell commands that stand for runs."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from optuna.trial import TrialState

from metalearn.hydra_plugins import search, search_space
from metalearn.hydra_plugins.best import Findings
from metalearn.hydra_plugins.jobs import FreshProcess, Job
from metalearn.hydra_plugins.screen import Screen
from metalearn.hydra_plugins.slots import Slots
from metalearn.hydra_plugins.study import open_study
from metalearn.hydra_plugins.trials import Trials
from metalearn.runner.trial import TrialAddress, open_storage

SCORE = """awk "BEGIN { print 1 - ($x - 0.3)^2 }" """
COMPLETED = f"""echo "{{\\"status\\": \\"completed\\", \\"seconds\\": {{}}, \\"val\\": {{\\"accuracy\\":
    {{\\"mean\\": $({SCORE.strip()}), \\"ci95\\": 0}}}}}}" > result.json"""


class Controller:
    """A process that searches for the best x; `script` is what a run does, with x in its environment."""

    def __init__(
        self,
        folder: Path,
        *,
        script: str = COMPLETED,
        params: str = "interval(0,1)",
        sampler: str = "random",
        seed: int | None = 0,
        n_trials: int = 4,
        slots: int = 2,
        storage: str | None = None,
    ) -> None:
        self.folder, self.script, self.slots = folder, script, Slots(["a"] * slots, gpu=False, threads=1)
        folder.mkdir(parents=True, exist_ok=True)
        space, fixed = search_space.read({"x": params}, ["y=1"])
        storage = storage or str(folder / "study.log")
        self.study = open_study(
            storage, name="s", direction="maximize", space=space, fixed=fixed, sampler=sampler, seed=seed
        )
        address = partial(TrialAddress, storage, "s", pruner="none")
        self.trials = Trials(self.study, space=space, fixed=fixed, n_trials=n_trials, folder=folder, address=address)
        self.jobs: list[Job] = []

    def run(self) -> signal.Signals | None:
        screen = Screen(self.jobs, common=["y=1"])
        findings = Findings(self.trials, score="accuracy", screen=screen, folder=self.folder)
        received = search.run(
            self.trials,
            self.jobs,
            slots=self.slots,
            start=self._start,
            processes=lambda job: 1,
            screen=screen,
            say_end=findings.say_end,
            timeout=None,
            retries=0,
        )
        findings.table()
        findings.write()
        return received

    def _start(self, job: Job, places: list[str], held: IO[str]) -> FreshProcess:
        value = next(override for override in job.overrides if override.startswith("x=")).removeprefix("x=")
        environment = {**os.environ, **job.environment, "x": value}
        command = ["sh", "-c", f"cd {job.folder}; {self.script}"]
        return FreshProcess(command, log=job.log, environment=environment, held=held)

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.get_trials()]

    def values(self, *states: TrialState) -> list[Any]:
        return [trial.params["x"] for trial in self.study.get_trials(states=states or (TrialState.COMPLETE,))]


def of_a_dead_process(controller: Controller) -> Controller:
    """The same, as if it ran in a process that is gone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    controller.trials._owner = f"{socket.gethostname()}:{gone.pid}"
    return controller


# --- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "sampler", "message"),
    [
        ("0.5", "tpe", "the search has nothing to vary"),
        ("tag(log, interval(0, 1))", "tpe", "is no search space"),
        ("range(3, 3)", "tpe", "the range is empty"),
        ("interval(0, 1)", "grid", "a grid cannot hold all of x"),
        ("interval(0, 1)", "best", "hydra.sweeper.sampler=best must be"),
    ],
)
def test_a_wrong_search_is_refused(tmp_path: Path, params: str, sampler: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Controller(tmp_path, params=params, sampler=sampler)
    assert "\n" not in str(raised.value)


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    Controller(tmp_path)
    Controller(tmp_path, n_trials=9, sampler="tpe")
    with pytest.raises(ValueError, match="is of another search: for x it has Float.*high=1.*this command .*high=2"):
        Controller(tmp_path, params="interval(0, 2)")


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_search_that_goes_on_draws_what_one_that_does_not_stop_draws(tmp_path: Path, sampler: str) -> None:
    options: dict[str, Any] = {"sampler": sampler, "slots": 1}
    whole = Controller(tmp_path / "whole", n_trials=14, **options)
    whole.run()
    for n_trials in (3, 14, 14):
        parts = Controller(tmp_path / "parts", n_trials=n_trials, **options)
        parts.run()
    assert parts.values() == whole.values()
    assert len(set(whole.values())) == 14
    assert len(parts.jobs) == 0


def test_tpe_finds_the_best_x(tmp_path: Path) -> None:
    controller = Controller(tmp_path, sampler="tpe", n_trials=25)
    controller.run()
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["parameters"]["x"] == pytest.approx(0.3, abs=0.1)
    assert best["val_accuracy"] == pytest.approx(1, abs=0.01)
    assert best["overrides"] == ["y=1", f"x={best['parameters']['x']}"]
    assert best["command"] == f"python -m metalearn y=1 x={best['parameters']['x']}"
    assert (tmp_path / best["directory"] / "result.json").is_file()


# --- what becomes of trials -------------------------------------------------------------------------------------------


def test_failed_and_pruned_trials(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pruned = """echo '{"status": "pruned", "seconds": {}}' > result.json"""
    script = f"case $PWD in *0001) {pruned};; *0002) echo no luck; exit 1;; *) {COMPLETED};; esac"
    controller = Controller(tmp_path, script=script, n_trials=4, slots=1)
    assert controller.run() is None
    assert controller.states() == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert controller.trials.is_over
    printed = capfd.readouterr().out
    assert "4 of 4 trials: 3 completed, 1 pruned, 1 failed" in printed
    assert f"(exit code 1): {tmp_path}/0002/stdout.log" in printed
    assert f"trial 0002 failed: {tmp_path}/0002/stdout.log" in printed


def test_a_search_of_failures_alone_ends(tmp_path: Path) -> None:
    controller = Controller(tmp_path, script="exit 1", n_trials=20, slots=1)
    controller.run()
    assert controller.states() == ["FAIL"] * search.FAILURES_IN_A_ROW
    assert not controller.trials.is_over


def test_a_signal_hands_over_what_runs(tmp_path: Path) -> None:
    """An interrupted trial goes on in its directory, with its parameters; no result is lost."""
    script = f"if [ -e saved ]; then {COMPLETED}; else touch saved; while true; do sleep 0.05; done; fi"
    controller = Controller(tmp_path, script=script, n_trials=3)
    waits = (
        f"cd {tmp_path}; while [ ! -e 0000/saved ] || [ ! -e 0001/saved ]; do sleep 0.05; done; kill -15 {os.getpid()}"
    )
    with subprocess.Popen(["sh", "-c", waits]):
        assert controller.run() == signal.SIGTERM
    assert controller.states() == ["FAIL", "FAIL", "WAITING", "WAITING"]
    first = controller.values(TrialState.FAIL)
    again = Controller(tmp_path, script=COMPLETED, n_trials=3)
    again.run()
    assert sorted(again.values()[:2]) == sorted(first)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"0000", "0001", "0004"}
    assert not again.trials.failed()


@pytest.mark.parametrize("left", ["at work", "completed", "nothing"])
def test_the_trials_of_a_dead_controller_are_taken_over(tmp_path: Path, left: str) -> None:
    dead = of_a_dead_process(Controller(tmp_path, n_trials=2))
    job = dead.trials.ask()
    assert job is not None
    job.folder.mkdir()
    living = Controller(tmp_path, n_trials=2)
    held = job.begin() if left == "at work" else None
    if left == "completed":
        (job.folder / "result.json").write_text(
            '{"status": "completed", "seconds": {}, "val": {"accuracy": {"mean": 0.5, "ci95": 0}}}'
        )
    living.trials.look_after()
    states = {"at work": ["RUNNING"], "completed": ["COMPLETE"], "nothing": ["FAIL", "WAITING"]}
    assert living.states() == states[left]
    if held is not None:
        held.close()
    living.run()
    assert living.trials.num_finished == 2
    assert job.overrides[1].removeprefix("x=") in map(str, living.values())
    assert len(set(living.values())) == 2


def test_a_living_controller_keeps_its_trials_while_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living, other = Controller(tmp_path), Controller(tmp_path)
    elsewhere = "another-machine:1"
    living.trials._owner = elsewhere
    living.trials.ask()
    other.trials.look_after()
    assert other.states() == ["RUNNING"]
    now = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: now)
    living.trials._beaten -= 100
    living.trials.look_after()
    other.trials._looked -= 100
    other.trials.look_after()
    assert other.states() == ["RUNNING"]
    monkeypatch.setattr(time, "time", lambda: now + 301)
    other.trials._looked -= 100
    other.trials.look_after()
    assert other.states() == ["FAIL", "WAITING"]


def test_who_was_taken_for_dead_wrongly_does_no_harm(tmp_path: Path) -> None:
    slow, quick = Controller(tmp_path), Controller(tmp_path)
    job = of_a_dead_process(slow).trials.ask()
    quick.trials.look_after()
    job.status = "completed"
    job.folder.mkdir()
    (job.folder / "result.json").write_text('{"status": "completed", "val": {"accuracy": {"mean": 0.5, "ci95": 0}}}')
    slow.trials._beaten -= 100
    slow.trials.look_after()
    slow.trials.tell(job)
    assert slow.states() == ["FAIL", "WAITING"]


def test_a_directory_with_another_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000/result.json").write_text('{"status": "completed"}')
    with pytest.raises(ValueError, match="0000 holds a run of another search"):
        Controller(tmp_path).run()
    assert (tmp_path / "0000/result.json").read_text() == '{"status": "completed"}'


# --- several controllers, and storages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server of its own on the loopback."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/nowhere")]
    if not (programs[-1] / "initdb").exists():
        pytest.skip("Debian's postgresql is not installed")
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}  # it refuses root
    folder = Path(tempfile.mkdtemp(prefix="metalearn-postgresql-"))
    if user:
        shutil.chown(folder, **user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        command = [str(programs[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)

    call("initdb", "-U", "metalearn", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    call("pg_ctl", "start", "-w", "-o", options, "-l", str(folder / "log"))
    try:
        yield f"postgresql+psycopg://metalearn@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else str(tmp_path / "study.log")


def test_several_controllers_make_no_duplicates_and_no_trial_too_many(tmp_path: Path, storage: str) -> None:
    of_a_dead_process(Controller(tmp_path, storage=storage, n_trials=6)).trials.ask()
    controllers = [Controller(tmp_path, storage=storage, n_trials=6) for _ in range(2)]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = controllers[0].values()
    assert len(values) == len(set(values)) == 6
    assert sum(len(controller.jobs) for controller in controllers) == 6
    assert not controllers[0].study.get_trials(states=(TrialState.RUNNING,))


def test_a_grid_has_every_point_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"params": "range(0,6)", "sampler": "grid", "n_trials": 100}
    of_a_dead_process(Controller(tmp_path, **options)).trials.ask()
    controllers = [Controller(tmp_path, script=f"[ $x = 2 ] && exit 1; {COMPLETED}", **options) for _ in range(2)]
    threads = [threading.Thread(target=controller.run) for controller in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(controllers[0].values()) == [0, 1, 3, 4, 5]
    assert [trial.params["x"] for trial in controllers[0].trials.failed()] == [2]
    assert controllers[0].trials.is_over


def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password() -> None:
    with pytest.raises(ValueError, match="the study's postgresql") as raised:
        open_storage("postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)
