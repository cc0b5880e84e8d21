"""Words of a command line, flags first: Hydra stops reading overrides at a flag."""

import re
from collections.abc import Iterable
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString

from metalearn import __version__
from metalearn.run.command.grammar import is_path, parsed, readable, value
from metalearn.run.command.names import nearest, shortened
from metalearn.run.directory.keys import key
from metalearn.run.directory.secrets import refuse_written

OTHER_WORDS = {
    "export": "metalearn export RUN FILE.onnx",
    "help": "metalearn --help",
    "predict": "metalearn predict RUN --support DIR --query DIR",
    "report": "metalearn report DIR...",
    "resume": "metalearn resume=DIR",
    "sweep": "metalearn sweep seed=0,1",
    "test": "metalearn test checkpoint=PATH",
    "train": "metalearn train KEY=VALUE",
    "version": "metalearn --version",
}
"""Words that other programs take as commands, and the commands of this one."""


def parse(argv: list[str]) -> tuple[list[str], list[str]]:
    """Returns the flags and the overrides of a command line, as Hydra can read them.

    Flags and overrides may be typed in any order. Raises ValueError for an unknown flag, and for a
    word that is not an override.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    for action in parser._actions:
        if action.dest == "version":
            action.version = f"metalearn {__version__}"  # type: ignore[attr-defined]
    given = vars(parser.parse_intermixed_args(argv))
    flags = []
    for action in parser._actions:
        if action.option_strings and (chosen := given.get(action.dest)):
            flags += [action.option_strings[0], *([chosen] if isinstance(chosen, str) else [])]
    # Hydra's syntax for an option of the group dataset under the key test_dataset.
    typed = [f"dataset@{word}" if word.startswith("test_dataset=") else word for word in given["overrides"]]
    if not given["shell_completion"]:
        _refuse_words(typed)
    overrides = [readable(override, multirun=is_multirun(flags, typed)) for override in typed]
    _refuse_odd_options(overrides)
    return flags, overrides


def is_multirun(flags: list[str], overrides: list[str]) -> bool:
    """Whether a value may be a sweep: by hydra.mode, which jobs have, else by flag or search."""
    mode = next((override.partition("=")[2] for override in overrides if key(override) == "hydra.mode"), None)
    return mode != "RUN" if mode else "--multirun" in flags or "hparams_search" in map(key, overrides)


def refuse_secrets(overrides: Iterable[str]) -> None:
    """Raises ValueError for a typed secret, which Hydra would write into the run directory."""
    for override in overrides:
        read = parsed(override)
        typed = read.value()
        choices = typed.list if isinstance(typed, ChoiceSweep) else ()
        texts = [choice.text if isinstance(choice, QuotedString) else choice for choice in choices]
        refuse_written(texts or typed, read.key_or_group)


def _refuse_words(overrides: list[str]) -> None:
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            meant = OTHER_WORDS.get(word)
            line = f"type {meant}" if meant else f"an override is KEY=VALUE{nearest(word, OTHER_WORDS)}"
            raise ValueError(f"'{shortened(word)}' is not an override: {line}")


def _refuse_odd_options(overrides: list[str]) -> None:
    """Refuses values of a group that cannot name an option, for which Hydra has no message."""
    for override in overrides:
        if "." in key(override) or "=" not in override or is_path(key(override)):
            continue
        options = value(override)
        odd_list = isinstance(options, list) and not all(isinstance(option, str) for option in options)
        if odd_list or (isinstance(options, str) and re.search(r"\$\{(?!oc\.)\w+:", options)):
            raise ValueError(f"{shortened(override)} is neither a value of {key(override)} nor a list of options")


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message} (metalearn --hydra-help lists all flags)")
