"""The settings of a launcher or a sweeper, checked against the types of its constructor."""

from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf


def check_settings(plugin: object, config: DictConfig, where: str) -> None:
    """Raises ValueError for a setting of another type, such as hydra.launcher.retries=often.

    Args:
        plugin: made of the settings, which it has not looked at so far.
        config: config with Hydra's node, and with the settings under the key `where`.
    """
    from metalearn.run.checks.signatures import check_value  # late, because --help must not wait for it

    settings: dict[str, Any] = OmegaConf.to_container(OmegaConf.select(config, where), resolve=True)  # type: ignore[assignment]
    for name, hint in get_type_hints(type(plugin).__init__).items():
        if name in settings:
            check_value(settings[name], hint, f"{where}.{name}")
