"""Fuzzes the readers of foreign files and command lines, guided by coverage.

    python scripts/drills/fuzz.py checkpoint -max_total_time=150    # mutated checkpoints
    python scripts/drills/fuzz.py overrides -max_total_time=150     # overrides of a checkpoint

It needs `pip install atheris`, which no test needs. A mutated checkpoint is refused in one line or
reads as equal content. An accepted override holds no code and no key of Hydra. Further arguments go
to libFuzzer.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["metalearn.run", "zipfile"]):
    from metalearn.run.command.inherited import check_kept
    from metalearn.run.directory.checkpoint_file import read_checkpoint
    from metalearn.run.directory.origin import FACTS, Origin

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

WORDS = [
    *("hydra", "._target_", "seed", ".", "@", "=", "+", "~", "-", "{", "}", "[", "]", ",", ":", "${", "'", '"', "\\"),
    *("oc.env:", "oc.decode:", "os.system", "torch.nn.ReLU", "token", "_TOKEN", "SECRET", "1", " ", "\n"),
]
LONGEST_LINE = 600


def small_checkpoint() -> dict[str, Any]:
    """Returns the smallest checkpoint of metalearn."""
    parts = {"dataset": "glyphs", "algorithm": "prototypical", "backbone": "conv4"}
    facts = Origin.untrained(**parts, built={}, preparation=None).facts() | {"overrides": ["seed=1"]}
    return {FACTS: facts, "state_dict": {"weight": torch.arange(4.0)}, "global_step": 3}


def plain(node: Any) -> Any:
    """Returns a node with bytes for its tensors, so that it can be compared."""
    if isinstance(node, dict):
        return {name: plain(child) for name, child in node.items()}
    if isinstance(node, list | tuple):
        return [plain(child) for child in node]
    return node.numpy().tobytes() if isinstance(node, torch.Tensor) else node


def assert_one_line(message: str) -> None:
    assert "\n" not in message and len(message) < LONGEST_LINE, message


def checkpoint_target(folder: Path) -> Callable[[bytes], None]:
    """Returns a reader of mutated checkpoints; each is refused in one line, or is unchanged."""
    path = folder / "mutated.ckpt"
    torch.save(small_checkpoint(), path)
    good, expected = path.read_bytes(), plain(read_checkpoint(path))

    def read_mutated(data: bytes) -> None:
        choices, mutated = atheris.FuzzedDataProvider(data), bytearray(good)
        for _ in range(choices.ConsumeIntInRange(1, 3)):
            at = choices.ConsumeIntInRange(0, len(mutated) - 1)
            if choices.ConsumeBool():
                mutated[at] ^= 1 << choices.ConsumeIntInRange(0, 7)
            else:
                end = at + choices.ConsumeIntInRange(0, 64)
                mutated[at:end] = choices.ConsumeBytes(choices.ConsumeIntInRange(0, 64))
        path.write_bytes(mutated)
        try:
            held = plain(read_checkpoint(path))
        except (ValueError, OSError) as error:
            assert_one_line(str(error))
        else:
            assert held == expected

    return read_mutated


def override_target(folder: Path) -> Callable[[bytes], None]:
    """Returns a filter of overrides that accepts no flag, key of Hydra, or foreign class."""

    def filter_odd(data: bytes) -> None:
        choices = atheris.FuzzedDataProvider(data)
        words = range(choices.ConsumeIntInRange(1, 14))
        override = "".join(
            WORDS[choices.ConsumeIntInRange(0, len(WORDS) - 1)]
            if choices.ConsumeBool()
            else choices.ConsumeUnicodeNoSurrogates(2)
            for _ in words
        )
        try:
            check_kept(override)
        except ValueError as error:
            assert_one_line(str(error))
            return
        (parsed,) = OverridesParser.create().parse_overrides([override])
        assert not parsed.is_hydra_override() and (parsed.package or "").split(".")[0] != "hydra", override
        assert not override.startswith("-"), override
        assert all(str(target).startswith("torch.nn.") for target in targets(parsed.value())), override

    return filter_odd


def targets(value: Any) -> Iterator[Any]:
    """Yields the names of all classes in a value."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and "_target_" in value:
        yield value["_target_"]
    for child in children:
        yield from targets(child)


FUZZED = {"checkpoint": checkpoint_target, "overrides": override_target}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in FUZZED:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup([sys.argv[0], *sys.argv[2:]], FUZZED[sys.argv[1]](Path(folder)))
        atheris.Fuzz()
