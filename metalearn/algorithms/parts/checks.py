"""Checks of single settings."""

from collections.abc import Collection


def check_choice(choices: Collection[str], **settings: str) -> None:
    """Raises ValueError if a setting is none of the choices."""
    for name, value in settings.items():
        if value not in choices:
            raise ValueError(f"there is no {name} {value!r}; choose from {', '.join(choices)}")


def check_at_least(smallest: int, **settings: float) -> None:
    """Raises ValueError if a setting is smaller, or not a number."""
    for name, value in settings.items():
        if not value >= smallest:
            raise ValueError(f"{name}={value} must be at least {smallest}")


def check_positive(**settings: float) -> None:
    """Raises ValueError if a setting is 0 or less, or not a number."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be positive")
