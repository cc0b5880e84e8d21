"""The hash of the episodes of a test, by which two runs show that they had the same ones."""

import hashlib
from collections.abc import Callable
from typing import Any


class EpisodesDigest:
    """SHA-256 of episodes 0, 1, 2, ... and their data: equal hashes mean equal episodes.

    It takes an episode when it is drawn, so that a test draws each episode once.

    Args:
        data_sha256: function that hashes the data; it may take long.
    """

    def __init__(self, data_sha256: Callable[[], str]) -> None:
        self.data_sha256 = data_sha256
        self.count = 0  # number of episodes taken
        self._digest = hashlib.sha256()

    def __reduce__(self) -> tuple[Any, ...]:
        return EpisodesDigest, (self.data_sha256,)  # copy and pickle refuse a hash, so the copy begins anew

    def add(self, index: int, drawn: tuple[Any, ...]) -> None:
        """Takes the next episode, ignores any other; its first four parts are those of Episode."""
        if index != self.count:
            return
        if index == 0:
            self._digest.update(self.data_sha256().encode())
        for part in drawn[:4]:
            self._digest.update(part.numpy().data)
        self.count += 1

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
