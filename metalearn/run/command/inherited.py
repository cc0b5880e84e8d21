"""Overrides from a checkpoint: they choose settings and nothing else, whoever made it."""

import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from metalearn.run.command.allowed import check_name
from metalearn.run.command.grammar import parsed
from metalearn.run.directory.keys import key, parts
from metalearn.run.directory.secret_names import is_secret

NESTING = ("product", "unlimited_if")
RESOLVERS = ("hydra", "now", "short_id", *NESTING)
"""Resolvers that a kept override may use besides oc.env.

None of them turns text into a config, as oc.decode does.
"""


def checked(overrides: Iterable[str], source: Path, typed: Container[str]) -> list[str]:
    """Returns the overrides of a checkpoint or another file.

    Raises ValueError in one line for an override that could do more than choose a setting.

    Args:
        overrides: list in the file.
        source: the file.
        typed: keys that the command sets anew; their overrides are not checked.
    """
    kept = []
    for override in overrides:
        try:
            if key(override) not in typed:
                check_kept(override)
        except ValueError as error:
            line = f"{source} is refused: it holds the override {override!a:.200}, {error}"
            raise ValueError(line) from error
        kept.append(override)
    return kept


def check_kept(override: str) -> None:
    """Raises ValueError with the reason if an override must not come from a checkpoint."""
    if override.startswith("-") or ("=" not in override and not override.startswith("~")):
        raise ValueError("which is not a setting")
    try:
        read = parsed(override)
    except (HydraException, ValueError, RecursionError) as error:
        raise ValueError("which Hydra does not understand") from error
    key = f"{read.key_or_group}@{read.package or ''}"
    if any(word.startswith("hydra") for word in re.split(r"[^\w]+", key)):
        raise ValueError("and settings of Hydra are not taken from a checkpoint")
    if read.is_sweep_override():
        raise ValueError("which is a sweep")
    for path, part in parts(read.value(), key.partition("@")[0]):
        _check_value(path.rpartition(".")[2], part)


def _check_value(key: str, value: Any) -> None:
    if key == "_target_":
        try:
            check_name(value, key)
        except ValueError as error:
            raise ValueError("which names a class that is not allowed") from error
    if isinstance(value, str):
        for found in re.finditer(r"\$\{([^${}]*)(.?)", value, re.DOTALL):
            _check_interpolation(found[1].strip(), nested=found[2] != "}", secret=is_secret(key, value))


def _check_interpolation(inside: str, *, nested: bool, secret: bool) -> None:
    """Raises ValueError for interpolations other than keys, harmless resolvers and variables.

    A variable may be a secret only where one is expected.
    """
    resolver, colon, names = (part.strip() for part in inside.partition(":"))
    if colon and resolver == "oc.env":
        names, comma, _ = names.partition(",")
        is_harmless = bool(re.fullmatch(r"\w+", names)) and (bool(comma) or not nested)
    elif colon:
        is_harmless = resolver in RESOLVERS and (not nested or resolver in NESTING)
    else:
        names = inside
        is_harmless = bool(re.fullmatch(r"[\w.\[\]/-]+", names)) and not nested
    if not is_harmless:
        raise ValueError(f"whose interpolation {inside!a:.80} is not taken from a checkpoint")
    if not secret and any(is_secret(name, "x") for name in re.split(r"[^\w-]+", names)):
        raise ValueError("which would put a secret where it could be read: type it again")
