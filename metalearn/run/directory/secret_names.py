"""Names of secrets, recognised by their words in any spelling."""

import re
from typing import Any

ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "credential", "token"),
    *("apikey", "accesskey", "privatekey", "secretkey"),
)
"""Endings of the last word of a secret's name."""

WORDS = {"auth", "authorization", "bearer", "jwt", "key", "pat", "pw", "pwd"}
"""Last words of a secret's name."""

KEYS = re.compile("(api|access|private|secret)keys?(id)?$")
"""Joined words of a secret's name; other plural keys are keys of a dictionary."""

COUNTED = ("auth", "key", "token")
"""Endings of names that may also name numbers."""

HARMLESS = set(
    "bos class cls column eos foreign image input label mask max min num number pad primary sep sort special "
    "target text unk".split()
)
"""Words before the last one that make a name harmless: pad_token, text_key, max_tokens."""


def is_secret(name: str, value: Any) -> bool:
    """Whether a value is a secret, by the words of its name: apiKey, DB_PWD, tokens, key2.

    >>> is_secret("DB_PWD", "x1y2"), is_secret("pad_token", "[PAD]")
    (True, False)
    """
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if not words or HARMLESS & set(words[:-1]):
        return False
    last = words[-1] if words[-1] == "keys" else words[-1].removesuffix("s")
    if last not in WORDS and not last.endswith(ENDINGS) and not KEYS.search("".join(words)):
        return False
    return _hides(value, counted=last.endswith(COUNTED))


def _hides(value: Any, *, counted: bool) -> bool:
    """Whether a value can be a secret: not if it is empty, a switch, or a count."""
    if isinstance(value, dict | list):
        children = value.values() if isinstance(value, dict) else value
        return any(_hides(child, counted=counted) for child in children)
    if isinstance(value, int | float):
        return not (isinstance(value, bool) or counted)
    return value not in (None, "", "???")
