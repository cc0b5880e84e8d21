"""Search space: the grammar of Hydra's own Optuna plugin, as distributions of Optuna."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    ParsedElementType,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.run.command.grammar import value
from metalearn.search.preset import typed

Space = dict[str, BaseDistribution]


def read(params: Mapping[str, Any], arguments: Sequence[str]) -> tuple[Space, list[str]]:
    """Returns the keys that vary, and the overrides that every trial has.

    Args:
        params: hydra.sweeper.params, such as {"algorithm.inner_lr": "tag(log, interval(0.01, 1))"}.
        arguments: overrides of the command line, which take precedence.

    Raises ValueError for a distribution that Optuna cannot have.
    """
    lines = [f"{key}={param if isinstance(param, str) else typed(param)}" for key, param in params.items()]
    last: dict[str, Override] = {}
    for override in OverridesParser.create().parse_overrides([*lines, *arguments]):
        key = override.get_key_element().lstrip("+")
        last.pop(key, None)
        last[key] = override
    varied = [override for override in last.values() if override.is_sweep_override()]
    space = {override.get_key_element(): _distribution(override) for override in varied}
    if not space:
        raise ValueError(
            "the search has nothing to vary: give hydra.sweeper.params, or "
            "algorithm.inner_lr='tag(log, interval(0.01, 1))' on the command line"
        )
    return space, [str(override.input_line) for override in last.values() if not override.is_sweep_override()]


def overrides(params: Mapping[str, Any]) -> list[str]:
    """Returns the parameters of a trial as they are typed."""
    return [f"{key}={value}" for key, value in params.items()]


def points(space: Space) -> dict[str, list[Any]]:
    """Returns the values of each key, for a grid. Raises ValueError for an interval."""
    return {key: _values(key, distribution) for key, distribution in space.items()}


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None
            assert sweep.end is not None
            log = "log" in sweep.tags
            if isinstance(sweep.start, int) and isinstance(sweep.end, int):  # int(interval(1, 10))
                return IntDistribution(sweep.start, sweep.end, log=log)
            return FloatDistribution(sweep.start, sweep.end, log=log)
        if isinstance(sweep, RangeSweep):
            return _of_range(sweep)
        if isinstance(sweep, ChoiceSweep):
            sweep.shuffle = False  # the order is the sampler's; another one would be another search
        return CategoricalDistribution([written(choice) for choice in override.sweep_iterator()])
    except ValueError as error:
        raise ValueError(f"{override.input_line} is not a search space: {error}") from error


def _of_range(sweep: RangeSweep) -> BaseDistribution:
    """Returns the numbers of a range without its end, as everywhere in Hydra."""
    assert sweep.start is not None
    assert sweep.stop is not None
    log = "log" in sweep.tags
    count = math.ceil((sweep.stop - sweep.start) / sweep.step - 1e-9)
    if count < 1:
        raise ValueError("the range is empty")
    last = sweep.start + (count - 1) * sweep.step
    low, high = sorted((sweep.start, last))
    if all(isinstance(number, int) for number in (low, high, sweep.step)):
        return IntDistribution(int(low), int(high), step=int(abs(sweep.step)), log=log)
    return FloatDistribution(low, high, step=abs(sweep.step), log=log)


def written(choice: ParsedElementType) -> str:
    """Returns a choice as it is typed, in quotes only where Hydra cannot read it otherwise.

    >>> written([2, 5]), written(None), written("cosine")
    ('[2,5]', 'null', 'cosine')
    """
    text = str(Transformer.str(choice))
    try:
        value(f"x={text}")
    except HydraException:
        return QuotedString(str(choice), Quote.single).with_quotes()
    return text


def _values(key: str, distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(dict.fromkeys(distribution.choices))
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is None:
        raise ValueError(f"a grid cannot hold all of {key}, which is an interval: write range(...) or choice(...)")
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + i * distribution.step for i in range(count)]
