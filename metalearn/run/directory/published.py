"""Published numbers of experiments, for runs that measure the same."""

from metalearn.run.directory.keys import key, node
from metalearn.run.directory.result import Published, Result

OTHER_METHOD_OR_TEST = {"algorithm", "backbone", "dataset@test_dataset", "episode", "episode.test"}
SAME_TEST = {"episode.test.num_episodes", "episode.test.query"}
OTHER_CLASSES = {"evaluation=crossval", "evaluation=lake"}
SAME_CLASSES = {"root", "cache", "installed", "url", "fold"}
"""Arguments of a data set for its place, and `fold`, which chooses one of its published splits."""


def published(result: Result) -> Published | None:
    """Returns the published number of an experiment.

    None where an override changed what the experiment measures.
    """
    if any(key(override).partition(".")[0] == "published" for override in result.overrides):
        return result.published
    # Queries that are predicted together are part of what is measured.
    same = SAME_TEST - {"episode.test.query"} if result.transductive else SAME_TEST
    return None if any(_measures_otherwise(override, same) for override in result.overrides) else result.published


def _measures_otherwise(override: str, same: set[str]) -> bool:
    name = key(override)
    group, _, argument = node(override).partition(".")
    other_data = group in ("dataset", "test_dataset") and argument not in SAME_CLASSES
    other_test = name in OTHER_METHOD_OR_TEST or (name.startswith("episode.test.") and name not in same)
    return other_data or other_test or override in OTHER_CLASSES
