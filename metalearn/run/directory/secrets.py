"""Secrets are never written: neither values of secret keys, nor secrets of the environment."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from metalearn.run.directory.keys import parts
from metalearn.run.directory.secret_names import is_secret

URL = re.compile(r"(?<=://)([^/?#@\s:]*):([^/@\s]+)@")
QUERY = re.compile(r"(?<=[?&])([\w.-]+)=([^&#\s]+)")
DIRECTORIES = {"PWD", "OLDPWD"}
SHORTEST = 6
"""Length from which a secret is sought inside other texts; shorter ones occur by chance."""


def refuse_written(config: Any, path: str = "") -> None:
    """Raises ValueError for a secret that a config holds in plain text."""
    secrets = [(name, secret) for name, secret in _of_environment() if _is_telling(secret)]
    for key, value in parts(config, path):
        if isinstance(value, dict | list):
            continue
        why = None
        text = value if isinstance(value, str) else ""
        if "${" not in text and any(is_secret(name, value) for name in key.split(".")):
            why = "looks like a secret"
        elif holds_password(text):
            why = "holds a password"
        elif held := [name for name, secret in secrets if secret in text]:
            why = f"holds the value of {held[0]}"
        if why:
            raise ValueError(f"{key} {why}, which would be written down: use ${{oc.env:NAME}}")


def redacted(node: Any) -> Any:
    """Returns a config or text with *** for its secrets.

    >>> redacted({"api_key": "x1y2", "storage": "postgresql://me:x1y2@host/db"})
    {'api_key': '***', 'storage': 'postgresql://me:***@host/db'}
    """
    hidden = sorted({secret for _, secret in _of_environment()}, key=len, reverse=True)

    def walk(child: Any) -> Any:
        if isinstance(child, dict):
            return {k: "***" if is_secret(str(k), v) else walk(v) for k, v in child.items()}
        if isinstance(child, list):
            return [walk(grandchild) for grandchild in child]
        return strike(child) if isinstance(child, str) else child

    def strike(text: str) -> str:
        for secret in hidden:
            if text == secret or len(secret) >= SHORTEST:
                text = text.replace(secret, "***")
        return _without_passwords(text)

    return walk(node)


def holds_password(text: str) -> bool:
    """Whether a URL in a text holds a plain password.

    >>> holds_password("postgresql://me:x1y2@host/db"), holds_password("postgresql://me@host/db")
    (True, False)
    """
    return text != _without_passwords(text)


def _without_passwords(text: str) -> str:
    """Returns a text with *** for the plain passwords in its URLs."""

    def strike(found: re.Match[str]) -> str:
        return found[0] if "${" in found[2] else f"{found[1]}:***@"

    def strike_query(found: re.Match[str]) -> str:
        typed = is_secret(found[1], found[2]) and "${" not in found[2]
        return f"{found[1]}=***" if typed else found[0]

    return QUERY.sub(strike_query, URL.sub(strike, text))


def _of_environment() -> Iterator[tuple[str, str]]:
    """Yields the secrets of the environment, each with the name of its variable."""
    for name, value in os.environ.items():
        passwords = [found[2] for found in URL.finditer(value)]
        if passwords or (value and name not in DIRECTORIES and is_secret(name, value)):
            yield name, value
        for password in passwords:
            yield name, password
            yield name, unquote(password)


def _is_telling(secret: str) -> bool:
    """Whether its text identifies a secret: it is neither a path nor too short."""
    return len(secret) >= SHORTEST and not secret.startswith(("/", "~", "."))
