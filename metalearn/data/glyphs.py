"""Glyphs: invented alphabets in many hands, drawn by the package itself from a seed.

The default data set needs no download. As in Lake, Salakhutdinov and Tenenbaum (Science 2015), a
character is a program of a few strokes, each a part of the alphabet that joins an earlier one.

G  drawings, K  strokes of a character    H, W  height, width
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from metalearn.data.bank import ClassBank
from metalearn.data.files.cache import Arrays, cached
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import check_memory, image_shape
from metalearn.data.pen import centred, ink, legibility, trace
from metalearn.types import SPLITS, Split

VERSION = 1  # version of the drawing; increase it when a pixel changes, to invalidate caches
MAX_STROKES = 4
NUM_ATTEMPTS = 10  # attempts at a character; the most legible one is kept
MARGIN = 0.1  # margin around the paths, in frames; the widest pen stays inside

# Columns of a stroke: the pen starts at `heading`, bends evenly by `bend` in total, and turns by
# `turn` at a corner around the moment `corner` in (0, 1). Angles are in radians, y points down. The
# unit of length is free, because each character is scaled to the size of its alphabet.
HEADING, BEND, TURN, CORNER, LENGTH = range(5)
# Standard deviations of an unsteady hand; docs/datasets/glyphs.md gives the resulting difficulty.
# The rows are: the columns of a stroke, with log length; the moments on both strokes and the gap in
# x and y; tilt, slant, log width, log height, place in x and y, log pen, log factor of the others.
HAND_OF_STROKE = np.array([0.13, 0.25, 0.23, 0.05, 0.17])
HAND_OF_JOINT = np.array([0.07, 0.07, 0.035, 0.035])
HAND_OF_DRAWING = np.array([0.11, 0.13, 0.10, 0.10, 0.05, 0.05, 0.14, 0.35])


@dataclass(frozen=True)
class Alphabet:
    """Style that the characters of an alphabet share."""

    parts: np.ndarray  # (num_parts, 5) strokes
    num_strokes: np.ndarray  # (MAX_STROKES,) probability of 1, 2, ... strokes
    joints: np.ndarray  # (9,) probability of a pair (old, new) of start, middle, end
    softness: float  # duration of a corner; small for an angular script
    detached: float  # probability that a stroke touches no other
    size: np.ndarray  # (2,) largest width and height, in frames


@dataclass(frozen=True)
class Character:
    """Program that draws a character: stroke k starts at a joint with an earlier stroke."""

    strokes: np.ndarray  # (K, 5)
    hosts: np.ndarray  # (K,) earlier stroke that stroke k joins
    joints: np.ndarray  # (K, 4) moment on the host, moment on the stroke, gap in x and y


# Kinds of parts: each draws a bend and a turn in degrees, the moment of the turn, and a length.
PARTS: list[Callable[[np.random.Generator], tuple[float, ...]]] = [
    lambda rng: (0, 0, 0.5, rng.uniform(0.4, 1.1)),  # line
    lambda rng: (rng.uniform(70, 200), 0, 0.5, rng.uniform(0.7, 1.3)),  # arc
    lambda rng: (rng.uniform(300, 380), 0, 0.5, rng.uniform(1.2, 2.0)),  # loop
    lambda rng: (0, rng.uniform(60, 140), rng.uniform(0.35, 0.65), rng.uniform(0.9, 1.5)),  # angle
    lambda rng: (0, rng.uniform(90, 170), rng.uniform(0.7, 0.8), rng.uniform(0.8, 1.4)),  # hook
    lambda rng: ((bend := rng.uniform(150, 260)), -2 * bend, 0.5, rng.uniform(1.0, 1.5)),  # wave
]


def invent_alphabet(rng: np.random.Generator) -> Alphabet:
    """Draws a style of writing, and the parts of its characters."""
    taste = rng.dirichlet(np.full(len(PARTS), 0.7))
    likely = [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]
    headings = rng.choice([90, 0, 60, 120, 30, 150], size=3, replace=False, p=likely)
    tilt = rng.normal(0, 7)
    hand = rng.choice([-1, 1])  # direction in which its curves mostly turn
    parts = []
    for _ in range(rng.integers(5, 8)):
        side = hand * rng.choice([1, 1, 1, -1])
        bend, turn, corner, length = PARTS[rng.choice(len(PARTS), p=taste)](rng)
        angles = np.deg2rad([rng.choice(headings) + tilt - side * bend / 2, side * bend, side * turn])
        parts.append([*angles, corner, length])
    return Alphabet(
        parts=np.array(parts),
        num_strokes=rng.dirichlet([0.25, 2.0, 2.5, 1.0]),
        joints=rng.dirichlet([1, 0.7, 1, 0.7, 0.5, 0.3, 1, 0.3, 0.3]),
        softness=float(np.exp(rng.uniform(np.log(0.008), np.log(0.12)))),
        detached=rng.uniform(0, 0.25),
        size=0.78 * np.exp(-np.abs(rng.normal(0, 0.15, size=2))),
    )


def invent_character(rng: np.random.Generator, alphabet: Alphabet) -> Character:
    """Draws a program of one to four strokes: the most legible of several attempts."""
    count = 1 + rng.choice(MAX_STROKES, p=alphabet.num_strokes)
    hosts = np.array([rng.integers(max(k, 1)) for k in range(count)])
    tries = (NUM_ATTEMPTS, count)
    strokes = alphabet.parts[rng.integers(len(alphabet.parts), size=tries)]
    strokes[..., HEADING] += rng.normal(0, 0.1, size=tries)
    strokes[..., LENGTH] *= np.exp(rng.normal(0, 0.2, size=tries))
    met = np.stack(np.divmod(rng.choice(9, size=tries, p=alphabet.joints), 3), axis=-1) / 2
    far = rng.random(tries)[..., None] < alphabet.detached
    gap = far * rng.choice([-1, 1], size=(*tries, 2)) * rng.uniform(0.1, 0.3, size=(*tries, 2))
    joints = np.concatenate([met, gap], axis=-1)
    best = legibility(trace(strokes, hosts, joints, alphabet.softness)).argmax()
    return Character(strokes[best], hosts, joints[best])


def draw(seed: int, alphabet: int, character: int, drawings: int, height: int, width: int) -> np.ndarray:
    """Draws one character as a pure function of its numbers: (G, H, W) uint8, ink 255 on 0.

    More drawings leave the first ones unchanged.
    """
    style = invent_alphabet(np.random.default_rng([seed, alphabet]))
    rng = np.random.default_rng([seed, alphabet, character + 1])  # a final 0 would repeat the style
    program = invent_character(rng, style)
    count = len(program.strokes)
    hand = rng.standard_normal((drawings, MAX_STROKES * 9 + 8)).clip(-2.5, 2.5)
    of_stroke, of_joint, of_drawing = np.split(hand, [MAX_STROKES * 5, MAX_STROKES * 9], axis=1)
    tilt, slant, wide, tall, right, below, pen, care = (HAND_OF_DRAWING * of_drawing).T  # each (G,)
    careless = np.exp(care)[:, None, None]
    strokes = np.repeat(program.strokes[None], drawings, axis=0)  # (G, K, 5)
    wobble = careless * HAND_OF_STROKE * of_stroke.reshape(drawings, MAX_STROKES, 5)[:, :count]  # (G, K, 5)
    strokes[..., :LENGTH] += wobble[..., :LENGTH]
    strokes[..., LENGTH] *= np.exp(wobble[..., LENGTH])
    joints = program.joints + careless * HAND_OF_JOINT * of_joint.reshape(drawings, MAX_STROKES, 4)[:, :count]
    points, extent = centred(trace(strokes, program.hosts, joints, style.softness))
    points *= (style.size / np.maximum(extent, 0.1)).min(axis=1)[:, None, None, None]

    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])  # (2, 2, G)
    shear = np.array([[np.exp(wide), 0 * slant], [slant, np.exp(tall)]])  # (2, 2, G)
    points, extent = centred(np.einsum("gkpi,ijg,jlg->gkpl", points, shear, turn))
    points *= np.minimum((1 - 2 * MARGIN) / extent.max(axis=1), 1)[:, None, None, None]
    room = 0.5 - MARGIN - np.abs(points).max(axis=(1, 2))  # (G, 2), room to move the drawing
    place = np.clip(np.stack([right, below], axis=-1), -room, room)  # (G, 2)
    return ink(points + place[:, None, None], 0.03 * np.exp(pen), height, width)


class Glyphs:
    """Invented characters as a `Source`, with equally many drawings of each.

    The i-th alphabet of meta-train, meta-val or meta-test has the number 3 i, 3 i + 1 or 3 i + 2.
    A drawing depends on the seed and its own numbers: a larger data set contains a smaller one.

    Args:
        cache: folder of the cache file.
        seed: seed of the drawings.
        input_shape: [1, H, W].
        num_alphabets: numbers of alphabets of meta-train, meta-val and meta-test.
        characters: number of characters of each alphabet.
        drawings: number of drawings of each character.

    Raises ValueError for impossible numbers.

    Examples:
        >>> import tempfile
        >>> glyphs = Glyphs(
        ...     tempfile.mkdtemp(), seed=0, input_shape=[1, 28, 28], num_alphabets=[1, 1, 1],
        ...     characters=5, drawings=2,
        ... )
        >>> glyphs.load()["train"].images.shape  # (M, C, H, W)
        torch.Size([10, 1, 28, 28])
    """

    in_imagenet = "none"

    def __init__(
        self,
        cache: str,
        *,
        seed: int,
        input_shape: list[int],
        num_alphabets: list[int],
        characters: int,
        drawings: int,
    ) -> None:
        self.input_shape = image_shape("glyphs", input_shape, [1])
        if min(input_shape[1:]) < 12:
            raise ValueError(f"input_shape must be [1, H, W], H and W at least 12, not {list(input_shape)}")
        if len(num_alphabets) != len(SPLITS) or min(num_alphabets) < 1:
            raise ValueError(f"num_alphabets must be three positive numbers, not {list(num_alphabets)}")
        if characters < 1 or drawings < 1 or seed < 0:
            given = f"{characters=}, {drawings=}, {seed=}"
            raise ValueError(f"characters and drawings must be positive, seed must not be negative: {given}")
        check_memory(sum(num_alphabets) * characters * drawings * math.prod(input_shape))
        self.preparation = Preparation(self.input_shape, invert=True)  # drawings are ink on paper
        self.cache, self.seed = Path(cache), seed
        self.num_alphabets, self.characters, self.drawings = tuple(num_alphabets), characters, drawings

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the three splits: drawn once, later read from the cache."""
        alphabets = "-".join(map(str, self.num_alphabets))
        size = "x".join(map(str, self.input_shape))
        file = f"glyphs-v{VERSION}-seed{self.seed}-{alphabets}x{self.characters}x{self.drawings}-{size}.npz"
        arrays = cached(self.cache / file, self._draw_all)
        return {split: ClassBank.from_classes(arrays[split], self._names(split)) for split in SPLITS}

    def _characters(self, split: Split) -> list[tuple[int, int]]:
        first = SPLITS.index(split)
        alphabets = range(first, first + len(SPLITS) * self.num_alphabets[first], len(SPLITS))
        return [(a, c) for a in alphabets for c in range(self.characters)]

    def _names(self, split: Split) -> list[str]:
        return [f"alphabet{a:02d}/character{c:02d}" for a, c in self._characters(split)]

    def _draw_all(self) -> Arrays:
        _, height, width = self.input_shape
        todo = [number for split in SPLITS for number in self._characters(split)]
        bar = track(todo, "drawing glyphs", console=Console(stderr=True), transient=True)
        images = np.stack([draw(self.seed, a, c, self.drawings, height, width) for a, c in bar])[:, :, None]
        ends = np.cumsum(self.num_alphabets) * self.characters
        return dict(zip(SPLITS, np.split(images, ends[:-1]), strict=True))
