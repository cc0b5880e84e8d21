"""Own parts are checked: methods, state, shapes, and dependence on other rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from algorithm_options import NAMES
from conftest import REPOSITORY, Command, composed
from hydra.utils import instantiate
from own_backbone import own_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import MLP, ClassBank, EpisodicDataModule, Prototypical, Setting, evaluate
from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.metric import AbstractMetric
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import BatchNorm, Moments, Rows
from metalearn.training.module import FewShotModule
from metalearn.training.own_parts import (
    check_backbone,
    check_compare,
    check_declared,
    check_methods,
    check_output,
)
from metalearn.training.own_state import check_state, unregistered
from metalearn.types import Episode, Predictor, TaskOutput


class Alone(AbstractMetric):
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return -torch.cdist(query_z, support_z) @ support_y


class Centred(AbstractMetric):
    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        return -10 * torch.cdist(query_z - query_z.mean(0), support_z - support_z.mean(0)) @ support_y


class Declared(AbstractMetric):
    predicts_jointly = True
    compare = Centred.compare


class Outputs(AbstractAlgorithm):
    """Predicts by a function of the queries."""

    def __init__(self, function: Predictor, problem: str) -> None:
        super().__init__(batch_norm="running", problem=problem)
        self.function = function

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        return self.function

    def loss(self, batch: Episode) -> TaskOutput:
        raise AssertionError


def episodes(stage: str = "test") -> EpisodicDataModule:
    images = np.random.default_rng(0).integers(256, size=(5, 4, 1, 4, 4), dtype=np.uint8)
    bank, setting = ClassBank.from_classes(images, list("abcde")), Setting(way=5, shot=1, query=3, num_episodes=2)
    return EpisodicDataModule({stage: bank}, {stage: setting}, seed=0, tasks_per_batch=1)


def run(algorithm: AbstractAlgorithm, stage: str = "test") -> None:
    torch.manual_seed(0)
    data = episodes(stage)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    module = FewShotModule(algorithm, torch.optim.Adam)
    if stage == "val":
        trainer.validate(module, datamodule=data, verbose=False)
    else:
        evaluate(trainer, module, data)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", [Alone, Declared, Prototypical])
def test_an_algorithm_that_tells_the_truth_is_tested(kind: type, norm: bool) -> None:
    run(kind(MLP([1, 4, 4], hidden=[8], norm=norm), batch_norm="running"))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_dependence_that_is_not_declared_is_refused(stage: str) -> None:
    message = "Centred predicts a query differently .*: set predicts_jointly = True in Centred"
    with pytest.raises(ValueError, match=message):
        run(Centred(MLP([1, 4, 4], hidden=[8], norm=False), batch_norm="running"), stage)


class Moved(AbstractAlgorithm):
    """Trains its own weights on the support set, without a copy of them."""

    def __init__(self, *, predicts_jointly: bool) -> None:
        super().__init__(batch_norm="running")
        self.head, self.predicts_jointly = nn.Linear(16, 5), predicts_jointly

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        with torch.no_grad():
            self.head.bias += support_y.mean(0)
        return lambda query_x: self.head(query_x.flatten(1))

    def loss(self, batch: Episode) -> TaskOutput:
        raise AssertionError


@pytest.mark.parametrize("predicts_jointly", [False, True])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_an_adaptation_that_changes_the_weights_is_refused(stage: str, predicts_jointly: bool) -> None:
    with pytest.raises(ValueError, match="adapt of Moved changes head.bias, .*: let it change a copy"):
        run(Moved(predicts_jointly=predicts_jointly), stage)


class Remembering(AbstractMetric):
    """Keeps a mean of the embeddings of all episodes in a buffer."""

    def __init__(self, backbone: AbstractBackbone, *, in_evaluation: bool) -> None:
        super().__init__(backbone, batch_norm="running")
        self.register_buffer("mean", torch.zeros(backbone.num_features))
        self.in_evaluation = in_evaluation

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        if self.training or self.in_evaluation:
            self.mean.lerp_(support_z.mean(0), 0.1)
        return (query_z - self.mean) @ (support_z - self.mean).T @ support_y


@pytest.mark.parametrize("stage", ["val", "test"])
def test_an_evaluation_that_changes_a_buffer_is_refused(stage: str) -> None:
    backbone = MLP([1, 4, 4], hidden=[8], norm=False)
    run(Remembering(backbone, in_evaluation=False), stage)
    with pytest.raises(ValueError, match="compare of Remembering changes mean, .*: let it change a copy"):
        run(Remembering(backbone, in_evaluation=True), stage)


class Growing(Moved):
    """Keeps the support sets of all episodes, beside a sparse constant."""

    def __init__(self, *, grows: bool) -> None:
        super().__init__(predicts_jointly=False)
        self.register_buffer("seen", torch.zeros(0))
        self.register_buffer("graph", torch.eye(2).to_sparse())
        self.grows = grows

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        if self.grows:
            self.seen = torch.cat([self.seen, support_x.flatten()])
        return lambda query_x: query_x.new_zeros(len(query_x), support_y.shape[1])


def test_an_adaptation_that_replaces_a_buffer_is_refused() -> None:
    run(Growing(grows=False), "val")
    with pytest.raises(ValueError, match="adapt of Growing changes seen, .*: let it change a copy"):
        run(Growing(grows=True), "val")


@pytest.mark.parametrize("problem", ["classification", "regression"])
@pytest.mark.parametrize(
    ("function", "is_joint"),
    [
        (lambda x: 1e-3 * x, False),
        (lambda x: 1e3 * (x - x.mean(0)), True),
        (lambda x: x + 1e-4 * x.mean(0), False),
        (lambda x: x + torch.randn(len(x), 1) * torch.arange(x.shape[1]), False),
    ],
    ids=["alone", "centred", "rounding", "random"],
)
def test_predictions_are_compared_in_their_unit(function: Predictor, is_joint: bool, problem: str) -> None:
    task = Episode(*(torch.rand(6, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(4)))
    algorithm = Outputs(function, problem)
    if is_joint:
        with pytest.raises(ValueError, match="set predicts_jointly = True in Outputs"):
            check_declared(algorithm, task, is_embedded=False)
    else:
        check_declared(algorithm, task, is_embedded=False)


@pytest.mark.parametrize("predicts_jointly", [False, True])
@pytest.mark.parametrize("function", [lambda x: x[:, 0], lambda x: x[None], lambda x: x.T])
def test_predictions_of_another_shape_are_refused(function: Predictor, predicts_jointly: bool) -> None:
    task, algorithm = Episode(*(torch.rand(6, 1) for _ in range(4))), Outputs(function, "regression")
    algorithm.predicts_jointly = predicts_jointly
    with pytest.raises(ValueError, match=r"Outputs predicts \(.*6.*\) for 6 queries: let it return \(Q, N\)"):
        check_declared(algorithm, task, is_embedded=False)


@pytest.mark.parametrize("shape", [(2, 6), (12, 1), (6, 2, 1)])
def test_training_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    batch, algorithm = Episode(*torch.rand(4, 2, 6, 1)), Outputs(lambda x: x, "regression")
    for logits in (None, batch.query_y, batch.query_y.repeat(1, 1, 2)):  # means and deviations
        check_output(algorithm, TaskOutput(torch.zeros(()), logits), batch)
    with pytest.raises(ValueError, match=r"returns logits \(.*\) for \(T, Q\) = \(2, 6\): let it return \(T, Q, N\)"):
        check_output(algorithm, TaskOutput(torch.zeros(()), batch.query_y.view(shape)), batch)


@pytest.mark.parametrize(("loss", "found"), [(torch.zeros(12), r"\(12,\)"), (0.5, "a float")])
def test_a_training_loss_of_another_shape_is_refused(loss: Any, found: str) -> None:
    batch = Episode(*torch.zeros(4, 2, 6, 5))
    with pytest.raises(ValueError, match=rf"^loss of Outputs returns the loss {found}: let it be a scalar tensor"):
        check_output(Outputs(torch.zeros_like, "classification"), TaskOutput(loss), batch)


def test_an_adaptation_that_returns_logits_is_refused() -> None:
    algorithm = Outputs(torch.zeros(15, 5), "classification")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^adapt of Outputs returns a Tensor, not a function from queries to logits"):
        run(algorithm)


def test_training_logits_of_one_task_need_no_axis_of_tasks() -> None:
    batch, algorithm = Episode(*torch.rand(4, 1, 6, 1)), Outputs(lambda x: x, "regression")
    check_output(algorithm, TaskOutput(torch.zeros(()), batch.query_y[0]), batch)


class Own(nn.Module):
    """Own backbone that embeds the pixels by a function."""

    def __init__(self, function: Predictor, num_features: int = 16) -> None:
        super().__init__()
        self.function, self.num_features, self.map_shape = function, num_features, (num_features, 1, 1)
        self.dropout = nn.Dropout()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        self.passes += 1
        return self.function(self.dropout(x.flatten(1)))


class Normalised(Own):
    def __init__(self, function: Predictor) -> None:
        super().__init__(function)
        self.norm = BatchNorm(16)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.function(self.norm(x.flatten(1), rows))


def test_a_backbone_under_another_name_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The result does not state its pretraining, and no check finds it."""

    class Encoded(Outputs):
        def __init__(self) -> None:
            super().__init__(torch.flatten, "classification")
            self.encoder = MLP([4])

    check_state(Encoded())
    assert "Encoded keeps the backbone MLP in 'encoder': keep it in 'backbone'" in caplog.text


