"""Times 10,000 predictions of a run on glyphs.

    python scripts/time_queries.py RUN

The drawings are of 28 x 28 pixels, once as arrays and once as PNG files, and 20 classes of five
examples are learned. Prints wall and CPU time of each.
"""

import argparse
import tempfile
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from metalearn import Learner

QUERIES, CLASSES, SHOT = 10_000, 20, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    run = parser.parse_args().run
    learner = Learner.load(run)
    bank = instantiate(OmegaConf.load(run / "hparams.yaml").dataset).load()["test"]
    paper = 255 - bank.images[:, 0].numpy()  # dark on light, class by class
    learner.fit(
        [paper[row] for rows in bank.rows[:CLASSES] for row in rows[:SHOT]],
        [way for way in range(CLASSES) for _ in range(SHOT)],
    )
    queries = [paper[index % len(paper)] for index in range(QUERIES)]
    timed("arrays", learner, queries)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index}.png" for index in range(QUERIES)]
        for image, file in zip(queries, files, strict=True):
            Image.fromarray(image).save(file)
        timed("files", learner, files)


def timed(kind: str, learner: Learner, queries: list) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    learner.predict(queries)
    print(f"{kind}: {time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of CPU time")


if __name__ == "__main__":
    main()
