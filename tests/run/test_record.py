"""Facts of the process in result.json."""

import subprocess
import sys

import pytest

STARTED = "from metalearn.run.record import peak_memory_bytes; print(peak_memory_bytes())"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_memory_of_a_run_is_its_own() -> None:
    """Memory of the process that starts the run, such as a notebook, is not the run's."""
    held = bytearray(10**9)
    said = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True).stdout
    assert 50 * 10**6 < int(said) < len(held)
