"""The sides of each work, and the check that all of them do equal work."""

from collections.abc import Callable

import ours
import peers
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from works import EVALUATION, STEPS, batch_of

from metalearn.types import Episode

OURS, BF16, COMPILED, VMAP = "metalearn", "metalearn, bf16", "metalearn, compiled", "metalearn, vmap"
IN_TURN = "metalearn, one by one"
LAUNCHED = "metalearn, no CUDA graph"
PLAIN, EASYFSL, HIGHER, TORCHOPT = "plain PyTorch", "easyfsl", "higher", "torchopt"
LIBRARIES = (EASYFSL, HIGHER, TORCHOPT)  # each may be missing, or not work with the installed torch

MAML = {
    OURS: ours.step,
    IN_TURN: ours.step_in_turn,
    VMAP: ours.step_by_vmap,
    COMPILED: ours.step_compiled,
    PLAIN: peers.plain,
    HIGHER: peers.higher_maml,
    TORCHOPT: peers.torchopt_maml,
}
ON_CPU: dict[str, dict[str, Callable]] = {
    "prototypical": {
        OURS: ours.step,
        BF16: ours.step_in_bf16,
        PLAIN: peers.plain,
        EASYFSL: peers.easyfsl_prototypical,
    },
    "maml": MAML,
    "maml_5": MAML,
    "conv4_84": {OURS: ours.step, BF16: ours.step_in_bf16, PLAIN: peers.plain},
    "resnet12_84": {OURS: ours.step, PLAIN: peers.plain},
    EVALUATION: {OURS: ours.evaluation, PLAIN: peers.plain_evaluation, EASYFSL: peers.easyfsl_evaluation},
}
METRIC_ON_GPU = {
    OURS: ours.step_replayed,
    LAUNCHED: ours.step,
    BF16: ours.step_replayed_in_bf16,
    PLAIN: peers.plain,
}
MAML_ON_GPU = {
    OURS: ours.step_replayed,
    LAUNCHED: ours.step,
    PLAIN: peers.plain,
    HIGHER: peers.higher_maml,
    TORCHOPT: peers.torchopt_maml,
}
ON_GPU: dict[str, dict[str, Callable]] = {
    "prototypical": METRIC_ON_GPU | {EASYFSL: peers.easyfsl_prototypical},
    "maml": MAML_ON_GPU,
    "maml_5": MAML_ON_GPU,
    "conv4_84": METRIC_ON_GPU,
    "resnet12_84": METRIC_ON_GPU,
    EVALUATION: ON_CPU[EVALUATION],
}
SIDES = {"cpu": ON_CPU, "cuda": ON_GPU}
"""Sides of each work, by device."""

SAME = """\
Before anything is timed, each side must do the same work as metalearn, in float64 on the same
weights and batch: the loss and every gradient agree to a relative 1e-6. In bf16, loss and gradient
may differ from those in float32 as those of plain PyTorch under the same autocast do, and half as
much again. Rounding alone takes the gradient of Conv4 to a cosine of about 0.98, and that of
ResNet-12, whose untrained logits are in the hundreds, to 0.93. easyfsl leaves its distances
unsquared and normalises support and queries apart, so its loss is compared (1e-6) with its
distances squared and the network in evaluation mode. The sides of the evaluation draw their own
episodes: their mean accuracies over E episodes must lie within 1 / sqrt(E), five standard errors of
an episode's 0.2."""


def check(work: str, side: str, device: str) -> None:
    """Raises AssertionError if loss or gradients of the side differ from metalearn's.

    metalearn launches each kernel singly here, without a CUDA graph.
    """
    if side == EASYFSL:
        check_easyfsl(work, device)
    elif side == BF16:
        check_bf16(work, device)
    elif SIDES[device][work][side] is not ours.step:
        step = STEPS[work]
        batch = _double(batch_of(step, device))
        mine = ours.step(step)
        theirs = _with_weights_of(mine[0], SIDES[device][work][side](step))
        torch.testing.assert_close(_backward(theirs, batch), _backward(mine, batch), rtol=1e-6, atol=1e-9)


def check_bf16(work: str, device: str) -> None:
    """Raises AssertionError if metalearn in bf16 is further from float32 than plain PyTorch is."""
    step = STEPS[work]
    batch = batch_of(step, device)
    exact, mine = (_backward(make(step), batch) for make in (ours.step, SIDES[device][work][BF16]))
    plain = ours.in_bf16(*_with_weights_of(ours.step(step)[0], peers.plain(step)))
    loss, gradient = _distance(mine, exact)
    loss_of_plain, gradient_of_plain = _distance(_backward(plain, batch), exact)
    assert loss < 0.01 + 1.5 * loss_of_plain, f"the loss in bf16 is {loss:.2%} off, plain PyTorch {loss_of_plain:.2%}"
    assert gradient < 0.005 + 1.5 * gradient_of_plain, (
        f"the gradient in bf16 has a cosine of {1 - gradient:.4f} with that in float32, "
        f"plain PyTorch {1 - gradient_of_plain:.4f}"
    )


def _with_weights_of(module: nn.Module, side: peers.Side) -> peers.Side:
    with torch.no_grad():
        for weight, their_weight in zip(module.parameters(), side[0].parameters(), strict=True):
            their_weight.copy_(weight)
    return side


def _distance(found: list[Tensor], exact: list[Tensor]) -> tuple[float, float]:
    """Computes the relative error of the loss, and 1 - the cosine of the gradients."""
    loss = abs(float(found[0]) / float(exact[0]) - 1)
    a, b = (torch.cat([gradient.flatten().double() for gradient in side[1:]]) for side in (found, exact))
    return loss, 1 - float(F.cosine_similarity(a, b, dim=0))


def check_easyfsl(work: str, device: str) -> None:
    batch = _double(batch_of(STEPS[work], device))
    (model, scores_of), (algorithm, loss_of) = peers.easyfsl_scores(), ours.step(STEPS[work])
    model.to(device).double().eval()
    algorithm.to(device).double().eval()
    theirs = F.cross_entropy(-scores_of(batch).square(), batch.query_y[0])
    torch.testing.assert_close(theirs, loss_of(batch), rtol=1e-6, atol=1e-9)


def _double(batch: Episode) -> Episode:
    return Episode(*(part.double() for part in batch))


def _backward(side: peers.Side, batch: Episode) -> list[Tensor]:
    """Returns the loss and its gradients, in the precision of the batch."""
    module, loss_of = side
    module.to(batch.query_x.device, batch.query_x.dtype)
    loss = loss_of(batch)
    loss.backward()
    return [loss.detach(), *(p.grad for p in module.parameters())]
