"""Runs whose commands are equal, but whose config files were edited in between."""

from metalearn.report.reading.runs import Run

MOST_WORDS = 3


def by_config(runs: list[Run]) -> list[tuple[tuple[str, ...], list[Run]]]:
    """Splits runs by the hash of their config; each part with its own settings, as overrides.

    Runs of earlier versions have no hash. They are a part of their own only beside several hashes.
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
