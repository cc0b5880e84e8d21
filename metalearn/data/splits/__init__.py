"""The published splits into meta-train, meta-val and meta-test, in files `<dataset>_<split>.csv`.

A file has a header and one line "split,class" for each class. The lines are ordered train, val,
test and sorted by name within each, so that nothing depends on the order of a file system's
listing.
"""

import csv
import re
from importlib import resources

from metalearn.types import SPLITS, Split


def known_splits(dataset: str) -> list[str]:
    """Returns the sorted names of the splits that the package has for a data set."""
    name = re.compile(rf"{dataset}_(\w+)\.csv")
    return sorted(match[1] for file in resources.files(__name__).iterdir() if (match := name.fullmatch(file.name)))


def read_split(dataset: str, split: str) -> dict[Split, tuple[str, ...]]:
    """Returns the class names of the three splits. Raises ValueError for an unknown split."""
    splits = known_splits(dataset)
    if split not in splits:
        raise ValueError(f"{dataset}: unknown split '{split}'; choose from {', '.join(splits)}")
    text = resources.files(__name__).joinpath(f"{dataset}_{split}.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    return {part: tuple(line["class"] for line in lines if line["split"] == part) for part in SPLITS}
