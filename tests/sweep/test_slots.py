"""The places where the jobs of a sweep run."""

import os
from pathlib import Path

import pytest
from sweeping import DONE, Sweep

from metalearn.sweep.slots import Slots, make_slots, visible_gpus


def test_slots_are_gpus_or_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    both = make_slots("auto", None)
    assert (both.free, both.gpu, both.threads) == (["2", "3"], True, 4)
    assert make_slots(3, None).free == ["2", "3", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = make_slots("auto", None)
    assert (cores.capacity, cores.gpu, cores.threads) == (8, False, 1)
    assert make_slots("auto", 2).capacity == 4
    assert (make_slots(2, None).threads, make_slots([0, 0, 1], None).gpu) == (4, True)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert (make_slots("auto", None).capacity, make_slots("auto", None).threads) == (2, 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus() == ["0", "1"]
    for wrong in (0, -1, [], "all"):
        with pytest.raises(ValueError, match=r"hydra\.launcher\.slots="):
            make_slots(wrong, None)


def test_jobs_see_the_gpus_of_their_slots(tmp_path: Path) -> None:
    """Runs two jobs on GPU 0 and one on GPU 1 for [0,0,1]; a job of two processes has both GPUs."""
    at_work = tmp_path / "at_work"
    at_work.mkdir()
    wait = f"touch {at_work}/$$; while [ $(ls {at_work} | wc -l) -lt 3 ]; do sleep 0.05; done"
    script = f'echo "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS" > seen; {DONE}'
    sweep = Sweep(tmp_path, [f"{wait}; {script}"] * 3 + [script])
    assert sweep.run(Slots(["0", "0", "1"], gpu=True, threads=3), widths={3: 2}) is None
    assert set(sweep.statuses) == {"completed"}
    seen = [(job.folder / "seen").read_text().strip() for job in sweep.jobs]
    assert sorted(seen[:3]) == ["0 3", "0 3", "1 3"]
    assert sorted(seen[3].partition(" ")[0].split(",")) == ["0", "1"]


def test_a_wide_job_waits_for_its_places_and_takes_all_when_there_are_fewer() -> None:
    slots = Slots(["0", "1"], gpu=True, threads=1)
    first = slots.take(1)
    assert slots.take(2) is None
    slots.give_back(first)
    both = slots.take(8)
    assert sorted(both) == ["0", "1"]
    assert slots.take(1) is None
    slots.give_back(both)
    assert sorted(slots.take(None)) == ["0", "1"]