class Doubled(Own):
    """Embeds by a linear layer, whose weights have a precision."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 3))

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.function(x.flatten(1))


COUPLED = {
    "batch_norm": lambda z: F.batch_norm(z, None, None, training=True),
    "std": lambda z: z / z.std(0),
    "largest": lambda z: z - z.amax(0),
}


@pytest.mark.parametrize("batch_norm", ["running", "support"])
@pytest.mark.parametrize("kind", [Own, Normalised])
@pytest.mark.parametrize("coupled", COUPLED)
def test_an_own_backbone_that_couples_rows_is_refused(coupled: str, kind: type[Own], batch_norm: Moments) -> None:
    algorithm = Prototypical(kind(COUPLED[coupled]), batch_norm=batch_norm)
    message = f"{kind.__name__} embeds an input differently among other inputs.*: use metalearn's BatchNorm .*rows"
    with pytest.raises(ValueError, match=message):
        check_backbone(algorithm, episodes())


def test_an_own_backbone_in_double_precision_is_checked() -> None:
    with pytest.raises(ValueError, match=r"Doubled embeds 8 inputs as \(8, 3\), not \(8, 16\)"):
        check_backbone(Prototypical(Doubled().double(), batch_norm="running"), episodes())


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
@pytest.mark.parametrize(
    "backbone",
    [
        Own(lambda z: F.layer_norm(z, (16,))),
        Own(lambda z: z + torch.randn_like(z)),
        Normalised(torch.relu),
        MLP([1, 4, 4], hidden=[8]),
    ],
    ids=["each alone", "random", "ours", "of the package"],
)
def test_an_own_backbone_that_embeds_rows_alone_is_accepted(backbone: nn.Module, batch_norm: Moments) -> None:
    torch.manual_seed(0)
    drawn, algorithm = torch.get_rng_state(), Prototypical(backbone, batch_norm=batch_norm)
    check_backbone(algorithm, episodes())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert algorithm.backbone.training
    assert not getattr(backbone, "passes", 0)


def test_an_own_backbone_may_couple_rows_where_the_moments_of_the_batch_are_declared() -> None:
    check_backbone(Prototypical(Normalised(COUPLED["batch_norm"]), batch_norm="batch"), episodes())


@pytest.mark.parametrize(("function", "found"), [(lambda z: z[:, :3], r"\(8, 3\)"), (lambda z: (z, z), "a tuple")])
def test_an_embedding_of_another_shape_is_refused(function: Predictor, found: str) -> None:
    with pytest.raises(ValueError, match=rf"Own embeds 8 inputs as {found}, not \(8, 16\)"):
        check_backbone(Prototypical(Own(function), batch_norm="running"), episodes())


class Compared(AbstractMetric):
    """Own algorithm that compares by a function of support rows, their ways, and queries."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(MLP([1, 4, 4], hidden=[8]), batch_norm="running")
        self.function = function

    def compare(self, support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
        assert not self.training
        return self.function(support_z, support_y, query_z)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda s, y, q: (-torch.cdist(q, s) @ y).T, r"\(5, 11\)"),
        (lambda s, y, q: (-torch.cdist(q, s) @ y)[:, :-1], r"\(11, 4\)"),
        (lambda s, y, q: (-torch.cdist(q, s) @ y).numpy(), "a ndarray"),
        (lambda s, y, q: None, "a NoneType"),
    ],
)
def test_logits_of_another_shape_are_refused(function: Callable[..., Any], found: str) -> None:
    message = rf"^compare of Compared returns {found} for 5 support rows, 11 queries and 5 ways, not \(Q, N\) = \(11, 5"
    with pytest.raises(ValueError, match=message):
        check_compare(Compared(function), episodes())


