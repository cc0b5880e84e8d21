"""Conditional Neural Processes (CNP).

Marta Garnelo, Dan Rosenbaum, Chris Maddison, Tiago Ramalho, David Saxton, Murray Shanahan, Yee Whye
Teh, Danilo Rezende, Ali Eslami. Conditional Neural Processes. ICML 2018, arXiv 1807.01613. An
encoder represents each support point, and the mean of these representations stands for the
function. A decoder predicts mean and deviation at any place. Inductive.
"""

from torch import Tensor

from metalearn.algorithms.neural_process import AbstractNeuralProcess


class CNP(AbstractNeuralProcess):
    """Conditional Neural Processes of Garnelo et al. 2018.

    Args:
        backbone: network that embeds places.
        way: outputs of a regression, or ways.
        width: R, and the width of the hidden layers.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import MLP
        >>> algorithm = CNP(
        ...     MLP([1]), way=1, width=128, batch_norm="running", problem="regression"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(10, 1), torch.randn(10, 1))  # 10 points
        >>> predict(torch.randn(15, 1)).shape  # mean and deviation
        torch.Size([15, 2])
    """

    replayable = True

    def read(self, support_z: Tensor, representations: Tensor, query_z: Tensor) -> Tensor:
        return representations.mean(0).expand(query_z.shape[0], -1)  # eq. 2, with the mean for ⊕
