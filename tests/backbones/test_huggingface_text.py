"""Text models of transformers, with a few hundred random weights in a folder."""

import json
from pathlib import Path

import pytest
import torch
from texts import TEXTS, encoding

from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parts.execution import Execution
from metalearn.backbones.huggingface_text import HuggingFaceText
from metalearn.data.text.banks import text_banks
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.tokens import BLANK
from metalearn.types import Episode

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "please", "play", "music", "a", "table"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saves a BERT of one layer and ten words."""
    path = tmp_path_factory.mktemp("bert")
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **size)
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return path


def test_a_text_is_the_mean_over_its_own_tokens_whatever_the_padding(folder: Path) -> None:
    tokeniser = encoding(tokenizer=str(folder)).tokeniser([])
    backbone = HuggingFaceText([12], num_tokens=60, name=str(folder)).eval()
    text = "Please play music"
    ids = torch.tensor([tokeniser.encode(text, 12)])
    assert ids.tolist() == [[3, 6, 7, 8, 4]]  # the tokenizer's ids plus 1
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    expected = theirs(**inputs).last_hidden_state.mean(1)
    torch.testing.assert_close(backbone(ids), expected)
    torch.testing.assert_close(backbone(torch.nn.functional.pad(ids, (0, 7))), expected)
    short = tokeniser.encode("a table", 5)
    both = torch.tensor([[*short, *[0] * (12 - len(short))], [*ids[0].tolist(), *[0] * 7]])  # not by length
    widths = []
    backbone.network.register_forward_pre_hook(
        lambda _, __, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    torch.testing.assert_close(backbone(both)[1:], expected)
    torch.testing.assert_close(backbone(both.flip(0))[:1], expected)
    assert widths == [5, 5]  # not 12: padding of all texts is not computed
    assert backbone(torch.zeros(2, 12, dtype=torch.int32)).tolist() == [[0.0] * 8] * 2
    assert backbone.num_features == 8 and not any(weight.requires_grad for weight in backbone.parameters())
    assert tokeniser.encode(f"play {BLANK}", 12) == [3, 7, 5, 4]


def test_tasks_can_run_together(folder: Path) -> None:
    support, query = torch.randint(2, 11, (2, 3, 6)), torch.randint(2, 11, (2, 4, 6))
    support[0, 1, 2:] = query[1, :, 5] = 0  # padding in some texts
    ways = torch.eye(3).expand(2, 3, 3)
    batch = Episode(support, ways, query, ways[:, [0, 1, 2, 0]])
    losses = []
    for vmap in (False, True):
        torch.manual_seed(0)
        backbone = HuggingFaceText([6], num_tokens=60, name=str(folder), freeze=False).eval()
        loop, execution = InnerLoop(steps=1, test_steps=1), Execution(vmap=vmap)
        maml = MAML(backbone, way=3, inner_lr=0.1, inner_loop=loop, execution=execution, batch_norm="batch")
        losses.append(maml.loss(batch).loss)
    torch.testing.assert_close(*losses)


def test_a_data_set_takes_the_tokens_of_the_model(folder: Path) -> None:
    bank = text_banks("t", {"test": TEXTS}, TextPreparation.of_training(encoding(tokenizer=str(folder)), {}, 6))["test"]
    assert bank.images.shape == (70, 6)
    assert set(bank.images[:, 0].tolist()) == {3} and set(bank.images[:, -1].tolist()) == {4}  # [CLS] ... [SEP]


def test_positions_that_a_model_reserves_hold_no_token(tmp_path: Path) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.RobertaConfig(vocab_size=20, max_position_embeddings=16, **size)
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    longest = HuggingFaceText([14], num_tokens=21, name=str(tmp_path))
    assert longest(torch.randint(3, 20, (2, 14))).shape == (2, 8)
    with pytest.raises(ValueError, match=r"reads 14 tokens at most: dataset.input_shape=\[14\]$"):
        HuggingFaceText([15], num_tokens=21, name=str(tmp_path))


def test_what_cannot_be_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reads 16 tokens at most: dataset.input_shape=\[16\]$"):
        HuggingFaceText([17], num_tokens=60, name=str(folder))
    with pytest.raises(ValueError, match=r"^backbone.name is missing"):
        HuggingFaceText([9], num_tokens=60, name=None)
    with pytest.raises(ValueError, match=f"^backbone.name={tmp_path}/none: ") as caught:
        HuggingFaceText([9], num_tokens=60, name=f"{tmp_path}/none")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"has 10 tokens: set dataset.encoding.num_tokens=11$"):
        encoding(tokenizer=str(folder), num_tokens=10).tokeniser([])
