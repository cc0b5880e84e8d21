"""The entry point: `python -m metalearn [overrides]`, the same as the console script `metalearn`."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

import hydra
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn import hydra_plugins
from metalearn.run import overrides, secrets
from metalearn.sweep import definition
from metalearn.sweep.launcher import JobFailed

OmegaConf.register_new_resolver("short_id", lambda: token_hex(3), use_cache=True)
OmegaConf.register_new_resolver("classes_file", lambda _parent_: overrides.classes_file(_parent_._key()))
OmegaConf.register_new_resolver("product", lambda a, b: a * b)
OmegaConf.register_new_resolver("unlimited_if", lambda limit, steps: steps if limit is None else -1)


def conf_dir() -> str:
    """The folder of the configs: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise FileNotFoundError("the conf/ folder of metalearn is missing from this installation")


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def compose_and_run(config: DictConfig) -> float | None:
    from metalearn.run.run import run  # late, because torch takes seconds and --help needs none of it

    return run(config)


def main() -> None:
    # Threads that wait for long by spinning take the core from whoever has work, those that sleep at once wake up late:
    # this is as fast as either at its best (GNU OpenMP reads it when torch is imported).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach us whole, and we say them in one line
    try:
        sys.argv[1:] = overrides.expand(sys.argv[1:])
        secrets.refuse_typed(sys.argv[1:])
        sys.argv[1:] = definition.going_on(sys.argv[1:])
    except (ValueError, OSError) as error:
        refuse(str(error))
    hydra_plugins.register()
    try:
        compose_and_run()
    except JobFailed as error:
        refuse(str(error), code=1)
    except HydraException as error:
        refuse(explain(error))
    except (OmegaConfBaseException, ValueError, OSError) as error:  # while the run directory is made, or of a sweep
        refuse(" ".join(str(error).split()))


def refuse(line: str, code: int = 2) -> NoReturn:
    print(f"metalearn: {line}", file=sys.stderr)
    sys.exit(code)


def explain(error: HydraException) -> str:
    """Hydra's message about a wrong key, option or value as one line that names the nearest right one."""
    from metalearn.run.checks.names import nearest

    text = str(error)
    if match := re.search(r"Could not find '(.+)/(.+)'", text):
        group, option = match.groups()
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"{group} has no option '{option}'{nearest(option, options)} ({', '.join(options)})"
    if match := re.search(r"Could not override '(\S+?)'", text):
        return f"there is no key '{match[1]}'{nearest(match[1], known_keys())}"
    cause = f": {error.__cause__}" if isinstance(error, ConfigCompositionException) and error.__cause__ else ""
    return " ".join(f"{text}{cause}".split())


def known_keys() -> list[str]:
    """All keys and groups of the default config."""
    with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
        config = hydra.compose("config")
    groups = [entry.name for entry in Path(conf_dir()).iterdir() if entry.is_dir()]
    return [*groups, *_keys(OmegaConf.to_container(config))]


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name, child in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{name}"
        yield from _keys(child, f"{prefix}{name}.")


if __name__ == "__main__":
    main()
