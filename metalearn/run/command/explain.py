"""Messages of Hydra and YAML about wrong keys, options or files, as one line with the remedy."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.run.command.allowed import arguments, locate
from metalearn.run.command.composed import compose
from metalearn.run.command.conf import conf_dir
from metalearn.run.command.grammar import is_sweep, value
from metalearn.run.command.groups import COME_ALONG
from metalearn.run.command.names import nearest, nearest_key, shortened
from metalearn.run.directory.keys import is_below, key, parts

OF_ENTRIES = ("callbacks", "logger")
"""Groups whose options add an entry of their name."""

WRONG_KEY = re.compile(r"Could not override '(\S+?)'")


def explain(error: Exception, argv: list[str]) -> str:
    """Returns Hydra's message as one line with the nearest valid key or option.

    Args:
        error: error of Hydra or OmegaConf, or of a directory that Hydra could not make.
        argv: words of the command line.
    """
    text = str(error)
    if isinstance(error, FileExistsError | NotADirectoryError) and (path := _not_a_folder(error.filename)):
        return f"{path} is not a folder: remove it, or name another directory"
    if match := re.search(r"Could not find '(.+)/(.+)'", text):
        group, option = match.groups()
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        continues = {"resume", "checkpoint"} & set(map(key, argv))
        typed_again = any(word.startswith(("--config-dir", "-cd")) for word in argv)
        own = "; if it is your own, repeat --config-dir DIR" if continues and not typed_again else ""
        return f"{group} has no option '{option}'{nearest(option, options)} ({', '.join(options)}){own}"
    if match := WRONG_KEY.search(text):
        if where := COME_ALONG.get(re.split("[@/]", match[1])[0]):
            return f"{match[1]} is not chosen by name: {where}"
        with suppress(HydraException, OmegaConfBaseException):  # a fault in a file, which the text names
            return _explain_key(match[1], argv)
    if "Config group override must be" in text:
        groups = {group.name for group in Path(conf_dir()).iterdir()}
        odd = next((word for word in argv if key(word) in groups and not isinstance(value(word), str | list)), text)
        return f"{shortened(odd)} is not an option of {key(odd)}: an option is a name"
    if "sweep type : INTERVAL_SWEEP" in text:
        word = next((word for word in argv if "interval(" in word), text)
        text = f"{shortened(word)} is an interval, which only a search takes: add hydra/sweeper=optuna, or list values"
    cause = f": {error.__cause__}" if isinstance(error, ConfigCompositionException) and error.__cause__ else ""
    return f"{text}{cause}"


def explain_yaml(error: yaml.YAMLError) -> str:
    """Returns the place and the reason why a file is not YAML."""
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    return f"{where}this is not YAML: {getattr(error, 'problem', None) or error}"


def known_keys(config: DictConfig) -> list[str]:
    """Returns all keys and groups of a config, except the keys of Hydra."""
    groups = [entry.name for entry in Path(conf_dir()).iterdir() if entry.is_dir()]
    keys = (name for name, _ in parts(OmegaConf.to_container(config), ""))
    return [*groups, *(name for name in keys if name and "[" not in name and not is_below(name, ["hydra"]))]


def _not_a_folder(wanted: Any) -> Path | None:
    """Finds what is in the way of a directory: itself, or one that it would be in."""
    path = Path(str(wanted))
    return next((part for part in (path, *path.parents) if os.path.lexists(part) and not part.is_dir()), None)


def _explain_key(wrong: str, argv: list[str]) -> str:
    config = _composed(argv)
    keys = known_keys(config)
    typed = next((word for word in argv if key(word) == wrong), "")
    alone = "=" in typed and not is_sweep(typed)
    # Hydra composes a search, and a sweep of experiments, with the default part first.
    if wrong in keys and alone and wrong not in known_keys(_composed(argv, sweeps=False)):
        given, part = shortened(typed.partition("=")[2]), wrong.partition(".")[0]
        remedy = f"++{wrong}=null" if value(typed) is None else f"{wrong}=choice({given})"
        return f"the default {part} has no key '{wrong}', which the jobs have: type {remedy}"
    if wrong in keys:
        return f"only some jobs of this sweep have the key '{wrong}'"
    group, name, *_ = f"{wrong}.".split(".")
    if group in OF_ENTRIES and name not in config[group] and Path(conf_dir(), group, f"{name}.yaml").is_file():
        return f"there is no key '{wrong}' without {group}={name}"
    if _takes(config, wrong):
        given = typed.partition("=")[2] if typed else "VALUE"
        return f"there is no key '{wrong}' yet; a plus adds it: '+{wrong}={shortened(given)}'"
    return f"there is no key '{wrong}'{nearest_key(wrong, keys)}"


def _composed(argv: list[str], *, sweeps: bool = True) -> DictConfig:
    """Composes the typed overrides without the wrong keys; a sweep counts as its first value.

    `sweeps`: whether overrides of several values count at all.
    """
    given = get_args_parser().parse_args(argv)
    typed = [_first(word) for word in given.overrides if sweeps or not is_sweep(word)]
    while True:
        try:
            return compose(given, typed)
        except (HydraException, OmegaConfBaseException, KeyError) as error:
            if not typed:
                raise
            match = WRONG_KEY.search(str(error))
            right = [word for word in typed if match and key(word) != match[1]]
            typed = right if len(right) < len(typed) else []


def _first(word: str) -> str:
    if "=" not in word:
        return word
    several = value(word)
    choices = getattr(several, "list", None) if not isinstance(several, list | dict) else None
    return f"{word.partition('=')[0]}={choices[0]}" if choices else word


def _takes(config: DictConfig, wrong: str) -> bool:
    """Whether the class of the part has such an argument that its config leaves out."""
    part, _, argument = wrong.rpartition(".")
    node = OmegaConf.select(config, part) if part else None
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return False
    try:
        return argument in arguments(locate(node["_target_"], part))
    except (ValueError, OmegaConfBaseException):
        return False
