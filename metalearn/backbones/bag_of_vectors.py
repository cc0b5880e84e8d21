"""Mean of word vectors, a baseline that is hard to beat with few examples.

Mohit Iyyer, Varun Manjunatha, Jordan Boyd-Graber, Hal Daumé III. Deep Unordered Composition Rivals
Syntactic Methods for Text Classification. ACL 2015: the mean without its further layers. The order
of the words does not count.
"""

from torch import Tensor

from metalearn.backbones.base import AbstractBackbone, check_positive
from metalearn.backbones.embedding import TokenEmbedding, mean_of_tokens, needed, token_mask
from metalearn.backbones.norm import Rows


class BagOfVectors(AbstractBackbone):
    """Bag of vectors: ids of tokens (B, L) -> mean of their vectors (B, D), D = width.

    Args:
        num_tokens: number of ids.
        width: width of a token's vector.
        vectors: file of word vectors to start from; None: random vectors.
        freeze: whether the vectors are constant.

    Examples:
        >>> import torch
        >>> bag = BagOfVectors(num_tokens=100, width=64)
        >>> bag(torch.tensor([[3, 7, 7, 0]])).shape  # one text of three tokens; (B, D)
        torch.Size([1, 64])
    """

    def __init__(
        self, num_tokens: int | None, *, width: int = 100, vectors: str | None = None, freeze: bool = False
    ) -> None:
        super().__init__()
        check_positive(width=width)
        self.embedding = TokenEmbedding(needed(num_tokens), width, vectors, freeze=freeze)
        self.pretrained_on = self.embedding.pretrained_on
        self.num_features = width
        self.map_shape = (width, 1, 1)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return mean_of_tokens(self.embedding(x), token_mask(x))
