"""The entry point: `python -m metalearn [overrides]`, the same as the console script `metalearn`."""

import os
import sys
from secrets import token_hex
from typing import Any, NoReturn

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn import hydra_plugins
from metalearn.run import groups, guard, overrides, secrets, streams
from metalearn.run.conf import conf_dir
from metalearn.run.explain import explain, explain_yaml
from metalearn.run.grammar import at_home
from metalearn.run.names import shortened
from metalearn.sweep import definition
from metalearn.sweep.launcher import JobFailed

OmegaConf.register_new_resolver("short_id", lambda: token_hex(3), use_cache=True)
OmegaConf.register_new_resolver("classes_file", lambda _parent_: overrides.classes_file(_parent_._key()))
OmegaConf.register_new_resolver("product", lambda a, b: a * b)
OmegaConf.register_new_resolver("choices", groups.choices)
OmegaConf.register_new_resolver("home", lambda path: os.path.expanduser(str(path)))


def unlimited_if(*limits_and_steps: Any) -> Any:
    """The steps of a training that nothing else limits, neither a time nor a number of epochs; else -1."""
    *limits, steps = limits_and_steps
    return steps if all(limit in (None, -1) for limit in limits) else -1


OmegaConf.register_new_resolver("unlimited_if", unlimited_if)


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def compose_and_run(config: DictConfig) -> float | None:
    from metalearn.run.run import run  # late, because torch takes seconds and --help needs none of it

    at_home(config)
    return run(config)


def main() -> None:
    streams.make_unbreakable()
    # Threads that wait for long by spinning take the core from whoever has work, those that sleep at once wake up late:
    # this is as fast as either at its best (GNU OpenMP reads it when torch is imported).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach us whole, and we say them in one line
    try:
        sys.argv[1:] = overrides.expand(sys.argv[1:])
        secrets.refuse_typed(sys.argv[1:])
        sys.argv[1:] = definition.continued(sys.argv[1:])
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
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:  # of composing, or of a sweep
        refuse(explain(error, sys.argv[1:], conf_dir()))


def refuse(text: str, code: int = 2) -> NoReturn:
    line = secrets.struck_out(" ".join(text.split()))
    print(f"metalearn: {shortened(line, 480)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
