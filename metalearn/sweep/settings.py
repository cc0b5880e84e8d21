"""The settings of a launcher or a sweeper, checked against the types of its constructor."""

import inspect
import re
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf


def check_settings(plugin: object, config: DictConfig, where: str) -> None:
    """Raises ValueError for a setting of another type, such as hydra.launcher.retries=often.

    Args:
        plugin: made of the settings, which it has not looked at so far.
        config: config with Hydra's node, and with the settings under the key `where`.
    """
    from typeguard import TypeCheckError, check_type  # late, because --help must not wait for it

    settings: dict[str, Any] = OmegaConf.to_container(OmegaConf.select(config, where), resolve=True)  # type: ignore[assignment]
    for name, hint in get_type_hints(type(plugin).__init__).items():
        try:
            if name in settings:
                check_type(settings[name], hint)
        except TypeCheckError as error:
            value = "null" if settings[name] is None else settings[name]
            words = hint.__name__ if inspect.isclass(hint) else re.sub(r"\btyping\.", "", str(hint))
            raise ValueError(f"{where}.{name}={value} is not of the type {words}") from error
