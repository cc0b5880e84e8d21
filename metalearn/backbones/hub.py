"""Models of Hugging Face's transformers, read without messages, and never with random weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from metalearn.formats import first_line, installing


@contextmanager
def reading(name: str, backbone: str) -> Iterator[Any]:
    """Gives transformers, to read the model `name` for an option of the group backbone.

    Raises ValueError, in one line, without transformers or where the model cannot be read.
    """
    try:
        import transformers  # late: an extra
    except ImportError as error:
        raise ValueError(f"backbone={backbone} needs transformers: {installing('pretrained')} ({error})") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield transformers
    except (OSError, ValueError) as error:
        raise ValueError(f"backbone.name={name}: {first_line(error, 400)}") from error


def check_whole(name: str, report: Mapping[str, Any]) -> None:
    """Raises ValueError if a file lacked weights, except those of a pooler, which is not used."""
    if missing := [key for key in report["missing_keys"] if not key.startswith("pooler.")]:
        raise ValueError(f"backbone.name={name} has no weights for {min(missing)}, which would be random")
