"""Settings of the trainer that lead to no result, or that the machine cannot do."""

import re
from typing import Any

NO_RESULT = {
    "fast_dev_run": "it leaves no checkpoint to test; a run of a few steps is debug=default",
    "barebones": "it leaves no checkpoint to test",
    "overfit_batches": "it repeats episodes; a run of a few steps is debug=default",
    "logger": "loggers are chosen by logger=NAME",
    "callbacks": "callbacks are added by +callbacks.NAME._target_=CLASS",
    "default_root_dir": "the run directory is hydra.run.dir=DIR",
    "check_val_every_n_epoch": "validation is counted in batches: trainer.val_check_interval=N",
}
"""Arguments of Lightning's Trainer that a run cannot use, and the settings that replace them."""

LIMITS = {
    "limit_val_batches": "meta-val chooses the checkpoint; a short one has episode.val.num_episodes=5",
    "limit_test_batches": "a short test has episode.test.num_episodes=5",
}
"""Arguments that would score a part of the episodes that a result names."""

FROM_MEMORY = ("ddp_spawn", "ddp_fork", "ddp_notebook")
"""Strategies of Lightning whose processes copy the objects of the first one."""


def check_trainer(trainer: dict[str, Any]) -> None:
    """Raises ValueError for a setting that leads to no result."""
    for name, instead in NO_RESULT.items():
        if trainer.get(name):
            raise ValueError(f"trainer.{name}={str(trainer[name])[:50]} is refused: {instead}")
    if trainer.get("enable_checkpointing") is False:
        raise ValueError("trainer.enable_checkpointing=false is refused: the best checkpoint is tested")
    if str(strategy := trainer.get("strategy")).startswith(FROM_MEMORY):
        raise ValueError(
            f"trainer.strategy={strategy} is refused: a process reads the command itself, so use trainer.strategy=ddp"
        )
    if isinstance(profiler := trainer.get("profiler"), str):
        raise ValueError(f"trainer.profiler={profiler} is refused: it writes no file; a profile is debug=profiler")
    for name, instead in LIMITS.items():
        if (limit := trainer.get(name)) is not None:
            raise ValueError(f"trainer.{name}={limit} is refused: {instead}")
    for name in ("skip_nonfinite", "gradient_clip_val"):
        if (trainer.get(name) or 0) < 0:
            raise ValueError(f"trainer.{name}={trainer[name]}; it must not be negative")
    _check_length(trainer)
    _check_intervals(trainer)


def check_devices(trainer: dict[str, Any], accelerators: int) -> None:
    """Raises ValueError for Apple's GPU, for absent devices, and for float16 without a GPU.

    Lightning would replace float16 by bfloat16 on a CPU.

    Args:
        trainer: config of the trainer.
        accelerators: number of GPUs of the machine.
    """
    kind, wanted = trainer["accelerator"], trainer["devices"]
    if kind == "mps":
        raise ValueError("trainer.accelerator=mps has no float64, which scores need: use trainer=cpu")
    number = int(wanted) if str(wanted).isdigit() and not isinstance(wanted, bool) else None
    if number == 0:
        raise ValueError("trainer.devices=0; it must be at least 1")
    if kind == "cpu" and number is None and wanted != "auto":
        raise ValueError(f"trainer.devices={wanted} names a GPU; on a CPU, give a number of processes")
    count = number or (len(wanted) if isinstance(wanted, list) else 1)
    if kind in ("gpu", "cuda") and count > accelerators:
        raise ValueError(f"trainer.devices={wanted} exceeds the {accelerators} GPUs present")
    if kind == "auto" and count > max(accelerators, 1):
        raise ValueError(
            f"trainer.devices={wanted} exceeds the {accelerators} GPUs present; on the CPU use trainer=ddp_cpu"
        )
    if kind == "auto" and not accelerators and number is None and wanted != "auto":
        raise ValueError(f"trainer.devices={wanted} names a GPU, but this machine has none")
    precision = trainer["precision"]
    if (kind == "cpu" or not accelerators) and str(precision) in ("16", "16-mixed"):
        raise ValueError(f"trainer.precision={precision} needs a GPU: type trainer.precision=bf16-mixed")


def check_precision(precision: Any, algorithm: str) -> None:
    """Raises ValueError for float16 if inner gradients exist, which no gradient scaler reaches."""
    if str(precision) in ("16", "16-mixed", "16-true"):
        raise ValueError(
            f"trainer.precision={precision} would round small gradients of {algorithm} to 0; use bf16-mixed"
        )


def _check_length(trainer: dict[str, Any]) -> None:
    steps, epochs, batches = (trainer[name] for name in ("max_steps", "max_epochs", "limit_train_batches"))
    if steps == 0 or steps < -1:
        raise ValueError(f"trainer.max_steps={steps}; it must be positive, or -1 with a trainer.max_time")
    if epochs == 0 or epochs < -1:
        raise ValueError(f"trainer.max_epochs={epochs}; it must be positive, or -1 for no limit")
    if batches is not None and not _is_count(batches):
        raise ValueError(f"trainer.limit_train_batches={batches} must be a positive whole number: episodes have no end")
    if epochs != -1 and batches is None:
        raise ValueError(
            f"trainer.max_epochs={epochs}: episodes have no epochs; give trainer.max_steps=N, "
            "or trainer.limit_train_batches=N too, the batches of an epoch"
        )
    time = trainer["max_time"]
    if time is not None and not (re.fullmatch(r"\d+(:\d\d){3}", time) and re.search("[1-9]", time)):
        raise ValueError(f"trainer.max_time={time}; it must be DD:HH:MM:SS above 0, such as 00:01:30:00")
    if steps == -1 and epochs == -1 and time is None:
        raise ValueError("the training has no limit: give trainer.max_steps or trainer.max_time")


def _check_intervals(trainer: dict[str, Any]) -> None:
    interval, accumulated = trainer["val_check_interval"], trainer["accumulate_grad_batches"]
    if accumulated < 1:
        raise ValueError(f"trainer.accumulate_grad_batches={accumulated}; it must be at least 1")
    if not _is_count(interval):
        raise ValueError(f"trainer.val_check_interval={interval} must be a positive number of batches")
    for name, end in (("val_check_interval", "ends"), ("limit_train_batches", "ends an epoch")):
        if (batches := trainer[name]) is not None and (within := batches % accumulated):
            raise ValueError(
                f"trainer.{name}={batches} {end} within a step of trainer.accumulate_grad_batches={accumulated} "
                f"batches: it must be a multiple of it, such as {batches + accumulated - within}"
            )


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
