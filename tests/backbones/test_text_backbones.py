"""Backbones of texts: against naive loops, under padding, and in every kind of training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, composed, resolved
from hydra.utils import instantiate
from texts import write_vectors
from torch import nn
from torch.nn import functional as F

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.bag_of_ngrams import BagOfNgrams
from metalearn.backbones.bag_of_vectors import BagOfVectors
from metalearn.backbones.base import AbstractBackbone, checked, random_weights
from metalearn.backbones.embedding import without_common_padding
from metalearn.backbones.mlp import MLP
from metalearn.backbones.text_cnn import TextCNN
from metalearn.backbones.text_transformer import TextTransformer
from metalearn.run.checks.config import check_config
from metalearn.run.checks.inputs import check_vocabulary
from metalearn.run.checks.weights import check_trained
from metalearn.types import Episode

MAKE: dict[str, Callable[[], AbstractBackbone]] = {
    "text_cnn": lambda: TextCNN(30, width=8, maps=4),
    "text_transformer": lambda: TextTransformer([9], num_tokens=30, width=8, heads=2),
    "bag_of_vectors": lambda: BagOfVectors(30, width=8),
    "bag_of_ngrams": lambda: BagOfNgrams(30, width=64),
}
IDS = torch.tensor([[3, 4, 5, 6, 7, 8], [5, 0, 0, 0, 0, 0], [9, 9, 2, 0, 0, 0]], dtype=torch.int32)


@pytest.mark.parametrize("name", MAKE)
def test_padding_and_other_texts_change_nothing(name: str) -> None:
    backbone = checked(MAKE[name]()).eval()
    z = backbone(IDS)
    assert z.shape == (3, backbone.num_features)
    torch.testing.assert_close(backbone(F.pad(IDS, (0, 3))), z)
    torch.testing.assert_close(torch.vmap(backbone)(F.pad(IDS, (0, 3))[None])[0], z)  # computes the padding
    for row, length in ((1, 1), (2, 3)):
        torch.testing.assert_close(backbone(IDS[row : row + 1, :length]), z[row : row + 1])


def test_padding_of_all_texts_is_dropped() -> None:
    assert torch.equal(without_common_padding(F.pad(IDS, (0, 3))), IDS)
    assert without_common_padding(torch.zeros(2, 9)).shape == (2, 1)
    assert without_common_padding(torch.zeros(0, 9)).shape == (0, 9)


@pytest.mark.parametrize("name", ["text_cnn", "text_transformer", "bag_of_ngrams"])
def test_the_order_of_the_words_counts_but_not_in_a_mean_of_vectors(name: str) -> None:
    backward = IDS[:1].flip(1)
    for backbone_name, same in ((name, False), ("bag_of_vectors", True)):
        backbone = MAKE[backbone_name]().eval()
        assert torch.allclose(backbone(backward), backbone(IDS[:1]), atol=1e-6) == same


def test_text_cnn_is_the_largest_value_over_all_windows() -> None:
    backbone = TextCNN(30, width=8, windows=[2, 3], maps=4).eval()
    text = torch.tensor([[3, 4, 5, 6]])
    vectors = torch.cat([backbone.embedding.weight[text[0]], torch.zeros(2, 8)])  # with the padding after the end
    expected = []
    for convolution, window in zip(backbone.convolutions, (2, 3), strict=True):
        for weight, bias in zip(convolution.weight, convolution.bias, strict=True):  # (8, window)
            values = [float(((vectors[i : i + window].T * weight).sum() + bias).detach()) for i in range(4)]
            expected.append(max(0.0, *values))
    torch.testing.assert_close(backbone(text)[0], torch.tensor(expected))


def test_text_transformer_attends_as_torch_does() -> None:
    layer = TextTransformer([9], num_tokens=30, width=8, heads=2).layers[0].eval()
    peer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    peer.in_proj_weight, peer.in_proj_bias = layer.projections.weight, layer.projections.bias
    peer.out_proj.weight, peer.out_proj.bias = layer.output.weight, layer.output.bias
    h, mask = torch.randn(3, 6, 8), IDS != 0
    expected, _ = peer(h, h, h, key_padding_mask=~mask)
    torch.testing.assert_close(layer.attend(h, mask), expected)


def test_ngrams_are_counted_by_a_dictionary() -> None:
    backbone = BagOfNgrams(30, width=1 << 16, longest=2)
    first, second = torch.tensor([[3, 4, 3, 4]]), torch.tensor([[4, 4, 9, 0]])
    # Counts are 3: 2, 4: 2, (3,4): 2, (4,3): 1 against 4: 2, 9: 1, (4,4): 1, (4,9): 1; no two of
    # them share a place.
    expected = 4 / (13**0.5 * 7**0.5)
    torch.testing.assert_close(backbone(first) @ backbone(second).T, torch.tensor([[expected]]))
    assert not [*backbone.parameters()]


@pytest.mark.parametrize("make", [TextCNN, BagOfVectors])
def test_id_i_has_the_vector_of_line_i(tmp_path: Path, make: type[TextCNN] | type[BagOfVectors]) -> None:
    path = tmp_path / "vectors.txt"
    vectors = torch.from_numpy(write_vectors(path))
    weight = make(30, width=4, vectors=str(path)).embedding.weight
    assert torch.equal(weight[1 : 1 + len(vectors)], vectors)
    with pytest.raises(ValueError, match=r"has 4 numbers per word: set backbone.width=4$"):
        make(30, width=5, vectors=str(path))
    with pytest.raises(ValueError, match=r"has 11 words, more than the 11 ids of tokens$"):
        make(11, width=4, vectors=str(path))


@pytest.mark.parametrize(
    "make",
    [
        lambda vectors: BagOfVectors(30, width=4, vectors=vectors),
        lambda vectors: TextCNN(30, width=4, maps=2, vectors=vectors),
        lambda vectors: TextTransformer([6], num_tokens=30, width=4, heads=2, vectors=vectors),
    ],
)
def test_word_vectors_are_a_pretraining_and_the_other_weights_are_random(
    make: Callable[[str | None], AbstractBackbone], tmp_path: Path
) -> None:
    write_vectors(tmp_path / "vectors.gz")
    backbone, random = make(str(tmp_path / "vectors.gz")), make(None)
    names = {name for name, _ in backbone.named_parameters()}
    assert (backbone.pretrained_on, random.pretrained_on) == ("word vectors", None)
    assert set(random_weights(backbone)) == names - {"embedding.weight"}
    assert set(random_weights(random)) == names
    algorithm = Prototypical(backbone, batch_norm="running")
    if len(names) == 1:
        check_trained(algorithm, {"algorithm": "prototypical", "backbone": "text"}, None)
    else:
        with pytest.raises(ValueError, match=r"^mode=test: weights of prototypical on text are random, such as "):
            check_trained(algorithm, {"algorithm": "prototypical", "backbone": "text"}, None)


def test_a_projection_of_an_own_pretrained_backbone_is_random() -> None:
    backbone = MLP([4])
    backbone.pretrained_on, backbone.projection = "own data", nn.Linear(2, 2)
    assert random_weights(backbone) == ["projection.weight", "projection.bias"]


def test_frozen_vectors_are_not_trained_and_must_be_given(tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.gz")
    backbone = BagOfVectors(30, width=4, vectors=str(tmp_path / "vectors.gz"), freeze=True)
    assert not any(weight.requires_grad for weight in backbone.parameters())
    with pytest.raises(ValueError, match="constant vectors would be random: give backbone.vectors=FILE"):
        BagOfVectors(30, freeze=True)
    cnn = TextCNN(30, width=4, vectors=str(tmp_path / "vectors.gz"), freeze_vectors=True)
    assert [name for name, weight in cnn.named_parameters() if not weight.requires_grad] == ["embedding.weight"]


def episode_of_texts(way: int = 3) -> Episode:
    ids = torch.randint(1, 30, (2, 2 * way, 5), dtype=torch.int32)
    y = F.one_hot(torch.arange(way).repeat(2), way).float().expand(2, -1, -1)
    return Episode(ids, y, ids.flip(1), y.flip(1))


LAYER = {"cavia": ["algorithm.layer=convolutions.0"]}
"""Settings without which an algorithm refuses text_cnn in one line."""
ALGORITHMS = sorted(path.stem for path in (REPOSITORY / "conf/algorithm").glob("*.yaml"))


@pytest.mark.parametrize(
    ("algorithm", "backbone"),
    [*((algorithm, "text_cnn") for algorithm in ALGORITHMS)]
    + [(algorithm, "text_transformer") for algorithm in ("prototypical", "relation", "maml", "mann")],
)
def test_an_algorithm_trains_on_texts(algorithm: str, backbone: str) -> None:
    small = ["dataset.input_shape=[5]", "dataset.encoding.num_tokens=30", "dataset.encoding.buckets=5"]
    small += ["episode.train.way=3", "backbone.width=8", "num_base_classes=3", *LAYER.get(algorithm, [])]
    config = composed("dataset=text", f"algorithm={algorithm}", f"backbone={backbone}", *small)
    model = instantiate(config.algorithm)
    model.loss(episode_of_texts()).loss.backward()
    weight = next(value for name, value in model.named_parameters() if name.endswith("embedding.weight"))
    assert weight.grad is not None and weight.grad[0].eq(0).all() and weight.grad.ne(0).any()
    model.eval()
    task = episode_of_texts().tasks()[0]
    assert model.adapt(task.support_x, task.support_y)(task.query_x).shape == task.query_y.shape


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=text", "backbone=conv4"], "the backbone Conv4 takes no texts, but LabelledTexts has only texts"),
        (["backbone=text_cnn"], "the backbone TextCNN takes only texts, but Glyphs has none: use backbone=conv4"),
        (["dataset=liu", "augmentation=natural"], "augmentation is for images, but Intents has texts"),
    ],
)
def test_texts_and_images_do_not_mix(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check_config(resolved(*overrides))


def test_a_data_set_of_texts_chooses_its_backbone_and_its_words() -> None:
    assert resolved("dataset=clinc150")["backbone"]["_target_"].endswith(".TextCNN")
    config = resolved("dataset=clinc150", "backbone=bag_of_vectors", "backbone.vectors=glove.gz")
    assert config["dataset"]["encoding"]["words"] == "glove.gz"
    assert config["backbone"]["num_tokens"] == config["dataset"]["encoding"]["num_tokens"]


def test_the_words_of_a_test_must_be_those_of_the_training() -> None:
    check_vocabulary("same", "same")
    check_vocabulary(None, None)
    with pytest.raises(ValueError, match="these texts have another vocabulary"):
        check_vocabulary("one", "other")
