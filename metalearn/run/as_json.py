"""Typed objects as JSON and back: dataclasses and named tuples, whose annotations say what the JSON must hold."""

import functools
import inspect
import math
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

MORE = "more"
"""The field of a class for the keys that it does not know, which stay what they are."""

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
MOST_LETTERS = 60  # of a value in an error


def encode(node: Any) -> Any:
    """What json.dumps takes: null for nan and infinity, and nothing for an optional field that is None."""
    if isinstance(node, dict):
        return {name: encode(child) for name, child in node.items()}
    if hasattr(node, "__annotations__"):
        cls: Any = type(node)
        left_out = {name for name, default in _defaults(cls).items() if default is None}
        fields = {name: getattr(node, name) for name in _hints(cls)}
        more = fields.pop(MORE, {})
        known = {name: of for name, of in fields.items() if of is not None or name not in left_out}
        return encode({**known, **more})
    if isinstance(node, list | tuple):
        return [encode(child) for child in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def decode(hint: Any, value: Any, name: str) -> Any:
    """`value` of JSON as `hint` has it; null is nan where a number must be.

    Raises ValueError, which names the key, the value and what it should be.
    """
    if hint is Any:
        return value
    if get_origin(hint) is None and hint in WORDS:
        return _number_or_text(hint, value, name)
    return READERS.get(get_origin(hint), _object)(hint, value, name)


def _object(hint: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        _refuse(name, value, "a group of keys")
    fields: dict[str, Any] = {}
    defaults, within = _defaults(hint), f"{name}." if name else ""
    for field, of in _hints(hint).items():
        if field == MORE:
            fields[MORE] = {key: child for key, child in value.items() if key not in _hints(hint)}
        elif field in value:
            fields[field] = decode(of, value[field], f"{within}{field}")
        elif field not in defaults:
            if NoneType not in get_args(of):
                raise ValueError(f"{within}{field} is missing")
            fields[field] = None
    return hint(**fields)


def _dict(hint: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        _refuse(name, value, "a group of keys")
    return {key: decode(get_args(hint)[1], child, f"{name}.{key}") for key, child in value.items()}


def _list(hint: Any, value: Any, name: str) -> Any:
    if not isinstance(value, list):
        _refuse(name, value, "a list")
    return [decode(get_args(hint)[0], child, f"{name}[{i}]") for i, child in enumerate(value)]


def _literal(hint: Any, value: Any, name: str) -> Any:
    if value not in get_args(hint):
        _refuse(name, value, f"one of {', '.join(map(repr, get_args(hint)))}")
    return value


def _one_of(hint: Any, value: Any, name: str) -> Any:
    hints = get_args(hint)
    if value is None and NoneType in hints:
        return None
    errors = []
    for one in hints:
        if one is not NoneType:
            try:
                return decode(one, value, name)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _number_or_text(hint: Any, value: Any, name: str) -> Any:
    if hint is float and value is None:
        return math.nan
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        _refuse(name, value, WORDS[hint])
    return value


READERS = {Union: _one_of, UnionType: _one_of, Literal: _literal, list: _list, dict: _dict}
"""By the origin of a hint; other hints are classes."""


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    shown = "null" if value is None else repr(value)
    shown = shown if len(shown) <= MOST_LETTERS else f"{shown[:MOST_LETTERS]}..."
    raise ValueError(f"{name or 'it'} is {shown}, not {wanted}")


@functools.cache
def _hints(of: type) -> dict[str, Any]:
    return get_type_hints(of)


@functools.cache
def _defaults(of: type) -> dict[str, Any]:
    """The fields that may be left out, with what they are then."""
    parameters = inspect.signature(of).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}
