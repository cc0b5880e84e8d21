"""Vectors of token ids, and masks of the padding.

L  tokens of a text    E  width of a token's vector
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.backbones.pretrained import reads_files
from metalearn.data.text.vectors import read_vectors


def token_mask(ids: Tensor) -> Tensor:
    """Marks the tokens of a text, not its padding: (B, L) -> (B, L) bool."""
    return ids != 0


def mean_of_tokens(x: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean vector of a text without its padding: (B, L, E), (B, L) -> (B, E)."""
    weights = mask.to(x.dtype)[..., None]  # (B, L, 1)
    return (x * weights).sum(1) / weights.sum(1).clamp_min(1)


def without_common_padding(ids: Tensor) -> Tensor:
    """Drops the columns that are padding in all texts: (B, L) -> (B, longest).

    No embedding depends on them. They stay where a computation needs one shape: in recorded steps
    on an accelerator, in compiled programs and under torch.vmap.
    """
    needs_one_shape = _is_batched(ids) or torch.compiler.is_compiling()
    if needs_one_shape or ids.device.type != "cpu" or not len(ids):
        return ids
    return ids[:, : max(1, int(token_mask(ids).sum(1).max()))]


def _is_batched(x: Tensor) -> bool:
    """Whether a tensor is one of torch.vmap, also below the derivatives of an inner step."""
    while torch._C._functorch.is_gradtrackingtensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return torch._C._functorch.is_batchedtensor(x)


class TokenEmbedding(nn.Module):
    """Vector of each id; that of 0, the padding, is zero.

    Args:
        num_tokens: number of ids.
        width: width of a vector.
        vectors: file in the format of GloVe, whose line i is the vector of id i. Other ids have
            random vectors of the same variance, as in Kim 2014.
        freeze: whether the vectors are constant, as in CNN-static of Kim 2014.
    """

    def __init__(self, num_tokens: int, width: int, vectors: str | None, *, freeze: bool) -> None:
        super().__init__()
        if freeze and vectors is None:
            raise ValueError("constant vectors would be random: give backbone.vectors=FILE, as GloVe's")
        self.pretrained_on = None if vectors is None else "word vectors"
        self.weight = nn.Parameter(torch.randn(num_tokens, width) * width**-0.5, requires_grad=not freeze)
        if vectors is not None and reads_files():
            self._load(Path(vectors))

    def forward(self, ids: Tensor) -> Tensor:  # (B, L) -> (B, L, E)
        return F.embedding(ids, self.weight) * token_mask(ids)[..., None]

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        vectors = torch.from_numpy(read_vectors(path))  # (words, E)
        (words, width), (num_tokens, expected) = vectors.shape, self.weight.shape
        if width != expected:
            raise ValueError(f"backbone.vectors={path} has {width} numbers per word: set backbone.width={width}")
        if words >= num_tokens:
            raise ValueError(f"backbone.vectors={path} has {words:,} words, more than the {num_tokens:,} ids of tokens")
        self.weight.normal_(std=float(vectors.std()))
        self.weight[1 : 1 + words] = vectors


def needed(num_tokens: int | None) -> int:
    """Returns the number of ids, from a data set of texts. Raises ValueError if there is none."""
    if num_tokens is None:
        raise ValueError(
            "the backbone takes only texts, but the data set has none: use dataset=clinc150 or backbone=conv4"
        )
    return num_tokens
