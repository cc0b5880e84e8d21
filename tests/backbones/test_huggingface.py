"""Vision models of transformers: small random models, saved to a folder, as backbones."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import episode
from test_pretrained_backbones import algorithm

from metalearn.backbones.huggingface import HuggingFace
from metalearn.backbones.norm import Rows

transformers = pytest.importorskip("transformers")

SIZE = 32
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8}
MIDDLE = {"intermediate_size": 32}
WHOLE_CLIP = {"vision_config": {**TOWER, **MIDDLE}, "projection_dim": 8}
WHOLE_CLIP["text_config"] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, **MIDDLE}

Pooled = Callable[[Any], torch.Tensor]
MODELS: dict[str, tuple[Callable[[], Any], Pooled, str]] = {
    # a model, the embedding in its own output, its batch normalisation
    "vit": (
        lambda: transformers.ViTModel(transformers.ViTConfig(**TOWER, **MIDDLE)),
        lambda output: output.last_hidden_state[:, 0],
        "none",
    ),
    "dinov2": (
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**TOWER, mlp_ratio=2)),
        lambda output: output.pooler_output,
        "none",
    ),
    "resnet": (
        lambda: transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
        ),
        lambda output: output.pooler_output[:, :, 0, 0],
        "running",
    ),
    "clip": (
        lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**TOWER, **MIDDLE)),
        lambda output: output.pooler_output,
        "none",
    ),
    "segformer": (  # maps without a pooler
        lambda: transformers.SegformerModel(
            transformers.SegformerConfig(
                hidden_sizes=[4, 8, 12, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2], hidden_dropout_prob=0.0
            )
        ),
        lambda output: output.last_hidden_state.mean((2, 3)),
        "none",
    ),
}
PROCESSOR = {
    "size": {"height": SIZE, "width": SIZE},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "resample": 2,
}


def saved(name: str, folder: Path, processor: dict[str, Any] = PROCESSOR) -> Any:
    torch.manual_seed(0)
    model = MODELS[name][0]().eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_the_embedding_is_that_of_the_model(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path)
    _, pooled, batch_norm = MODELS[name]
    backbone = HuggingFace([3, SIZE, SIZE], name=str(tmp_path)).eval()
    x = torch.rand(2, 3, SIZE, SIZE)
    mean, std = (torch.tensor(PROCESSOR[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = pooled(model(pixel_values=(x - mean) / std))
        torch.testing.assert_close(backbone(x), expected)
        assert backbone(torch.rand(2, 1, 28, 28)).shape == expected.shape
    assert backbone.num_features == expected.shape[1]
    assert not any(weight.requires_grad for weight in backbone.parameters())
    for mode in ("running", "batch"):
        assert algorithm("prototypical", backbone, f"batch_norm={mode}").dependence() == (batch_norm, False)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_it_is_trained_where_it_is_not_frozen(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    backbone = HuggingFace([1, 16, 16], name=str(tmp_path), freeze=False, projection=3).train()
    backbone(torch.rand(4, 1, 16, 16), Rows(tasks=2, track=True)).square().sum().backward()
    assert all(weight.grad is not None for name, weight in backbone.named_parameters() if "mask_token" not in name)


def test_a_transformer_has_second_derivatives_where_it_is_not_frozen(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    maml = algorithm("maml", HuggingFace([1, 16, 16], name=str(tmp_path), freeze=False))
    maml.loss(episode(tasks=2)).loss.backward()
    assert maml.network.backbone.network.embeddings.cls_token.grad is not None


def test_the_image_tower_is_taken_out_of_a_whole_clip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = transformers.CLIPModel(transformers.CLIPConfig(**WHOLE_CLIP)).eval()
    whole.save_pretrained(tmp_path)
    crop = {**PROCESSOR, "size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": SIZE}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**crop, "do_normalize": False}))
    backbone = HuggingFace([3, SIZE, SIZE], name=str(tmp_path)).eval()
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), whole.vision_model(pixel_values=x).pooler_output)
    assert not any("text" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "Can't load image processor for"),
        (
            lambda folder: (folder / "preprocessor_config.json").write_text("{}"),
            "has no size, image_mean and image_std",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors found"),
        (lambda folder: (folder / "config.json").write_text("{}"), "Unrecognized model"),
    ],
)
def test_what_is_no_vision_model_is_refused_in_one_line(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    saved("vit", tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as raised:
        HuggingFace([3, SIZE, SIZE], name=str(tmp_path))
    assert str(raised.value).startswith(f"backbone.name={tmp_path}")
    assert "\n" not in str(raised.value)


def test_weights_that_would_be_random_are_refused(tmp_path: Path) -> None:
    model = saved("vit", tmp_path)
    state = {key: value for key, value in model.state_dict().items() if key != "layernorm.bias"}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="has no weights for layernorm.bias, which would be random"):
        HuggingFace([3, SIZE, SIZE], name=str(tmp_path))


def test_a_name_and_the_package_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="backbone.name is missing"):
        HuggingFace([3, SIZE, SIZE], name=None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers: pip install -e '.\[pretrained\]' in the checkout"):
        HuggingFace([3, SIZE, SIZE], name="some")
