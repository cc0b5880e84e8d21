"""The name of what a network computes, so that its outputs can be kept."""

import hashlib

import torch
from torch import nn


def fingerprint(network: nn.Module, *further: str) -> str:
    """Hash of the structure of a network, of all its weights and averages, and of whatever else is named."""
    digest = hashlib.sha256(repr((torch.__version__, *further, network)).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
