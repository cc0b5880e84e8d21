"""Keeps torchmetrics from importing packages that no run uses.

torchmetrics imports SciPy, transformers and matplotlib wherever they are installed, for metrics of
sounds and texts and for plots. They take as long as all other imports of a run. torchmetrics asks
lightning_utilities what is installed; in the process of a run the answer is that these are not.
"""

from importlib.metadata import PackageNotFoundError, version

from lightning_utilities.core import imports

UNUSED = ("matplotlib", "scipy", "transformers")

_is_available = imports.package_available


def _version(name: str) -> str:
    if name in UNUSED:
        raise PackageNotFoundError(name)
    return version(name)


def _is_used(name: str) -> bool:
    return name not in UNUSED and _is_available(name)


vars(imports).update(_version=_version, package_available=_is_used)
