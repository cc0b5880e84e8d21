"""Draws a sheet of the glyphs data set, dark ink on white: a few characters in several hands."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from metalearn.data.glyphs import draw

INK = np.array([27, 38, 59])  # blue black
CHOSEN = [39, 21, 30, 12, 51, 0]  # meta-train alphabets that differ much
FRAME = 40  # side of a drawing in pixels, more than in the data set, for clear print


def sheet(seed: int, alphabets: list[int], characters: int, drawings: int) -> Image.Image:
    """Draws two rows for each alphabet, with half of its characters each."""
    gap = np.zeros((FRAME, FRAME // 4), np.uint8)
    blocks = []
    for alphabet in alphabets:
        cells = [
            np.concatenate([gap, *draw(seed, alphabet, character, drawings, FRAME, FRAME), gap], axis=1)
            for character in range(characters)
        ]
        half = characters // 2
        block = np.concatenate([np.concatenate(cells[:half], axis=1), np.concatenate(cells[half:], axis=1)])
        blocks.append(np.pad(block, FRAME // 3))
    ink = np.concatenate(blocks)[..., None] / 255  # (H, W, 1)
    return Image.fromarray(np.rint(255 + ink * (INK - 255)).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/glyphs.png"), help="file to write (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set (%(default)s)")
    parser.add_argument("--alphabets", type=int, nargs="+", default=CHOSEN, help="numbers of alphabets (%(default)s)")
    parser.add_argument("--characters", type=int, default=8, help="even number per alphabet (%(default)s)")
    parser.add_argument("--drawings", type=int, default=5, help="drawings per character (%(default)s)")
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    image = sheet(given.seed, given.alphabets, given.characters, given.drawings)
    image.quantize(32).save(given.output, optimize=True)
    print(f"wrote {given.output}, {given.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
