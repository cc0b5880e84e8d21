"""Check of a setting that has a few values."""

from collections.abc import Collection


def check_choice(choices: Collection[str], **settings: str) -> None:
    """Raises ValueError if a setting is none of the choices."""
    for name, value in settings.items():
        if value not in choices:
            raise ValueError(f"there is no {name} {value!r}; choose from {', '.join(choices)}")
