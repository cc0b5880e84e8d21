"""The result of a run, in an event file of its own, for the HParams page of TensorBoard.

TensorBoard keeps the hyperparameters and the status that it reads first in a directory. The file of
an earlier session is therefore removed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

SUFFIX = ".result"


@rank_zero_only
def remove(folder: Path) -> None:
    """Removes the result and the hyperparameters of an earlier session."""
    for path in (*folder.glob(f"events.*{SUFFIX}"), folder / "hparams.yaml"):
        path.unlink(missing_ok=True)


@rank_zero_only
def write(
    folder: Path,
    hyperparameters: Mapping[str, Any],
    numbers: Mapping[str, float],
    texts: Mapping[str, Any],
    *,
    step: int,
    failed: bool,
) -> None:
    """Writes the result of a run.

    Args:
        folder: directory of the event files.
        hyperparameters: flat config of the run.
        numbers: finite numbers of the result, which become scalars.
        texts: other fields of the result.
        step: number of training steps.
        failed: whether the page shows the run as failed.
    """
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    plain = {k: v if isinstance(v, int | float | str) else str(v) for k, v in hyperparameters.items()}
    experiment, start, end = hparams(plain, dict(numbers))
    if failed:  # torch writes that the run succeeded
        plugin = end.value[0].metadata.plugin_data
        data = HParamsPluginData.FromString(plugin.content)
        data.session_end_info.status = STATUS_FAILURE
        plugin.content = data.SerializeToString()
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for name, number in numbers.items():
            writer.add_scalar(name, number, step)
        for name, text in texts.items():
            writer.add_text(name, str(text), step)
        for summary in (experiment, start, end):
            writer.file_writer.add_summary(summary)
