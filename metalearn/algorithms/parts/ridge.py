"""Ridge regression in closed form."""

import torch
from torch import Tensor


def ridge_regression(x: Tensor, y: Tensor, ridge: Tensor | float) -> Tensor:
    """Finds the minimiser W of |X W - Y|² + λ |W|²: (S, D), (S, N) -> (D, N).

    By the Woodbury identity, the system has the size of the support set and not of the embedding
    (Bertinetto et al. 2019, eq. 6).
    """
    gram = x @ x.T + ridge * torch.eye(x.shape[0], dtype=x.dtype, device=x.device)  # (S, S)
    # `solve` would wait for the device to report whether a solution exists; with λ > 0 it does.
    return x.T @ torch.linalg.solve_ex(gram, y).result
