"""Text models of Hugging Face's transformers, by their name on the hub or from a folder.

`AutoModel` knows BERT, MiniLM, RoBERTa, MPNet, E5 and other encoders. The embedding is the mean of
the last layer over the tokens, as in Nils Reimers, Iryna Gurevych, Sentence-BERT, EMNLP 2019, arXiv
1908.10084. Weights are read from safetensors, so that no file can run code.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.backbones.embedding import mean_of_tokens, needed, token_mask, without_common_padding
from metalearn.backbones.hub import check_whole, reading
from metalearn.backbones.norm import Rows
from metalearn.backbones.pretrained import AbstractPretrained


class HuggingFaceText(AbstractPretrained):
    """Text model: ids (B, L) -> mean of its last layer over the tokens (B, D).

    An id is that of the model's own tokenizer, plus 1.

    Args:
        input_shape: (L,), the largest number of tokens of a text.
        num_tokens: number of ids; the data set uses the tokenizer of the model.
        name: model on the hub, such as sentence-transformers/all-MiniLM-L6-v2, or the folder of a
            model.
        freeze: whether the weights are constant.
        projection: width of a linear layer after the mean; None: no such layer.
        pretrained_on: data of the weights, from the card of the model.

    Examples:
        >>> network = HuggingFaceText(  # doctest: +SKIP
        ...     [32], num_tokens=30523, name="sentence-transformers/all-MiniLM-L6-v2"
        ... )
        >>> network(torch.ones(1, 32, dtype=torch.long)).shape  # (B, D)  # doctest: +SKIP
        torch.Size([1, 384])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        *,
        num_tokens: int | None,
        name: str | None,
        freeze: bool = True,
        projection: int | None = None,
        pretrained_on: str = "unknown",
    ) -> None:
        needed(num_tokens)
        if not name:
            raise ValueError("backbone.name is missing: a text model, such as sentence-transformers/all-MiniLM-L6-v2")
        network = _loaded(name)
        if input_shape[0] > (most := _longest_text(network)):
            raise ValueError(f"backbone.name={name} reads {most} tokens at most: dataset.input_shape=[{most}]")
        super().__init__(
            network,
            nn.Identity(),
            num_features=network.config.hidden_size,  # type: ignore[union-attr, arg-type]
            freeze=freeze,
            projection=projection,
            pretrained_on=pretrained_on,
        )

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """Embeds texts of similar lengths together, with little padding: (B, L) -> (B, D)."""
        order = token_mask(x).sum(1).argsort()
        return super().forward(x[order], rows)[order.argsort()]

    def features(self, x: Tensor) -> Tensor:
        x = without_common_padding(x)
        mask = token_mask(x)  # (B, L)
        output = self.network(input_ids=(x.long() - 1).clamp_min(0), attention_mask=mask.long())
        return mean_of_tokens(output.last_hidden_state, mask)


def _longest_text(network: nn.Module) -> float:
    """Finds how many tokens the positions of a model allow.

    RoBERTa and similar models start to count after the position of the padding.
    """
    positions = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return getattr(network.config, "max_position_embeddings", math.inf) - (0 if padding is None else padding + 1)


def _unskipped(mask: Callable[..., Tensor], **settings: Any) -> Tensor:
    return mask(**settings | {"allow_is_bidirectional_skip": False})


def _loaded(name: str) -> nn.Module:
    """Loads an encoder of texts. Raises ValueError, in one line, for any other model."""
    with reading(name, "huggingface_text") as transformers:
        # transformers omits a mask without padding: torch.vmap cannot look, and a GPU would wait.
        whole = partial(_unskipped, transformers.masking_utils.eager_mask)
        transformers.AttentionMaskInterface.register("eager", whole)
        network, report = transformers.AutoModel.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, output_loading_info=True, attn_implementation="eager"
        )
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # layer on the first token, which the mean over all does not use
    check_whole(name, report)
    if network.main_input_name != "input_ids" or network.config.is_encoder_decoder:
        kind = type(network).__name__
        raise ValueError(f"backbone.name={name} is {kind}, which is not a text encoder: name one such as BERT")
    return network
