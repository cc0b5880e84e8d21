"""Tasks of a batch in threads: the operations of one small task cannot fill several cores."""

import copy
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import nn

from metalearn.formats import first_line
from metalearn.types import Episode

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")

SMALL = 100_000
"""Largest number of input values of a task that runs in a thread.

A 5-way 1-shot task of 28 x 28 pixels with 15 queries has 62,720. The operations of a larger task
can use several cores, and the memory of several of them could be too much.
"""

log = logging.getLogger(__name__)
_of_thread = threading.local()


def own(network: Network) -> Network:
    """Returns a network, or the copy of it that a thread of `TaskThreads` has."""
    original, copied = getattr(_of_thread, "networks", (None, None))
    return copied if original is network else network  # type: ignore[return-value]


def is_in_thread() -> bool:
    """Whether a thread of `TaskThreads` runs this."""
    return hasattr(_of_thread, "networks")


class TaskThreads:
    """Shares the tasks of a batch among threads, and the cores of this process with them.

    torch.func.functional_call exchanges the weights of a module in place, so each thread has a copy
    of the network, `own(network)`, which holds the same weights. A compiled program exchanges
    nothing, and belongs to one network, so the threads share it. Some tasks run in turn instead:
    those that are not `SMALL`, those that draw random numbers, whose order would depend on the
    threads, those that cannot be compiled as a whole, and those of a network that cannot be copied,
    or has hooks or functions among its attributes, because its copy could refer to the original.

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> batch = Episode(*torch.rand(4, 5, 1, 3))  # 5 tasks
        >>> def logits(tasks):
        ...     return [own(network)(task.query_x) for task in tasks]
        >>> sum(map(len, TaskThreads().share(network, logits, batch.tasks())))
        5
    """

    def __init__(self) -> None:
        self._in_turn = self._has_compiled = False

    def share(
        self,
        network: nn.Module,
        work: Callable[[Sequence[Episode]], Result],
        tasks: Sequence[Episode],
        *,
        compiled: bool = False,
    ) -> list[Result]:
        """Applies `work` to the tasks of each thread; the results are in the order of the tasks.

        Args:
            network: network that `work` calls.
            work: function of some of the tasks.
            tasks: tasks of a batch.
            compiled: whether `work` calls the network in compiled programs only.
        """
        cores = torch.get_num_threads()
        threads = min(cores, len(tasks))
        if threads < 2 or self._in_turn or not _is_small(tasks[0]) or not (compiled or _is_copyable(network)):
            return [work(tasks)]
        shares = _divided(tasks, threads)
        try:
            copies = [network if compiled else _copy(network) for _ in shares]
        except Exception as error:  # a module of a user may refuse in any way
            return self._only_in_turn(f"their network cannot be copied ({error})", work, tasks)
        work_as_here = _in_the_modes_of_this_thread(work)

        def run(share: Sequence[Episode], copied: nn.Module) -> Result:
            _of_thread.networks = network, copied
            torch.set_num_threads(cores // threads)
            return work_as_here(share)

        before = torch.get_rng_state()
        try:
            with ThreadPoolExecutor(threads, "tasks") as pool:
                futures = [pool.submit(run, shares[0], copies[0])]
                if compiled and not self._has_compiled:
                    wait(futures)  # the first thread compiles for all
                    self._has_compiled = True
                futures += [pool.submit(run, *each) for each in zip(shares[1:], copies[1:], strict=True)]
                results = [future.result() for future in futures]
        except Exception as error:
            if not (compiled and _is_of_compiler(error)):
                raise
            return self._only_in_turn(f"they cannot be compiled as a whole ({first_line(error)})", work, tasks)
        finally:
            torch.set_num_threads(cores)  # the number of a thread is also that of later threads
        if torch.equal(torch.get_rng_state(), before):
            return results
        torch.set_rng_state(before)
        return self._only_in_turn("they draw random numbers", work, tasks)

    def _only_in_turn(
        self, reason: str, work: Callable[[Sequence[Episode]], Result], tasks: Sequence[Episode]
    ) -> list[Result]:
        log.info("the tasks of a batch run in turn from now on: %s", reason)
        self._in_turn = True
        return [work(tasks)]


def _divided(tasks: Sequence[Episode], parts: int) -> list[Sequence[Episode]]:
    bounds = [len(tasks) * part // parts for part in range(parts + 1)]
    return [tasks[start:end] for start, end in pairwise(bounds)]


def _is_small(task: Episode) -> bool:
    return task.query_x.device.type == "cpu" and task.support_x.numel() + task.query_x.numel() <= SMALL


def _is_of_compiler(error: Exception) -> bool:
    from torch._dynamo import exc  # late: it takes a second

    return isinstance(error, exc.TorchDynamoException | exc.FailOnRecompileLimitHit)


def _is_copyable(network: nn.Module) -> bool:
    """Whether nothing in a network is known to refer to its modules beside the modules."""
    return not any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        or any(getattr(value, "__closure__", None) for value in vars(module).values())
        for module in network.modules()
    )  # fmt: skip


def _copy(network: Network) -> Network:
    """Copies the modules of a network, but not its tensors."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]})


def _in_the_modes_of_this_thread(work: Callable[..., Result]) -> Callable[..., Result]:
    """Gives a function the modes of torch that are set here, each of which holds for one thread."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast: tuple[Any, ...] = (torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu"))
    autocast += (torch.is_autocast_cache_enabled(),)

    def run(*inputs: Any) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad), torch.autocast("cpu", *autocast):
            return work(*inputs)

    return run
