"""The arguments of the classes that a config names, against the names and types of their signatures."""

import inspect
import re
from typing import Any, get_type_hints

from typeguard import TypeCheckError, check_type

from metalearn.run.allowed import locate
from metalearn.run.checks.names import nearest


def check_arguments(node: dict[str, Any], path: str) -> None:
    """Check the arguments of a `_target_` against the names and types of its signature."""
    target = locate(node["_target_"], path)
    parameters = inspect.signature(target).parameters
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # a class of another package, whose hints do not resolve at run time
        hints = {}
    given = {name: value for name, value in node.items() if name not in ("_target_", "_partial_", "_convert_")}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name not in parameters and not open_ended:
            raise ValueError(f"{path}.{name}: {target.__name__} has no such argument{nearest(name, parameters)}")
        if name in hints and not (isinstance(value, dict) and "_target_" in value):
            check_value(value, hints[name], f"{path}.{name}")
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            positional = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if positional and parameter.default is parameter.empty and name not in given:
                raise ValueError(f"{path}.{name} is missing: {target.__name__} needs it")


def check_value(value: Any, hint: Any, where: str) -> None:
    """Raises ValueError when a value is not of the type that a hint says."""
    # YAML knows no tuples, so a list is tried as one too.
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    for candidate in candidates:
        try:
            check_type(candidate, hint)
            return
        except TypeCheckError:
            pass
    name = getattr(hint, "__name__", "") if inspect.isclass(hint) else re.sub(r"\b[a-z_]+\.", "", str(hint))
    raise ValueError(f"{where}={value!r} is not of the type {name}")
