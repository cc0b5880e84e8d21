"""The pages against the program: the result keys in docs/runs.md, and its prediction snippet."""

import re

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, Finished
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn import functional as F

from metalearn.episodes.fetching import intensities
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Shape

PAGE = (REPOSITORY / "docs/runs.md").read_text()


@pytest.fixture(scope="module", params=["prototypical", "maml"])
def finished(metalearn, request: pytest.FixtureRequest) -> Finished:
    return metalearn(f"algorithm={request.param}", "tasks_per_batch=1")


def test_every_key_of_a_result_is_told(finished: Finished) -> None:
    result = finished.result
    told = set(re.findall(r"`(\w+)`", PAGE.partition("## What is in result.json")[2].partition("\n## ")[0]))
    assert result.keys() <= told
    assert result["test"].keys() | result["test"]["accuracy"].keys() | result["seconds"].keys() <= told


def answers(finished: Finished, index: int, *, every: int = 1, together: bool = True) -> torch.Tensor:
    """Returns which queries the page's snippet gets right, given them together or one by one."""
    snippet = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    bank = instantiate(OmegaConf.load(finished.folder / "hparams.yaml").dataset).load()["test"]
    episode = draw(bank.rows, Shape((1,) * 5, (15,) * 5), seed=0, split="test", index=index)
    query_x = intensities(bank.images[episode.query_rows[::every]])
    right = []
    for queries in [query_x] if together else query_x.split(1):
        names = {
            "support_x": intensities(bank.images[episode.support_rows]),
            "support_y": F.one_hot(episode.support_ways, 5).float(),
            "query_x": queries,
        }
        exec(re.sub(r"outputs/\.\.\.[^\"]+", str(finished.folder), snippet), names)
        torch.testing.assert_close(names["probabilities"].sum(-1), torch.ones(len(queries)))
        right.append(names["probabilities"].argmax(-1))
    return torch.cat(right) == episode.query_ways[::every]


def test_the_snippet_predicts_what_the_test_did(finished: Finished) -> None:
    tested = np.load(finished.folder / "test_episodes.npz")["accuracy"]
    ours = [answers(finished, index).double().mean().item() for index in range(len(tested))]
    assert ours == pytest.approx(tested)
    assert np.mean(ours) == pytest.approx(finished.test["accuracy"]["mean"])


def test_single_queries_are_predicted_alike_where_the_page_says_so(finished: Finished) -> None:
    together, alone = (answers(finished, 0, every=5, together=way) for way in (True, False))
    assert torch.equal(together, alone) == (not finished.result["transductive"])
