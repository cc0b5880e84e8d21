"""Dependence of predictions: the label of a run against the network as built."""

import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from test_algorithms import NAMES, WAY, build
from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import BatchNorm
from metalearn.training.module import FewShotModule

MODES = ("running", "support", "batch")


class Plain(nn.Module):
    """Third-party backbone, which ignores rows."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.num_features, self.map_shape = 16, (4, 2, 2)

    def forward(self, x: Tensor, rows: object = None) -> Tensor:
        return self.layers(x)


def maml(backbone: nn.Module, batch_norm: str) -> MAML:
    return MAML(backbone, way=WAY, inner_lr=0.4, inner_loop=InnerLoop(steps=1, test_steps=1), batch_norm=batch_norm)


def depends_on_other_queries(algorithm: AbstractAlgorithm) -> bool:
    """Whether predictions of single queries differ from those of all queries together."""
    task = type(batch := episode(tasks=1, way=WAY, query=1))(*(part[0].double() for part in batch))
    predict = algorithm.double().eval().adapt(task.support_x, task.support_y)
    alone = torch.cat([predict(query[None]) for query in task.query_x])
    return not torch.allclose(alone, predict(task.query_x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("batch_norm", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_an_algorithm_is_called_transductive_where_it_is(name: str, batch_norm: str) -> None:
    algorithm = build(name, batch_norm=batch_norm)
    assert algorithm.dependence() == (batch_norm, algorithm.predicts_jointly or batch_norm == "batch")
    assert depends_on_other_queries(algorithm) == algorithm.dependence().transductive


@pytest.mark.parametrize(
    ("name", "changes"), [("soft_kmeans", {"steps": 0}), ("tim", {"steps": 0}), ("tim", {"lr": 0.0})]
)
def test_a_method_that_takes_no_step_by_the_queries_is_inductive(name: str, changes: dict[str, float]) -> None:
    algorithm = build(name, **{f"algorithm.{key}": value for key, value in changes.items()})
    assert not algorithm.dependence().transductive
    assert not depends_on_other_queries(algorithm)


@pytest.mark.parametrize("batch_norm", MODES)
@pytest.mark.parametrize("make", [lambda backbone, mode: Prototypical(backbone, batch_norm=mode), maml])
@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)])
def test_a_network_without_batch_normalisation_has_no_mode_and_is_inductive(norm, make, batch_norm: str) -> None:
    algorithm = make(Plain(norm), batch_norm)
    assert algorithm.dependence() == ("none", False)
    assert not depends_on_other_queries(algorithm)


def test_the_batch_normalisation_of_torch_keeps_one_promise() -> None:
    for norm in (nn.BatchNorm2d(4), nn.LazyBatchNorm2d()):
        algorithm = Prototypical(Plain(norm), batch_norm="running")
        assert FewShotModule(algorithm, torch.optim.Adam).dependence == ("running", False)
    assert not depends_on_other_queries(Prototypical(Plain(nn.BatchNorm2d(4)), batch_norm="running"))


NOT_REACHED = "batch_norm={} does not reach {} at {}backbone.layers.1"


@pytest.mark.parametrize(
    ("norm", "make", "batch_norm", "why"),
    [
        (nn.BatchNorm2d(4), Prototypical, "support", NOT_REACHED.format("support", "BatchNorm2d", "")),
        (nn.SyncBatchNorm(4), Prototypical, "batch", NOT_REACHED.format("batch", "SyncBatchNorm", "")),
        (nn.BatchNorm2d(4), maml, "support", NOT_REACHED.format("support", "BatchNorm2d", "network.")),
        (nn.BatchNorm2d(4), maml, "running", "each inner step would move the running averages of BatchNorm2d"),
        (nn.BatchNorm2d(4, track_running_stats=False), Prototypical, "running", "keeps no running averages"),
    ],
)
def test_what_cannot_keep_the_promise_is_refused(norm: nn.Module, make, batch_norm: str, why: str) -> None:
    algorithm = make(Plain(norm), batch_norm=batch_norm)
    with pytest.raises(ValueError, match=f"{why}.*use metalearn.backbones.norm.BatchNorm"):
        FewShotModule(algorithm, torch.optim.Adam)


def test_a_network_with_both_normalisations_is_refused_for_the_one_that_is_not_ours() -> None:
    both = Prototypical(Plain(nn.Sequential(BatchNorm(4), nn.BatchNorm2d(4))), batch_norm="batch")
    with pytest.raises(ValueError, match=r"BatchNorm2d at backbone\.layers\.1\.1: use"):
        both.dependence()


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        ("algorithm=maml batch_norm=running", True),
        ("algorithm=reptile batch_norm=running", True),
        ("algorithm=maml batch_norm=support", False),
        ("algorithm=maml_plus_plus batch_norm=running", False),  # each step has its own averages
        ("algorithm=maml_plus_plus batch_norm=running algorithm.norm_per_step=false", True),
        ("algorithm=prototypical batch_norm=running", False),
        ("dataset=sinusoid", False),  # no normalisation
    ],
)
def test_running_averages_of_other_weights_are_warned_of(
    overrides: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    instantiate(composed(*overrides.split()).algorithm)
    assert ("averages of the weights before the inner loop" in caplog.text) == warned


def without(name: str, **attributes: object) -> nn.Module:
    """Returns `Plain` with one attribute changed."""
    backbone = Plain(nn.Identity())
    delattr(backbone, name)
    for attribute, value in attributes.items():
        setattr(backbone, attribute, value)
    return backbone


class Rowless(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_refuses_what_is_no_backbone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "metalearn.backbones.conv4.Conv4.__init__", lambda self, *args, **more: nn.Module.__init__(self)
    )
    with pytest.raises(Exception, match="Conv4 is not a backbone, because its num_features is None: a backbone has"):
        build(name)


@pytest.mark.parametrize(
    ("backbone", "why"),
    [
        (without("num_features"), "its num_features is None"),
        (without("num_features", num_features=0), "its num_features is 0"),
        (without("map_shape"), "its map_shape is None and its num_features 16"),
        (without("map_shape", map_shape=(4, 4, 4)), r"its map_shape is \(4, 4, 4\) and its num_features 16"),
        (Rowless(nn.Identity()), r"its forward is forward\(x: .*\) -> torch.Tensor"),
    ],
)
def test_a_backbone_keeps_its_contract(backbone: nn.Module, why: str) -> None:
    contract = r"a backbone has num_features D, map_shape \(C, h, w\) with C h w = D, and forward\(x, rows\)"
    with pytest.raises(ValueError, match=f"is not a backbone, because {why}: {contract}"):
        Prototypical(backbone, batch_norm="running")


def test_an_abstract_backbone_must_say_how_it_embeds() -> None:
    class Silent(AbstractBackbone):
        pass

    with pytest.raises(TypeError, match="abstract method '?forward"):
        Silent()
    assert issubclass(type(build("prototypical").backbone), AbstractBackbone)


def test_a_run_refuses_it_before_training(metalearn) -> None:
    done = metalearn("++algorithm.backbone={_target_:torch.nn.Flatten}")
    assert done.code == 2
    assert done.text.strip().endswith("-> (B, D) (docs/extending.md)")
    assert "metalearn: Flatten is not a backbone, because its num_features is None: a backbone has" in done.text
    assert done.result["steps"] is None
