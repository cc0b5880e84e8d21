"""Commands that a demonstration runs for its user, each shown before it begins."""

import shlex
import subprocess
import sys


def line(*words: str) -> str:
    """Formats `python -m WORDS` as it is typed."""
    return "$ " + shlex.join(["python", "-m", *words])


def run(*words: str) -> None:
    """Runs `python -m WORDS`. Raises ValueError if it fails."""
    print(line(*words), flush=True)
    done = subprocess.run([sys.executable, "-m", *words], check=False)
    if done.returncode:
        raise ValueError(f"{line(*words)} ended with {done.returncode}")
