"""Embeddings of frozen weights: computed once, found by hash, rebuilt if a file is torn."""

import copy
import errno
import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

import metalearn
from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.matching import Matching
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.bag_of_ngrams import BagOfNgrams
from metalearn.backbones.conv4 import Conv4
from metalearn.backbones.fingerprint import fingerprint
from metalearn.backbones.norm import Rows, freeze_network
from metalearn.backbones.text_transformer import TextTransformer
from metalearn.data.bank import ClassBank
from metalearn.data.files.cached_tensor import cached_tensor
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.embedded import PROBED
from metalearn.episodes.setting import Setting
from metalearn.training.module import FewShotModule


def backbone(seed: int = 0) -> Conv4:
    torch.manual_seed(seed)
    return Conv4([1, 16, 16], channels=4)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lists the number of rows of each pass of a backbone that is no probe of a stored file."""
    rows: list[int] = []
    forward = Conv4.forward

    def counted(self: Conv4, x: torch.Tensor, how: Rows | None = None) -> torch.Tensor:
        if len(x) > PROBED:
            rows.append(len(x))
        return forward(self, x, how)

    monkeypatch.setattr(Conv4, "forward", counted)
    return rows


def scores(
    algorithm: AbstractAlgorithm,
    bank: ClassBank,
    folder: Path | None,
    *,
    episodes: int = 20,
    precision: str = "32-true",
) -> np.ndarray:
    data = EpisodicDataModule(
        {"test": bank},
        {"test": Setting(3, 2, 4, num_episodes=episodes)},
        seed=0,
        tasks_per_batch=1,
        embeddings=folder,
    )
    module = FewShotModule(algorithm, torch.optim.Adam)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(accelerator="cpu", inference_mode=False, precision=precision, **quiet)
    trainer.test(module, datamodule=data, verbose=False)
    return module.scores["test"]["loss"]


def prototypical(seed: int = 0) -> Prototypical:
    return Prototypical(backbone(seed), batch_norm="running")


def test_the_heads_of_one_embedding_cost_one_pass(bank: ClassBank, tmp_path: Path, passes: list[int]) -> None:
    expected = scores(prototypical(), bank, None)
    passes.clear()
    np.testing.assert_array_equal(scores(prototypical(), bank, tmp_path), expected)
    assert passes == [len(bank.images)]
    np.testing.assert_array_equal(scores(prototypical(), bank, tmp_path), expected)
    scores(Matching(backbone(), temperature=0.1, processing_steps=1, batch_norm="running"), bank, tmp_path)
    scores(prototypical(), bank, tmp_path, episodes=30)  # other episodes of the same images
    assert len(passes) == 1
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_few_images_are_embedded_alone(bank: ClassBank, tmp_path: Path, passes: list[int]) -> None:
    scores(prototypical(), bank, tmp_path, episodes=1)
    scores(prototypical(), bank, tmp_path, episodes=1)
    assert passes == [3 * (2 + 4)]


def other_weights(bank: ClassBank) -> tuple[AbstractAlgorithm, ClassBank]:
    return prototypical(seed=1), bank


def other_averages(bank: ClassBank) -> tuple[AbstractAlgorithm, ClassBank]:
    algorithm = prototypical()
    algorithm.backbone.blocks[3].norm.running_mean += 1
    return algorithm, bank


def other_images(bank: ClassBank) -> tuple[AbstractAlgorithm, ClassBank]:
    images = bank.images.clone()
    images[0, 0, 0, 0] += 1
    return prototypical(), ClassBank(images, bank.rows, bank.names)


def other_function(bank: ClassBank) -> tuple[AbstractAlgorithm, ClassBank]:
    algorithm = prototypical()
    forward = algorithm.backbone.forward
    algorithm.backbone.forward = lambda x, how=None: forward(x, how).tanh()  # no hash sees it
    return algorithm, bank


@pytest.mark.parametrize("change", [other_weights, other_averages, other_images, other_function])
def test_what_depends_on_something_else_is_computed_anew(
    change: Callable[[ClassBank], tuple[AbstractAlgorithm, ClassBank]],
    bank: ClassBank,
    tmp_path: Path,
    passes: list[int],
) -> None:
    scores(prototypical(), bank, tmp_path)
    scores(*change(bank), tmp_path)
    assert len(passes) == 2


class Doubled(Prototypical):
    def embed_each(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().embed_each(x)


def test_each_precision_version_and_way_to_embed_has_a_file_of_its_own(
    bank: ClassBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(prototypical(), bank, tmp_path)
    scores(prototypical(), bank, tmp_path, precision="bf16-mixed")
    scores(Doubled(backbone(), batch_norm="running"), bank, tmp_path)
    monkeypatch.setattr(metalearn, "__version__", "0")
    scores(prototypical(), bank, tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 4


def test_images_are_embedded_in_the_precision_of_the_trainer(bank: ClassBank) -> None:
    algorithm, seen = prototypical(), list[bool]()
    algorithm.backbone.forward = lambda x, how=None: seen.append(torch.is_autocast_enabled("cpu")) or x.flatten(1)
    scores(algorithm, bank, None, precision="bf16-mixed")
    assert seen and all(seen)


def test_a_network_of_another_structure_has_another_fingerprint() -> None:
    first, strided = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3, stride=2)
    strided.load_state_dict(first.state_dict())
    assert fingerprint(first) == fingerprint(first) != fingerprint(strided)
    assert fingerprint(first, "32-true") != fingerprint(first, "bf16-mixed")


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (lambda: BagOfNgrams(30, longest=1), lambda: BagOfNgrams(30, longest=2)),
        (lambda: BagOfNgrams(30, width=64), lambda: BagOfNgrams(30, width=128)),
        (lambda: Conv4([1, 16, 16], channels=4, pools=4), lambda: Conv4([1, 16, 16], channels=4, pools=2)),
        (
            lambda: TextTransformer([9], num_tokens=30, width=8, heads=2),
            lambda: TextTransformer([9], num_tokens=30, width=8, heads=4),
        ),
    ],
    ids=["longest", "width", "pools", "heads"],
)
def test_a_setting_without_weights_is_part_of_the_fingerprint(
    first: Callable[[], nn.Module], other: Callable[[], nn.Module]
) -> None:
    network, changed = first(), other()
    changed.load_state_dict(network.state_dict())
    assert fingerprint(network) == fingerprint(copy.deepcopy(network)) != fingerprint(changed)


def test_the_code_of_a_network_is_part_of_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, factor in (("mine", 1), ("mine_too", 1), ("yours", 2)):
        code = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): return {factor} * x\n"
        (tmp_path / f"{name}.py").write_text(code)
        found.append(fingerprint(importlib.import_module(name).Net()))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("how", ["import act_a", "from act_b import act"])
def test_code_that_a_network_imports_is_part_of_its_fingerprint(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    imported = how.split()[1]
    (tmp_path / f"net_{imported}.py").write_text(f"from torch import nn\n{how}\nclass Net(nn.Module): pass\n")
    (tmp_path / f"{imported}.py").write_text("def act(x): return x.relu()\n")
    network = importlib.import_module(f"net_{imported}").Net()
    before = fingerprint(network)
    assert fingerprint(network) == before
    # The first embeddings may not show such a change.
    (tmp_path / f"{imported}.py").write_text("def act(x): return x.relu().clamp(max=9)\n")
    assert fingerprint(network) != before


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:], lambda b: b""]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_torn_file_is_rebuilt(damage, dtype: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensor, calls = torch.rand(100, 7).to(dtype), []
    path = tmp_path / "folder" / "z.pt"

    def compute() -> torch.Tensor:
        calls.append(1)
        return tensor

    assert torch.equal(cached_tensor(path, compute), tensor)
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(cached_tensor(path, compute), tensor)
    assert "is damaged" in caplog.text
    again = cached_tensor(path, compute)
    assert torch.equal(again, tensor) and again.dtype == dtype
    assert len(calls) == 2


def test_a_stored_tensor_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Puts a folder in the place of the lock, since root can write into a read-only folder."""
    (tmp_path / "z.lock").mkdir()
    tensor = torch.rand(3)
    torch.save(tensor, tmp_path / "z.pt")
    assert torch.equal(cached_tensor(tmp_path / "z.pt", lambda: torch.zeros(3)), tensor)


