"""Task that the page sends: characters with their drawings, and a new drawing."""

import json
from typing import Any, NamedTuple

import numpy as np

from metalearn.demo.strokes import Strokes

MOST_CLASSES, MOST_DRAWINGS, MOST_STROKES, MOST_POINTS = 20, 5, 40, 2000
LARGEST = 4 << 20  # limit of a request in bytes; a hundred drawings by hand have a tenth of it


class Task(NamedTuple):
    """Drawings of the characters, and the drawing in question."""

    support: list[Strokes]
    ways: list[int]  # number of the character of each
    query: Strokes


def task_of(body: bytes) -> Task:
    """Reads {"classes": [[drawing, ...], ...], "query": drawing}.

    A drawing is a list of strokes, a stroke a list of [x, y] in 0 .. 1. Raises ValueError, in one
    line, for anything else.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("the request is not JSON") from error
    if not isinstance(given, dict) or given.keys() != {"classes", "query"}:
        raise ValueError("the request is not an object of classes and query")
    support, ways = list[Strokes](), list[int]()
    for way, drawings in enumerate(_list(given["classes"], MOST_CLASSES, "characters")):
        for drawing in _list(drawings, MOST_DRAWINGS, f"drawings of character {way + 1}"):
            support.append(_strokes(drawing))
            ways.append(way)
    return Task(support, ways, _strokes(given["query"]))


def _strokes(drawing: Any) -> Strokes:
    return [_points(stroke) for stroke in _list(drawing, MOST_STROKES, "strokes of a drawing")]


def _points(stroke: Any) -> np.ndarray:
    points = _list(stroke, MOST_POINTS, "points of a stroke")
    for point in points:
        if not (isinstance(point, list) and len(point) == 2 and all(map(_is_coordinate, point))):
            raise ValueError("a point is two numbers from 0 to 1")
    return np.array(points, dtype=np.float64)


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # a bool is an int, too


def _list(value: Any, most: int, things: str) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        number = len(value) if isinstance(value, list) else "no list"
        raise ValueError(f"{things}: 1 to {most} are possible, not {number}")
    return value