def test_logits_of_the_right_shape_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = Compared(lambda s, y, q: -torch.cdist(q, s) @ y).double()
    drawn = torch.get_rng_state()
    check_compare(algorithm, episodes())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert algorithm.training and not caplog.messages
    check_compare(Compared(lambda s, y, q: q.no_such()), episodes())
    assert "Compared was not checked, since it failed on a CPU: " in caplog.text


def test_logits_that_are_random_or_probabilities_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_compare(Compared(lambda s, y, q: -torch.cdist(nn.Linear(8, 4)(q), nn.Linear(8, 4)(s)) @ y), episodes())
    assert "compare of Compared gives other logits for the same embeddings: make layers" in caplog.text
    check_compare(Compared(lambda s, y, q: (-torch.cdist(q, s)).softmax(-1) @ y), episodes())
    assert "compare of Compared returns probabilities: let it return logits, such as log(p + 1e-6)" in caplog.text


class Kept(Compared):
    """Own algorithm that keeps an object in an attribute."""

    def __init__(self, kept: Any) -> None:
        super().__init__(torch.matmul)
        self.kept = kept


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([nn.Parameter(torch.zeros(3))], "keeps a Parameter in 'kept', .* use nn.ParameterList "),
        ((nn.Linear(2, 2),), "keeps a Module in 'kept', .* use nn.ModuleList or nn.ModuleDict "),
    ],
)
def test_weights_that_no_checkpoint_finds_are_refused(kept: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^Kept {message}"):
        check_state(Kept(kept))


@pytest.mark.parametrize("kept", [torch.zeros(3), {"a": [torch.zeros(3)]}])
def test_a_tensor_that_no_checkpoint_finds_is_a_warning(kept: Any, caplog: pytest.LogCaptureFixture) -> None:
    check_state(Kept(kept))
    (message,) = caplog.messages
    assert message.startswith("Kept keeps a Tensor in 'kept', where no checkpoint finds it: use register_buffer ")


def test_state_that_a_checkpoint_finds_is_accepted() -> None:
    algorithm = Kept(nn.ParameterList([torch.zeros(3)]))
    algorithm.register_buffer("mean", torch.zeros(3))
    algorithm.itself = itself = [algorithm]
    itself.append(itself)
    algorithm.again = [algorithm.backbone, algorithm.kept[0], {"mean": algorithm.mean}, "text", 1]
    check_state(algorithm)


@pytest.mark.parametrize(
    "choice",
    [
        *(f"algorithm={name}" for name in NAMES),
        *(f"backbone={path.stem}" for path in (REPOSITORY / "conf/backbone").glob("[!h]*.yaml")),  # not huggingface
    ],
)
def test_parts_of_the_package_keep_all_their_state_in_checkpoints(choice: str) -> None:
    texts = ["dataset=clinc150"] if choice.startswith(("backbone=text", "backbone=bag")) else []
    config = composed(choice, *texts, "episode.train.way=3", "num_base_classes=3")
    assert not list(unregistered(instantiate(config[choice.partition("=")[0]])))


class Bag(Own):
    """Own backbone of texts."""

    def __init__(self, function: Predictor) -> None:
        super().__init__(function)
        self.bag = nn.EmbeddingBag(50, 16)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.function(self.bag(x))


def test_an_own_backbone_of_texts_is_checked_too() -> None:
    texts = torch.from_numpy(np.random.default_rng(0).integers(50, size=(20, 8), dtype=np.int32))
    bank = ClassBank(texts, tuple(np.arange(20).reshape(5, 4)), tuple("abcde"))
    setting = Setting(way=5, shot=1, query=3, num_episodes=2)
    data = EpisodicDataModule({"test": bank}, {"test": setting}, seed=0, tasks_per_batch=1)
    check_backbone(Prototypical(Bag(torch.relu), batch_norm="running"), data)
    with pytest.raises(ValueError, match="Bag embeds an input differently among other inputs"):
        check_backbone(Prototypical(Bag(COUPLED["std"]), batch_norm="running"), data)


def test_an_own_backbone_that_needs_a_gpu_is_not_judged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(z: Tensor) -> Tensor:
        raise RuntimeError("z must be\n on a GPU")

    check_backbone(Prototypical(Own(fail), batch_norm="running"), episodes())
    assert "Own was not checked" in caplog.text
    assert "z must be on a GPU" in caplog.text


def test_a_random_embedding_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_backbone(Prototypical(Own(nn.functional.dropout), batch_norm="running"), episodes())
    assert "Own embeds an input differently when it is repeated: make layers in the constructor" in caplog.text


COUPLES = """
    from torch import nn


    class Own(nn.Module):
        num_features, map_shape = 784, (784, 1, 1)

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(784, 784)

        def forward(self, x, rows=None):
            return nn.functional.batch_norm(self.linear(x.flatten(1)), None, None, training=True)
"""


def test_a_run_with_an_own_backbone_that_couples_rows_is_refused(
    metalearn: Command, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, targets = own_backbone(tmp_path, monkeypatch, "coupled", COUPLES)
    own = {**environment, "METALEARN_TARGETS": targets}
    for algorithm in ("prototypical", "maml"):
        run = metalearn(*options, f"algorithm={algorithm}", small=False, environment=own)
        assert run.code == 2, run.text
        assert "metalearn: Own embeds an input differently among other inputs" in run.text


class WithoutQueries(AbstractMetric):
    def compare(self, support_z: Tensor, query_z: Tensor) -> Tensor:  # type: ignore[override]
        return -torch.cdist(query_z, support_z)


class Alias(Outputs):
    def adapt(self, support: Tensor, labels: Tensor, *, steps: int = 1) -> Predictor:
        return self.function


class NeedsSteps(Outputs):
    def adapt(self, support_x: Tensor, support_y: Tensor, *, steps: int) -> Predictor:  # type: ignore[override]
        return self.function


def test_a_method_that_does_not_take_what_a_run_gives_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^compare of WithoutQueries has the arguments .*a run gives \(support_z, "):
        check_methods(WithoutQueries(MLP([4]), batch_norm="running"))
    with pytest.raises(ValueError, match=r"^adapt of NeedsSteps .*steps: int.*, and a run gives \(support_x,"):
        check_methods(NeedsSteps(torch.zeros_like, "classification"))


def test_a_method_may_name_its_arguments_otherwise_and_have_more_with_defaults() -> None:
    check_methods(Alias(torch.zeros_like, "classification"))
    check_methods(Alone(MLP([4]), batch_norm="running"))


class LossAlone(Alone):
    def loss(self, batch: Episode) -> Tensor:  # type: ignore[override]
        return super().loss(batch).loss


def test_a_loss_without_its_task_output_is_refused() -> None:
    trainer = pl.Trainer(max_steps=1, limit_val_batches=0, accelerator="cpu", logger=False, enable_checkpointing=False)
    module = FewShotModule(LossAlone(MLP([1, 4, 4]), batch_norm="running"), torch.optim.Adam)
    with pytest.raises(TypeError, match=r"^loss of LossAlone returns a Tensor, not metalearn's TaskOutput\(loss"):
        trainer.fit(module, datamodule=episodes("train"))
