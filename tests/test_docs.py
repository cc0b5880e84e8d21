"""The pages against the program: what docs/runs.md says of a result, and its snippet that predicts."""

import re

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, Finished
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn import functional as F

from metalearn.episodes.sampling import Shape, draw, intensities

PAGE = (REPOSITORY / "docs/runs.md").read_text()


@pytest.fixture(scope="module", params=["prototypical", "maml"])
def finished(metalearn, request: pytest.FixtureRequest) -> Finished:
    return metalearn(f"algorithm={request.param}")


def test_every_key_of_a_result_is_told(finished: Finished) -> None:
    result = finished.result
    told = set(re.findall(r"`(\w+)`", PAGE.partition("## What is in result.json")[2].partition("\n## ")[0]))
    assert result.keys() <= told
    assert result["test"].keys() | result["test"]["accuracy"].keys() | result["seconds"].keys() <= told


def test_the_snippet_predicts_what_the_test_did(finished: Finished) -> None:
    snippet = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    bank = instantiate(OmegaConf.load(finished.folder / "hparams.yaml").dataset).load()["test"]
    episode = draw(bank.rows, Shape((1,) * 5, 15), seed=0, split="test", index=0)
    names = {
        "support_x": intensities(bank.images[episode.support_rows]),
        "support_y": F.one_hot(episode.support_ways, 5).float(),
        "query_x": intensities(bank.images[episode.query_rows]),
    }
    exec(re.sub(r"outputs/\.\.\.[^\"]+", str(finished.folder), snippet), names)
    right = names["probabilities"].argmax(-1) == episode.query_ways
    assert right.double().mean() == pytest.approx(np.load(finished.folder / "test_episodes.npz")["accuracy"][0])
    torch.testing.assert_close(names["probabilities"].sum(-1), torch.ones(75))
