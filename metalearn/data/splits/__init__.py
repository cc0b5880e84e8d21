"""The published splits into meta-train, meta-val and meta-test, each a file `<dataset>_<split>.csv`.

A file has a header and a line for each class, "split,class", in the order train, val, test and sorted by
name within each, so that nothing depends on the order in which a file system lists its folders.
"""

import csv
from importlib import resources

from metalearn.types import SPLITS, Split


def known_splits(dataset: str) -> list[str]:
    """Names of the splits that the package has for a data set, sorted."""
    names = (file.name for file in resources.files(__name__).iterdir())
    return sorted(
        name.removeprefix(f"{dataset}_").removesuffix(".csv")
        for name in names
        if name.startswith(f"{dataset}_") and name.endswith(".csv")
    )


def read_split(dataset: str, split: str) -> dict[Split, tuple[str, ...]]:
    """The class names of meta-train, meta-val and meta-test; ValueError when there is no such split."""
    known = known_splits(dataset)
    if split not in known:
        raise ValueError(f"{dataset}: unknown split '{split}'; there are {', '.join(known)}")
    text = resources.files(__name__).joinpath(f"{dataset}_{split}.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    return {part: tuple(line["class"] for line in lines if line["split"] == part) for part in SPLITS}
