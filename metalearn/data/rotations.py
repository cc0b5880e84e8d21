"""Names of classes whose images are rotated, such as Greek/character05/rot090."""

import re

DEGREES = (0, 90, 180, 270)
SUFFIX = re.compile(f"/rot({'|'.join(f'{degrees:03d}' for degrees in DEGREES)})$")


def rotated(name: str, degrees: int) -> str:
    """Returns the name of the class of the rotated images of a class.

    >>> rotated("Greek/character05", 90)
    'Greek/character05/rot090'
    """
    return f"{name}/rot{degrees:03d}"


def upright(name: str) -> str:
    """Returns the name that a class has where no class is rotated.

    >>> upright("Greek/character05/rot000"), upright("Greek/character05/rot090")
    ('Greek/character05', 'Greek/character05/rot090')
    """
    return name.removesuffix("/rot000")


def drawn_class(name: str) -> str:
    """Returns the name of the class whose images another class may hold in rotation.

    >>> drawn_class("Greek/character05/rot090")
    'Greek/character05'
    """
    return SUFFIX.sub("", name)
