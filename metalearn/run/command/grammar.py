"""One override as Hydra reads it: its value, and paths, which have no special signs."""

import os
import re
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from metalearn.run.directory.keys import key, leaves, node, parts

RUN_PATHS = {"checkpoint", "pretrained", "resume"}
PART_PATHS = {
    "cache",
    "dir",
    "dirpath",
    "file",
    "folder",
    "installed",
    "manifest",
    "offline_directory",
    "path",
    "root",
    "save_dir",
    "storage",
    "vectors",
    "weights",
    "words",
}


def is_path(key: str) -> bool:
    """Whether a key holds a path, by its name."""
    return key in RUN_PATHS or key.startswith("paths.") or key.rpartition(".")[2] in PART_PATHS


def value(override: str) -> Any:
    """Returns the value as Hydra reads it; several values are a Sweep."""
    return parsed(override).value()


def values(overrides: Iterable[str]) -> dict[str, Any]:
    """Returns the values of overrides by config key, without those that delete a key.

    >>> values(["seed=1", "episode={val: {way: 5}}"])
    {'seed': 1, 'episode.val.way': 5}
    """
    setting = (o for o in overrides if "=" in o and not o.startswith("~"))
    return {name: leaf for o in setting for name, leaf in leaves({node(o): value(o)})}


def is_sweep(override: str) -> bool:
    """Whether an override has several values.

    >>> is_sweep("x=1,2"), is_sweep("x=[1,2]")
    (True, False)
    """
    return bool(parsed(override).is_sweep_override())


def alike(first: str, second: str) -> bool:
    """Returns whether two overrides have one key and one value.

    >>> alike("x=true", "x=True"), alike("x=1", "x=1,2")
    (True, False)
    """
    return first == second or (key(first) == key(second) and value(first) == value(second))


def quoted(text: str | Path) -> str:
    """Quotes a text so that Hydra and OmegaConf read exactly this text."""
    return _in_quotes(re.sub(r"(\\*)\$\{", r"\1\1\\${", str(text)))


def readable(override: str, *, multirun: bool) -> str:
    """Returns an override in Hydra's grammar: a path is quoted and its ~ expanded.

    Raises ValueError with the remedy for any other value that Hydra cannot read.
    """
    name, _, text = override.partition("=")
    may_be_text = is_path(node(override)) and not override.startswith("~")
    try:
        read = parsed(override)
    except (HydraException, ValueError, RecursionError) as error:
        if may_be_text and multirun and "," in text:
            parts = (readable(f"{name}={part}", multirun=False) for part in text.split(","))
            return f"{name}={','.join(part.partition('=')[2] for part in parts)}"
        if may_be_text:
            return f"{name}={_in_quotes(os.path.expanduser(text))}"
        raise ValueError(_remedy(name, text, str(error))) from error
    return _with_path(read, override, multirun) if may_be_text else override


def expand_user_paths(config: DictConfig) -> None:
    """Expands the ~ in every path of a config."""
    for where, child in parts(OmegaConf.to_container(config, resolve=False), ""):
        if isinstance(child, str) and child.startswith("~") and is_path(where):
            OmegaConf.update(config, where, os.path.expanduser(child))


def _with_path(read: Override, override: str, multirun: bool) -> str:
    name, _, text = override.partition("=")
    found = read.value()
    if isinstance(found, str):
        expanded = os.path.expanduser(found)
        return override if expanded == found else f"{name}={_in_quotes(expanded)}"
    is_text = isinstance(found, bool | int | float)  # a folder named 2024
    if is_text or (read.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not multirun):
        return f"{name}={_in_quotes(text)}"
    return override


def _remedy(name: str, text: str, error: str) -> str:
    try:
        parsed(f"{name}=0")
    except (HydraException, ValueError):
        return f"{name[:80]!r} is not the name of a key"
    typed = f"{name}={text}"
    if len(typed) > 150:
        return f"{typed[:100]}... cannot be read: put the value in quotes, '{name[:80]}=\"...\"'"
    if error.startswith("TypeError while evaluating"):  # a function of Hydra's grammar, with wrong arguments
        if text.startswith("choice(") and text.endswith(")") and "NoneType" in error:
            listed = shlex.quote(f"{name}={text.removeprefix('choice(')[:-1]}")
            return f"{typed} cannot be read: choice() takes no null; type {listed}"
        _, _, reason = error.partition("': ")
        return f"{typed} cannot be read: {reason}"
    in_quotes = f"{name}={QuotedString(text, Quote.double).with_quotes()}"
    return f"{typed} cannot be read: put the value in quotes, {shlex.quote(in_quotes)}"


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def parsed(override: str) -> Override:
    """Returns an override in its parts. Raises HydraException if Hydra cannot read it."""
    return _parser().parse_override(override)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
