"""Command lines of existing keys with values that make no sense."""

import random
from typing import Any

import yaml
from conftest import composed
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.run.checks.config import check_config
from metalearn.run.checks.trainer import check_devices
from metalearn.run.command.command_line import parse
from metalearn.run.command.explain import known_keys

WORDS = r"""
null true no 0 -1 1 1. 2.5 -0.0 1e30 9e18 99999999999999999999 nan inf abc é '' 'a b' "" [] [1] [[]]
[1.5,2] [a,null] {} {a:1} {_target_:1} {_target_:torch.optim.Adam} {_target_:{a:1}} {_partial_:5} {1:2} {a:{b:[c]}}
${seed} ${nothing} ${episode} ${unlimited_if:null,3} ${product:a,b} ${oc.env:NOPE} ??? 1:2 a=b (1) f(x) choice(1)
00:00:01:00 5w1s cpu maml 1,2 ~ ~/x %d \x C:\x $HOME [ } ' \
"""
VALUES = [*WORDS.split(), "x" * 100_000, "[" * 200, "a b", "[" + "1," * 900 + "1]"]
PREFIXES = ["", "", "", "", "+", "++", "~"]
OTHER_KEYS = ["vars", "test_dataset", "algorithm.x", "a.b", "defaults", "x._target_", "published.accuracy"]


def odd_lines(seed: int, count: int) -> list[list[str]]:
    """Draws `count` command lines of one to three overrides."""
    draw = random.Random(seed)
    keys = [*known_keys(composed()), *OTHER_KEYS]

    def override() -> str:
        return f"{draw.choice(PREFIXES)}{draw.choice(keys)}={draw.choice(VALUES)}"

    return [[override() for _ in range(draw.choice([1, 1, 1, 2, 3]))] for _ in range(count)]


def refusal(line: list[str]) -> str | None:
    """Returns the refusal of a command line, None if accepted; fails at any other error."""
    try:
        config = composed(*parse(line)[1])
        plain: Any = OmegaConf.to_container(config, resolve=True)
        check_config(plain)
        check_devices(plain["trainer"], 0)
    except (ValueError, OSError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        return str(error)
    return None
