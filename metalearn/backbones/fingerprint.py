"""Fingerprint of what a network computes, to find its stored outputs."""

import hashlib

import torch
from torch import nn


def fingerprint(network: nn.Module, *further: str) -> str:
    """Hashes the structure, the weights and the averages of a network, and `further` strings."""
    digest = hashlib.sha256(repr((torch.__version__, *further, network)).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
