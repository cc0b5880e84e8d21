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
    done = subprocess.run([sys.executable, "-m", *words], check=False)
    if done.returncode:
        raise ValueError(f"{typed(*words)} ended with {done.returncode}")
