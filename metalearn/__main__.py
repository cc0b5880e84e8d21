"""The entry point `metalearn [overrides]` and its subcommands, also `python -m metalearn`."""

import metalearn.run.process.early_signals  # noqa: F401 (before all that takes time)

# isort: split

import os
import runpy
import sys
from math import prod
from secrets import token_hex
from typing import Any, NoReturn

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn import hydra_plugins
from metalearn.files import is_full_disk
from metalearn.run.command import groups, guard, overrides
from metalearn.run.command.conf import conf_dir
from metalearn.run.command.explain import explain, explain_yaml
from metalearn.run.command.grammar import expand_user_paths
from metalearn.run.command.names import shortened
from metalearn.run.directory import secrets
from metalearn.run.loggers.run_name import run_name
from metalearn.run.screen import streams
from metalearn.sweep import definition
from metalearn.sweep.jobs import JobFailed

OmegaConf.register_new_resolver("short_id", lambda: token_hex(3), use_cache=True)
OmegaConf.register_new_resolver("classes_file", lambda _parent_: overrides.classes_file(_parent_._key()))
OmegaConf.register_new_resolver("choices", groups.choices)
OmegaConf.register_new_resolver("run_name", run_name)
OmegaConf.register_new_resolver("home", lambda path: os.path.expanduser(str(path)))


def unlimited_if(*limits_and_steps: Any) -> Any:
    """Returns the last argument if all limits before it are None or -1, else -1.

    The limits are of time and epochs; the last argument is the number of steps without them.
    """
    *limits, steps = limits_and_steps
    return steps if all(limit in (None, -1) for limit in limits) else -1


def product(*factors: Any) -> Any:
    """Returns the product of numbers; a range [low, high] counts as its upper end.

    Returns 0 where a factor is neither, because the check of that setting names it.
    """
    try:
        return prod(max(factor) if isinstance(factor, ListConfig) else int(factor) for factor in factors)
    except (TypeError, ValueError):
        return 0


OmegaConf.register_new_resolver("unlimited_if", unlimited_if)
OmegaConf.register_new_resolver("product", product)


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def compose_and_run(config: DictConfig) -> float | None:
    # Late: torch takes seconds, and --help does without it.
    import metalearn.run.process.torchmetrics_imports  # noqa: F401 (before Lightning)
    from metalearn.run.run import run

    expand_user_paths(config)
    return run(config)


PROGRAMS = ("sweep", "predict", "export", "demo", "report")
"""Subcommands that are programs: `metalearn report` is `python -m metalearn.report`."""

SHORT = {"train": [], "test": ["mode=test"], "help": ["--help"], "version": ["--version"]}
"""Subcommands that stand for options of a run."""


def main() -> None:
    streams.make_unbreakable()
    try:
        start()
    except KeyboardInterrupt:  # while packages are imported; a run has handlers of its own
        refuse("interrupted", code=130)


def start() -> None:
    """Starts the program that the first word names."""
    word, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if word == "sweep" and _begins_sweep(rest):
        sys.argv[1:] = ["-m", *rest]
    elif word in SHORT:
        sys.argv[1:] = [*SHORT[word], *rest]
    elif word in PROGRAMS:
        sys.argv[1:] = rest
        runpy.run_module(f"metalearn.{word}", run_name="__main__", alter_sys=True)
        return
    compose_or_refuse()


def _begins_sweep(words: list[str]) -> bool:
    """Whether the words after `sweep` are flags and overrides, not a command of metalearn.sweep.

    >>> _begins_sweep(["--config-dir", "c", "seed=0,1"]), _begins_sweep(["status", "DIR"])
    (True, False)
    """
    first = words[0] if words else ""
    return first not in ("-h", "--help") and ("=" in first or first.startswith(("-", "~")))


def compose_or_refuse() -> None:
    """Runs what the command line says; a wrong one ends with one line and the exit code 2."""
    # Threads that spin for long take cores from others; threads that sleep at once wake up late.
    # This value is as fast as the better of both. GNU OpenMP reads it when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets exceptions reach the lines below
    try:
        sys.argv[1:] = overrides.expand(sys.argv[1:])
        sys.argv[1:] = definition.continued(definition.in_jobs(sys.argv[1:]))
    except (ValueError, OSError) as error:
        refuse(str(error))
    hydra_plugins.register()
    guard.install()
    try:
        compose_and_run()
    except JobFailed as error:
        refuse(str(error), code=1)
    except yaml.YAMLError as error:
        refuse(explain_yaml(error))
    except RuntimeError as error:
        if (line := hydra_plugins.explained(error)) is None:
            raise
        refuse(line)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        refuse(explain(error, sys.argv[1:]), code=1 if is_full_disk(error) else 2)


def refuse(text: str, code: int = 2) -> NoReturn:
    line = secrets.redacted(" ".join(text.split()))
    print(f"metalearn: {shortened(line, 480)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
