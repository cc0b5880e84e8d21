"""Composes a config when it is imported, so that the jobs forked afterwards have warm parsers."""

from hydra import compose, initialize_config_dir

from metalearn.run.command.conf import conf_dir

with initialize_config_dir(conf_dir(), version_base="1.3"):
    compose("config", return_hydra_config=True)
