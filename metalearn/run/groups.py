"""Options of groups as they are typed: names, which Hydra takes for granted."""

from collections.abc import Collection

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from metalearn.run.overrides import key


def check_options(argv: list[str], groups: Collection[str]) -> None:
    """Raises ValueError for a list of anything but names, such as dataset=[1.5,2]; Hydra says what else is wrong."""
    for arg in argv:
        if key(arg).partition("@")[0] not in groups or not arg.partition("=")[2].lstrip().startswith("["):
            continue
        try:
            options = OverridesParser.create().parse_override(arg).value()
        except HydraException:
            continue
        if isinstance(options, list) and not all(isinstance(option, str) for option in options):
            raise ValueError(f"{arg}: an option of {key(arg)} is a name")
