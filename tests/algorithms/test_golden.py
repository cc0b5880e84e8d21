"""Ten training steps in float64 reproduce the recorded losses.

After an intended change, `PYTHONPATH=tests python tests/algorithms/test_golden.py` records new
ones; the commit states the reason.
"""

import json

import pytest
import torch
from conftest import REPOSITORY
from test_algorithms import NAMES, build, train, training_batch

from metalearn.types import Episode

PATH = REPOSITORY / "tests/golden_losses.json"


def losses(name: str) -> list[float]:
    algorithm = build(name).double()
    batch = Episode(*(part.double() for part in training_batch(algorithm)))
    # At ten times this rate SNAIL diverges at first, and the rounding of another CPU is seen.
    return list(train(algorithm, batch, 10, lr=1e-3))


@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_give_the_golden_losses(name: str) -> None:
    golden = json.loads(PATH.read_text())
    assert losses(name) == pytest.approx(golden[name], rel=1e-6), f"see {PATH.name} and how to renew it"


if __name__ == "__main__":
    torch.set_num_threads(1)
    PATH.write_text(json.dumps({name: losses(name) for name in NAMES}, indent=1) + "\n")
