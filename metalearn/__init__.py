"""metalearn: few-shot meta-learning experiments, composed from YAML and measured so that they can be believed."""

__version__ = "0.1.0"
