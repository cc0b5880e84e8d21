"""Small transformer encoder for texts, trained from scratch.

Ashish Vaswani et al. Attention Is All You Need. NeurIPS 2017, arXiv 1706.03762. Every token attends
to all tokens of its text. Layers normalise before they attend (Xiong et al. 2020, arXiv
2002.04745). The embedding is the mean over the tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_positive
from metalearn.backbones.embedding import TokenEmbedding, mean_of_tokens, needed, token_mask, without_common_padding
from metalearn.backbones.norm import Rows


class TextTransformer(AbstractBackbone):
    """Transformer: ids of tokens (B, L) -> mean of its last layer over the tokens (B, D).

    Args:
        input_shape: (L,), the largest number of tokens of a text.
        num_tokens: number of ids.
        width: D, which is also the width of a token's vector.
        layers: number of layers of attention and a fully connected network.
        heads: number of heads of each attention; it divides the width.
        dropout: fraction of the units that training drops.
        vectors: file of word vectors to start from; None: random vectors.
        freeze_vectors: whether they are constant.

    Examples:
        >>> transformer = TextTransformer([4], num_tokens=100, width=16)
        >>> transformer(torch.tensor([[3, 7, 7, 0]])).shape  # one text of three tokens; (B, D)
        torch.Size([1, 16])
    """

    untrained = ("positions", "layers.", "norm.")

    def __init__(
        self,
        input_shape: Sequence[int],
        *,
        num_tokens: int | None,
        width: int = 100,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        check_positive(width=width, layers=layers)
        if heads < 1 or width % heads:
            raise ValueError(f"text_transformer: heads={heads} must divide width={width}")
        self.embedding = TokenEmbedding(needed(num_tokens), width, vectors, freeze=freeze_vectors)
        self.pretrained_on = self.embedding.pretrained_on
        self.positions = nn.Parameter(0.02 * torch.randn(input_shape[0], width))
        self.layers = nn.ModuleList(Layer(width, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.num_features = width
        self.map_shape = (width, 1, 1)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = without_common_padding(x)
        mask = token_mask(x)  # (B, L)
        h = self.embedding(x) + self.positions[: x.shape[1]]  # (B, L, E)
        for layer in self.layers:
            h = layer(h, mask)
        return mean_of_tokens(self.norm(h), mask)


class Layer(nn.Module):
    """Attention over the tokens of a text, then a fully connected network for each token."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:  # (B, L, E), (B, L) -> (B, L, E)
        h = h + self.dropout(self.attend(self.before_attention(h), mask))
        return h + self.dropout(self.network(self.before_network(h)))

    def attend(self, h: Tensor, mask: Tensor) -> Tensor:
        """Computes the attention step by step.

        MAML needs its second derivative, which the fused attention of torch does not have.
        """
        parts = self.projections(h).chunk(3, -1)  # (B, L, E) each
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = query @ key.transpose(2, 3) / key.shape[-1] ** 0.5  # (B, heads, L, L)
        scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        return self.output((F.softmax(scores, -1) @ value).transpose(1, 2).flatten(2))
