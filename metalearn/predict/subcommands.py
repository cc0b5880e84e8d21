"""Commands that a demonstration runs for its user, each shown before it begins."""

import shlex
import subprocess
import sys


def typed(*words: str) -> str:
    """Formats `python -m WORDS` as it is typed."""
    return "$ " + shlex.join(["python", "-m", *words])


def run_shown(*words: str) -> None:
    """Runs `python -m WORDS`. Raises ValueError if it fails."""
    print(typed(*words), flush=True)
    with subprocess.Popen([sys.executable, "-m", *words]) as program:
        try:
            code = program.wait()
        except KeyboardInterrupt:  # the program received it too, and saves; subprocess.run would kill it
            program.wait()
            raise
    if code:
        raise ValueError(f"{typed(*words)} ended with {code}")
