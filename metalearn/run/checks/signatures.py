"""Checks of a config's arguments against the signatures of its classes."""

import inspect
import re
from typing import Any, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from metalearn.run.command.allowed import arguments, locate
from metalearn.run.command.names import nearest, shortened

KEYS_OF_THE_RUN = {"trainer": {"skip_nonfinite", "cuda_graph"}, "optimizer": {"backbone_lr"}}
"""Keys of a part that the run itself uses; they are not arguments of the class."""


def check_arguments(node: dict[str, Any], path: str) -> None:
    """Raises ValueError if the arguments of a `_target_` do not match its signature."""
    check_value(node["_target_"], str, f"{path}._target_")
    target = locate(node["_target_"], path)
    expected, hints = arguments(target), _hints(target)
    others = {"_target_", "_partial_", "_convert_"} | KEYS_OF_THE_RUN.get(path, set())
    given = {name: value for name, value in node.items() if name not in others}
    parameters = inspect.signature(target).parameters.values()
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name, value in given.items():
        if name not in expected and (not open_ended or str(name).startswith("_")):
            raise ValueError(
                f"{path}.{shortened(str(name))}: {target.__name__} has no such argument{nearest(str(name), expected)}"
            )
        if name in hints and not (isinstance(value, dict) and "_target_" in value):
            check_value(value, hints[name], f"{path}.{name}")
    if not node.get("_partial_"):
        for name, parameter in expected.items():
            if parameter.default is parameter.empty and name not in given:
                raise ValueError(f"{path}.{name} is missing: {target.__name__} needs it")


def _hints(target: Any) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__)
    except (NameError, TypeError):  # hints of other packages may not resolve at run time
        return {}


def check_value(value: Any, hint: Any, where: str) -> None:
    """Raises ValueError if a value does not have the type of a hint."""
    # YAML has no tuples, so a list may also be a tuple.
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    for candidate in candidates if not _is_a_truth_for_a_number(value, str(hint)) else ():
        try:
            check_type(candidate, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            return
        except TypeCheckError:
            pass
    shown = "null" if value is None else shortened(repr(value))
    name = getattr(hint, "__name__", "") if inspect.isclass(hint) else re.sub(r"\b[a-z_]+\.", "", str(hint))
    raise ValueError(f"{where}={shown} is not of the type {shortened(name, 200)}")


def _is_a_truth_for_a_number(value: Any, hint: str) -> bool:
    """Whether true or false stands where a number belongs; Python counts them as 1 and 0."""
    if isinstance(value, list):
        return any(_is_a_truth_for_a_number(item, hint) for item in value)
    allowed = re.search(r"\b(bool|True|False|Any|object)\b", hint)
    return isinstance(value, bool) and re.search(r"\b(int|float)\b", hint) is not None and not allowed
