"""Names of secrets, told by their words and not by one spelling."""

import re
from typing import Any

ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "credential", "token"),
    *("apikey", "accesskey", "privatekey", "secretkey"),
)
"""Ends of the last word of a secret's name."""

WORDS = {"auth", "authorization", "bearer", "jwt", "key", "pat", "pw", "pwd"}
"""Last words of a secret's name."""

KEYS = re.compile("(api|access|private|secret)keys?(id)?$")
"""Several words together; other keys in the plural are those of a dictionary."""

COUNTED = ("auth", "key", "token")
"""Ends of names that numbers may have as well."""

HARMLESS = set(
    "bos class cls column eos foreign image input label mask max min num number pad primary sep sort special "
    "target text unk".split()
)
"""Words before the last that make it another thing: pad_token, text_key, max_tokens."""


def is_secret(name: str, value: Any) -> bool:
    """Whether a value is to be kept from files, by the words of its name: apiKey, DB_PWD, tokens, key2."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if not words or HARMLESS & set(words[:-1]):
        return False
    last = words[-1] if words[-1] == "keys" else words[-1].removesuffix("s")
    if last not in WORDS and not last.endswith(ENDINGS) and not KEYS.search("".join(words)):
        return False
    return _hides(value, counted=last.endswith(COUNTED))


def _hides(value: Any, *, counted: bool) -> bool:
    """Whether a value can be a secret: not when it is empty, a switch, or a number where things are counted."""
    if isinstance(value, dict | list):
        children = value.values() if isinstance(value, dict) else value
        return any(_hides(child, counted=counted) for child in children)
    if isinstance(value, int | float):
        return not (isinstance(value, bool) or counted)
    return value not in (None, "", "???")
