"""Demonstration on drawn characters: a run, examples of new characters, and more to be sorted."""

from pathlib import Path

from PIL import Image, ImageOps

from metalearn.data.glyphs import draw
from metalearn.predict import subcommands
from metalearn.types import SPLITS

FOLDER = Path("metalearn-demo")
ALPHABET = SPLITS.index("test")  # first alphabet of meta-test, which no training on glyphs sees
CHARACTERS, EXAMPLES, QUERIES, SIZE = 10, 5, 8, 64
STEPS = 150  # half a minute on two cores


def prepare(run: Path | None) -> tuple[Path, Path, list[Path]]:
    """Prepares the run, the examples and the images to be sorted, in the folder `FOLDER`.

    Without a run, it trains one there. Raises ValueError if the folder exists, or if training is
    impossible.
    """
    if FOLDER.exists():
        raise ValueError(f"{FOLDER} exists already: remove it, or go to another folder")
    support, query = FOLDER / "support", FOLDER / "query"
    query.mkdir(parents=True)
    for number in range(CHARACTERS):
        of_class = support / f"character {number}"
        of_class.mkdir(parents=True)
        for hand, ink in enumerate(draw(0, ALPHABET, number, EXAMPLES + QUERIES, SIZE, SIZE)):
            folder = of_class if hand < EXAMPLES else query
            ImageOps.invert(Image.fromarray(ink)).save(folder / f"character {number}, hand {hand}.png")
    if run is None:
        run = FOLDER / "run"
        subcommands.run_shown("metalearn", f"trainer.max_steps={STEPS}", f"hydra.run.dir={run}")
    print(subcommands.typed("metalearn.predict", str(run), "--support", str(support), "--query", str(query)))
    return run, support, [query]
