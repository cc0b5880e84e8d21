"""Runs of one config under several commands, and of one command whose config files were edited."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from metalearn.report.comparing.protocol import Column, Method, Protocol, is_of_a_run, weights_of
from metalearn.report.reading.runs import Run
from metalearn.run.directory.keys import IRRELEVANT, NOT_HASHED, is_below, key

NOT_OF_THE_HASH = {*IRRELEVANT, *NOT_HASHED, "evaluation", "trainer.precision"}
"""Keys in which runs of one hash may differ; a test has its own precision."""

WRITTEN = {
    *(f"{part}.{place}" for part in ("dataset", "test_dataset") for place in ("root", "manifest", "url", "installed")),
    *("evaluation.protocol", "evaluation.folds", "evaluation.further"),
}
"""Keys among them that change a number, also where a config file sets them."""

MOST_WORDS = 3

Content = tuple[Any, ...]
"""All that makes the runs of a mean alike."""


class Place(NamedTuple):
    """Place of a run in a table, named by what was typed."""

    column: Column
    method: Method
    protocol: Protocol


def named_alike(placed: list[tuple[Run, Place]]) -> Iterator[tuple[Run, Place]]:
    """Gives the runs of one config one name, whether it was typed or comes from files.

    It is the name of most of these runs, or else the shortest, and never one of other runs.
    """
    words: dict[str | None, set[tuple[str, ...]]] = {}
    for run, place in placed:
        words.setdefault(run.result.config_sha256, set()).add(_typed(place))
    contents = [_content(run, place) if len(words[run.result.config_sha256]) > 1 else None for run, place in placed]
    names: dict[Content | None, Counter[Place]] = {}
    owners: dict[Place, set[Content | None]] = {}
    for content, (_, place) in zip(contents, placed, strict=True):
        names.setdefault(content, Counter())[place] += 1
        owners.setdefault(place, set()).add(content)
    for content, (run, place) in zip(contents, placed, strict=True):
        own = [] if content is None else [name for name in names[content] if len(owners[name]) == 1]
        yield (
            run,
            min(own or [place], key=lambda name: (-names[content][name], len(" ".join(_typed(name))), _typed(name))),
        )


def _content(run: Run, place: Place) -> Content | None:
    """Returns the hash of a run and the settings outside it; None where the config is not known."""
    if run.result.config_sha256 is None:
        return None
    from metalearn.run.settings import written_leaves  # late, because most reports do without YAML

    written = written_leaves(run.folder)
    if not written:
        return None
    folders = weights_of(run.result)
    others = sorted(
        (key, os.path.abspath(value) if key.endswith(".root") and isinstance(value, str) else repr(value))
        for key, value in written.items()
        if is_below(key, WRITTEN) and value != {} and not is_of_a_run(f"{key}={value}", folders)
    )
    apart = NOT_OF_THE_HASH if run.result.seconds.fit is not None else NOT_OF_THE_HASH | {"callbacks"}
    method, protocol = place.method, place.protocol
    kept = Place(
        place.column,
        method._replace(overrides=tuple(o for o in method.overrides if is_below(key(o), apart))),
        protocol._replace(overrides=tuple(o for o in protocol.overrides if is_below(key(o), apart))),
    )
    return run.result.config_sha256, run.result.fold is None, kept, tuple(others)


def _typed(place: Place) -> tuple[str, ...]:
    return place.method.overrides + place.protocol.overrides


def by_config(runs: list[Run]) -> list[tuple[tuple[str, ...], list[Run]]]:
    """Splits runs by the hash of their config; each part with its own settings, as overrides.

    Runs that failed while they were built have no hash. They are a part of their own only beside
    several hashes.
    """
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(run.result.config_sha256 or "", []).append(run)
    if len(parts.keys() - {""}) < 2:
        return [((), runs)]
    words = _words({hashed: _settings(part) for hashed, part in parts.items()})
    return [(words[hashed], part) for hashed, part in parts.items()]


def _words(settings: dict[str, dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """Returns the settings in which parts differ, with the hash where these do not suffice."""
    keys = sorted(set[str]().union(*settings.values()))
    unlike = [key for key in keys if len({part.get(key) for part in settings.values()}) > 1]
    words = {hashed: tuple(f"{key}={part.get(key, 'null')}" for key in unlike) for hashed, part in settings.items()}
    if len(unlike) <= MOST_WORDS and len(set(words.values())) == len(words):
        return words
    return {hashed: (*words[hashed][:MOST_WORDS], f"config={hashed[:8] or 'unknown'}") for hashed in words}


def _settings(runs: list[Run]) -> dict[str, str]:
    """Returns the settings of a training, since a test has the hash of its training."""
    from metalearn.run.settings import as_typed, without_repeats, written_settings  # late: most reports do without YAML

    trainings_first = sorted(runs, key=lambda run: run.result.seconds.fit is None)
    written = next((values for run in trainings_first if (values := written_settings(run.folder))), {})
    return {key: as_typed(value) for key, value in without_repeats(written, runs[0].result.class_split).items()}
