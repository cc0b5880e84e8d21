"""Learning rate of the backbone beside that of the other weights."""

import pytest
import torch
from conftest import composed, resolved
from hydra.utils import instantiate
from test_pretrained_backbones import Tiny
from test_pretrained_backbones import algorithm as on

from metalearn.algorithms.prototypical import Prototypical
from metalearn.run.checks.config import check_config
from metalearn.run.checks.continued import check_optimizer
from metalearn.training.groups import groups_of
from metalearn.training.module import FewShotModule


def names(algorithm: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[set[str]]:
    name_of = {id(weight): name for name, weight in algorithm.named_parameters()}
    return [{name_of[id(weight)] for weight in group["params"]} for group in optimizer.param_groups]


def test_backbone_and_rest_have_rates_of_their_own() -> None:
    backbone = Tiny(projection=2)
    module = FewShotModule(on("siamese", backbone), torch.optim.Adam, backbone_lr=1e-5)
    optimizer = module.make_optimizer()
    rest, own = names(module.algorithm, optimizer)
    assert rest == {"alpha.weight", "alpha.bias", "backbone.projection.weight", "backbone.projection.bias"}
    assert own == {f"backbone.network.{name}" for name, _ in backbone.network.named_parameters()}
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-5]


def test_all_weights_are_in_one_group_by_default_and_in_one_group_each_otherwise() -> None:
    algorithm = instantiate(composed("algorithm=maml", "backbone.channels=4").algorithm)
    every = {name for name, _ in algorithm.named_parameters()}
    assert names(algorithm, FewShotModule(algorithm, torch.optim.SGD).make_optimizer()) == [every]
    split = names(algorithm, FewShotModule(algorithm, torch.optim.SGD, backbone_lr=0.1).make_optimizer())
    assert split[0] == {"network.head.weight", "network.head.bias"}
    assert split[0] | split[1] == every and not split[0] & split[1]


def test_normalisation_of_each_step_belongs_to_the_backbone() -> None:
    algorithm = instantiate(composed("algorithm=maml_plus_plus", "backbone.channels=4").algorithm)
    assert list(algorithm.norms.parameters())
    rest, _ = names(algorithm, FewShotModule(algorithm, torch.optim.SGD, backbone_lr=0.1).make_optimizer())
    assert rest == {"rates", "network.head.weight", "network.head.bias"}


def test_a_backbone_without_a_head_is_the_only_group_and_a_frozen_one_is_refused() -> None:
    (group,) = groups_of(Prototypical(Tiny(), batch_norm="running"), 1e-4)
    assert group["lr"] == 1e-4
    with pytest.raises(ValueError, match=r"backbone_lr=0.1, but no weight of the backbone is trained: leave it out"):
        groups_of(Prototypical(Tiny(freeze=True, projection=2), batch_norm="running"), 0.1)
    with pytest.raises(ValueError, match=r"backbone_lr=-0.1 must not be negative"):
        groups_of(Prototypical(Tiny(), batch_norm="running"), -0.1)


def test_the_config_takes_a_number() -> None:
    check_config(resolved("optimizer=sgd", "optimizer.backbone_lr=1e-4"))
    with pytest.raises(ValueError, match="optimizer.backbone_lr='low' is not of the type"):
        check_config(resolved("optimizer.backbone_lr=low"))


def test_a_run_is_not_resumed_with_other_groups() -> None:
    algorithm = Prototypical(Tiny(projection=2), batch_norm="running")
    single, divided = (
        FewShotModule(algorithm, torch.optim.Adam, backbone_lr=lr).make_optimizer() for lr in (None, 0.1)
    )
    check_optimizer(divided.state_dict(), divided)
    with pytest.raises(ValueError, match=r"holds 1 groups of weights and the config makes 2: optimizer.backbone_lr"):
        check_optimizer(single.state_dict(), divided)


@pytest.mark.parametrize("scheduler", ["constant", "cosine"])
def test_a_run_trains_with_both(metalearn, scheduler: str) -> None:
    typed = ["optimizer.lr=0.1", "optimizer.backbone_lr=0.0", f"scheduler={scheduler}", "trainer.max_steps=4"]
    run = metalearn("algorithm=siamese", "batch_norm=support", *typed)
    assert run.code == 0, run.text
    rates = [group["initial_lr" if scheduler == "cosine" else "lr"] for group in
             run.checkpoint()["optimizer_states"][0]["param_groups"]]  # fmt: skip
    assert rates == [0.1, 0.0]
