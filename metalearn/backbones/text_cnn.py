"""Convolutional network for sentences.

Yoon Kim. Convolutional Neural Networks for Sentence Classification. EMNLP 2014, arXiv 1408.5882.
Filters over windows of 3, 4 and 5 words give features at each position. The largest value of each
feature over the sentence is its embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.base import AbstractBackbone, check_positive
from metalearn.backbones.embedding import TokenEmbedding, needed, token_mask, without_common_padding
from metalearn.backbones.norm import Rows


class TextCNN(AbstractBackbone):
    """Convolutional network: ids of tokens (B, L) -> features (B, D), D = maps * len(windows).

    Args:
        num_tokens: number of ids.
        width: width of a token's vector.
        windows: numbers of tokens that filters see.
        maps: number of filters of each window.
        dropout: fraction of the features that training drops.
        vectors: file of word vectors to start from; None: random vectors.
        freeze_vectors: whether they are constant, as in CNN-static of Kim 2014.

    Examples:
        >>> cnn = TextCNN(num_tokens=100, width=16, maps=10)
        >>> cnn(torch.tensor([[3, 7, 7, 0]])).shape  # one text of three tokens; (B, D)
        torch.Size([1, 30])
    """

    untrained = ("convolutions.",)

    def __init__(
        self,
        num_tokens: int | None,
        *,
        width: int = 100,
        windows: Sequence[int] = (3, 4, 5),
        maps: int = 100,
        dropout: float = 0.1,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        check_positive(width=width, maps=maps)
        if not windows or min(windows) < 1:
            raise ValueError(f"text_cnn: windows={list(windows)} must be numbers of tokens, at least 1")
        self.embedding = TokenEmbedding(needed(num_tokens), width, vectors, freeze=freeze_vectors)
        self.pretrained_on = self.embedding.pretrained_on
        self.convolutions = nn.ModuleList(nn.Conv1d(width, maps, window) for window in windows)
        self.dropout = nn.Dropout(dropout)
        self.num_features = maps * len(windows)
        self.map_shape = (self.num_features, 1, 1)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = without_common_padding(x)
        mask = token_mask(x)[:, None]  # (B, 1, L)
        embedded = self.embedding(x).transpose(1, 2)  # (B, E, L)
        return self.dropout(torch.cat([_largest(convolution, embedded, mask) for convolution in self.convolutions], 1))


def _largest(convolution: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Finds the largest value of each feature: (B, E, L) -> (B, maps).

    Only windows that begin within the text count.
    """
    window: int = convolution.kernel_size[0]  # type: ignore[index, assignment]
    maps = F.relu(convolution(F.pad(x, (0, window - 1))))  # (B, maps, L)
    return (maps * mask).amax(2)  # outputs of ReLU are never below the 0 of the padding