def test_a_tensor_that_cannot_be_stored_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").touch()
    tensor = torch.rand(3)
    assert torch.equal(cached_tensor(tmp_path / "file" / "z.pt", lambda: tensor), tensor)
    monkeypatch.setattr("metalearn.data.files.cached_tensor.write_atomically", full)
    assert torch.equal(cached_tensor(tmp_path / "z.pt", lambda: tensor), tensor)
    for folder, record in zip([tmp_path / "file", tmp_path], caplog.records[-2:], strict=True):
        assert re.match(f"cannot write into the cache {folder} .*METALEARN_CACHE=FOLDER", record.getMessage())


def test_weights_are_hashed_when_their_embeddings_are_stored(bank: ClassBank, tmp_path: Path) -> None:
    """The averages of a network may move between two validations of one training."""
    hashes, settings = iter("aab"), {"val": Setting(3, 2, 4, num_episodes=20)}
    data = EpisodicDataModule({"val": bank}, settings, seed=0, tasks_per_batch=1, embeddings=tmp_path)
    data.trainer = SimpleNamespace(num_val_batches=[20])
    data.evaluate_embeddings(lambda x: torch.zeros(len(x), 2), lambda: next(hashes))
    stored = []
    for _ in range(3):
        data.forget_embeddings()
        data.episodes(data.collate([data.draw("val", 0)]), "val")
        stored.append(len(list(tmp_path.glob("*.pt"))))
    assert stored == [1, 1, 2]


def test_a_backbone_is_frozen_if_its_averages_are() -> None:
    algorithm = prototypical()
    algorithm.requires_grad_(False)
    assert not algorithm.backbone_is_frozen
    freeze_network(algorithm.backbone)
    assert algorithm.backbone_is_frozen
    algorithm.backbone.blocks[0].norm = nn.BatchNorm2d(4).requires_grad_(False)
    assert not algorithm.backbone_is_frozen
