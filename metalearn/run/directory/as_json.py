"""Typed objects as JSON and back: dataclasses and named tuples, checked against annotations."""

import functools
import inspect
import math
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

MORE = "more"
"""Name of the field that keeps unknown keys unchanged."""

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
MOST_LETTERS = 60  # characters of a value in an error


def encode(node: Any) -> Any:
    """Converts an object for json.dumps.

    NaN and infinity become null. A None in a field whose default is None is left out.

    >>> encode({"accuracy": [0.5, math.nan]})
    {'accuracy': [0.5, None]}
    """
    if isinstance(node, dict):
        return {name: encode(child) for name, child in node.items()}
    if hasattr(node, "__annotations__"):
        cls: Any = type(node)
        left_out = {name for name, default in _defaults(cls).items() if default is None}
        fields = {name: getattr(node, name) for name in _hints(cls)}
        more = fields.pop(MORE, {})
        kept = {name: value for name, value in fields.items() if value is not None or name not in left_out}
        return encode({**kept, **more})
    if isinstance(node, list | tuple):
        return [encode(child) for child in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def decode(hint: Any, value: Any, name: str) -> Any:
    """Converts a `value` of JSON to the type `hint`; null becomes NaN for a float.

    Raises ValueError with the key, the value and the expected type.

    >>> decode(list[float], [1, None], "losses")
    [1.0, nan]
    """
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if kind in (Union, UnionType):
        return _one_of(inner, value, name)
    if kind is Literal or hint in WORDS:
        return _number_or_text(hint, value, name)
    fits = isinstance(value, list if kind is list else dict)
    if not fits:
        _refuse(name, value, "a list" if kind is list else "a group of keys")
    if kind is list:
        return [decode(inner[0], child, f"{name}[{i}]") for i, child in enumerate(value)]
    if kind is dict:
        return {key: decode(inner[1], child, f"{name}.{key}") for key, child in value.items()}
    return _object(hint, value, name)


def _object(cls: Any, value: dict[str, Any], name: str) -> Any:
    fields: dict[str, Any] = {}
    defaults, within = _defaults(cls), f"{name}." if name else ""
    for field, field_hint in _hints(cls).items():
        if field == MORE:
            fields[MORE] = {key: child for key, child in value.items() if key not in _hints(cls)}
        elif field in value:
            fields[field] = decode(field_hint, value[field], f"{within}{field}")
        elif field not in defaults:
            if NoneType not in get_args(field_hint):
                raise ValueError(f"{within}{field} is missing")
            fields[field] = None
    try:
        return cls(**fields)
    except ValueError as error:  # begins with the name of a field
        raise ValueError(f"{within}{error}") from error


def _one_of(hints: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and NoneType in hints:
        return None
    errors = []
    for hint in hints:
        if hint is not NoneType:
            try:
                return decode(hint, value, name)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _number_or_text(hint: Any, value: Any, name: str) -> Any:
    if hint is float and value is None:
        return math.nan
    if hint is float and type(value) is int:
        return float(value)
    choices = get_args(hint)  # if it is a Literal
    if value not in choices if choices else type(value) is not hint:
        _refuse(name, value, WORDS.get(hint) or f"one of {', '.join(map(repr, choices))}")
    return value


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    shown = "null" if value is None else repr(value)
    shown = shown if len(shown) <= MOST_LETTERS else f"{shown[:MOST_LETTERS]}..."
    raise ValueError(f"{name or 'it'} is {shown}, not {wanted}")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@functools.cache
def _defaults(cls: type) -> dict[str, Any]:
    """Returns the default of each field that may be left out."""
    parameters = inspect.signature(cls).parameters.values()
    return {field.name: field.default for field in parameters if field.default is not field.empty}
