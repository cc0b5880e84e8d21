"""One run: build the objects of the config, fit, test the best checkpoint, write the result."""

import logging
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from math import isfinite
from typing import Any

from omegaconf import DictConfig

from metalearn.data.seen import seen_in_pretraining
from metalearn.episodes.lake import WAY
from metalearn.files import is_full_disk
from metalearn.formats import interval
from metalearn.run.assembly import Assembly, build
from metalearn.run.directory import hydra_folder
from metalearn.run.directory.as_json import decode
from metalearn.run.directory.checkpoint import load
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import Origin
from metalearn.run.directory.result import Evaluation, Further
from metalearn.run.directory.secrets import redacted
from metalearn.run.loggers import every_logger
from metalearn.run.loggers.metrics import MetricsFile
from metalearn.run.plan import Plan, resolve
from metalearn.run.process import early_signals
from metalearn.run.process.conventions import BAD_INPUT, FAILED
from metalearn.run.process.exits import ANOTHER, ending, is_of_another_process, refusing_bad_input
from metalearn.run.process.machine import is_rank_zero
from metalearn.run.process.signals import Signals
from metalearn.run.record import Record, planned
from metalearn.run.screen import console
from metalearn.run.settings import is_of_another_predictor, sha256, tested
from metalearn.training.callbacks import NonFiniteLoss
from metalearn.training.evaluation import error_rate, evaluate, evaluate_further

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Runs a composed config, and returns the meta-val score: accuracy or mean squared error.

    Raises SystemExit with 2 for bad input before any training, with 128 + the number of a signal
    that stopped it (143 after SIGTERM, 130 after Ctrl-C), and with 1 for other failures.
    """
    folder = hydra_folder.run_folder()
    with ExitStack() as stack:
        try:
            if is_rank_zero():
                stack.enter_context(folder.claimed(resume=bool(config.get("resume"))))
        except (ValueError, OSError) as error:
            print(f"metalearn: {redacted(str(error))}", file=sys.stderr)
            raise SystemExit(BAD_INPUT) from error
        return _run(config, folder)


def _run(config: DictConfig, folder: RunFolder) -> float | None:
    record = Record(folder)
    plan, assembly, code, begun = None, None, 0, False
    with Signals() as signals:
        try:
            with refusing_bad_input():
                plan = resolve(config, folder)
                record.outcome = planned(plan)
                assembly = build(plan, config, signals)
                _announce(assembly, record)
                if is_rank_zero():
                    _begin(assembly, config)
                begun = True
            # Several processes wait for one another until the first step, where all can stop.
            signals.training = not plan.tests_only and assembly.trainer.world_size > 1
            signals.deliver(early_signals.received)
            if not plan.tests_only:
                fit(assembly, record)
            pruned = assembly.pruning is not None and assembly.pruning.pruned
            if not pruned:
                test(assembly, record)
            record.update(status="pruned" if pruned else "completed")
        except BaseException as error:
            signals.close()  # no signal may prevent the result from being written
            status, line, code = ending(error, signals.received)
            record.outcome = replace(record.outcome, status=status, error=line)
            _report(error, code, plan)
        signals.close()
        if plan is None and code == BAD_INPUT:
            if is_rank_zero():
                folder.discard()
        else:
            code = _leave(record, folder, code, begun=begun)
        if assembly is not None:
            every_logger.end(assembly.trainer.loggers, record.result, folder, code)
    if code:
        # Lightning kills rank 0 if another rank exits with a code other than 0. A signal stops all
        # ranks in order, so the others exit with 0.
        in_order = not is_rank_zero() and record.outcome.status == "interrupted"
        raise SystemExit(0 if in_order else code)
    assert plan is not None and assembly is not None
    if is_rank_zero():
        if record.result.status == "pruned":
            console.say(f"pruned at step {record.result.steps}: the other trials of the search are better")
        else:
            console.show_result(record.result, folder.path)
    val = record.result.measured("val")
    return val.estimate.mean if val else None


def _begin(assembly: Assembly, config: DictConfig) -> None:
    """Writes the config, removes earlier results, and cuts metrics.csv to the resumed step."""
    hydra_folder.write_config(assembly.plan.folder, config, redacted(assembly.plan.config))
    for logger in assembly.trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.resume(assembly.done.steps)
    log.info("begins at step %d: %s", assembly.done.steps, shlex.join(assembly.plan.command))


def fit(assembly: Assembly, record: Record) -> None:
    """Trains, from the resumed checkpoint if any, and loads the best weights into the module."""
    resumed = assembly.plan.folder.last if assembly.checkpoint is not None else None
    try:
        assembly.trainer.fit(assembly.module, datamodule=assembly.data, ckpt_path=resumed, weights_only=True)
    finally:
        record.update(
            seconds=replace(record.result.seconds, fit=assembly.clock.seconds),
            steps=assembly.trainer.global_step,
            skipped_batches=assembly.module.num_skipped,
        )
    if assembly.keeper.best_step is None:
        raise NonFiniteLoss("the loss of the validations was never a finite number, so there are no weights to test")
    best = load(assembly.plan.folder.best, assembly.module, assembly.plan.choices)
    assert best["global_step"] == assembly.keeper.best_step
    record.update(**_of_validation(best))


def _of_validation(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of the result that come from meta-val."""
    val = checkpoint.get("val")
    return {
        "val": None if val is None else Evaluation.of(val, "val"),
        "best_step": checkpoint["global_step"],
        "temperature": checkpoint.get("temperature"),
    }


def test(assembly: Assembly, record: Record) -> None:
    """Scores the meta-test episodes, then those of further settings with equal weights."""
    if assembly.plan.trains_nothing:
        record.update(steps=0, trained_dataset=assembly.plan.origin.dataset if assembly.plan.origin else None)
    elif assembly.plan.tests_only and assembly.checkpoint is not None:
        fields = _of_validation(assembly.checkpoint)
        if is_of_another_predictor(record.result.trained_with or []):  # meta-val has scored that one
            fields |= {"val": None, "temperature": None}
        record.update(**fields, trained_dataset=Origin.of(assembly.checkpoint).dataset)
    began = time.perf_counter()
    fields, scores = evaluate(assembly.trainer, assembly.module, assembly.data)
    test, took = Evaluation.of(fields, "test"), time.perf_counter() - began
    if assembly.plan.config["evaluation"]["protocol"] == "lake" and test.accuracy is not None:
        test = replace(test, error=error_rate(test.accuracy, WAY))
    cost = assembly.module.cost.medians()
    seconds = replace(record.result.seconds, test=took, adapt=cost.get("adapt"), predict=cost.get("predict"))
    record.update(test=test, seconds=seconds)
    record.write_episodes(scores)
    if test.measured:
        log.info("meta-test %s %s", test.measured.name, interval(test.measured))
    others: dict[str, Evaluation] = {}
    for name, setting in assembly.others.items():
        data = assembly.data.tested_by(setting, f"test_{name}")
        fields, scores = evaluate(assembly.trainer, assembly.module, data)
        others[name] = Evaluation.of(fields, name)
        record.update(evaluations=others)
        record.write_episodes(scores, name)
    if assembly.further is not None:
        scored = evaluate_further(assembly.trainer, assembly.module, assembly.data, assembly.further)
        estimates = {score: estimate._asdict() for score, estimate in scored.scores.items()}
        further = {"name": assembly.further.name, "scores": estimates, "curve": scored.curve._asdict()}
        record.update(further=decode(Further, further, "further"))
    _check_finite({"meta-test": test, **others}, record.result.further)


def _check_finite(evaluations: dict[str, Evaluation], further: Further | None) -> None:
    """Raises NonFiniteLoss if a loss or a score of a further evaluation is not finite."""
    for name, evaluation in evaluations.items():
        if evaluation.loss is None or not isfinite(evaluation.loss.mean):
            raise NonFiniteLoss(f"the loss on {name} is not a finite number, so its score means nothing")
    for name, score in further.scores.items() if further else ():
        if not isfinite(score.mean):
            raise NonFiniteLoss(f"the score {name} of the evaluation is {score.mean}, so it means nothing")


def _leave(record: Record, folder: RunFolder, code: int, *, begun: bool) -> int:
    """Writes the result, and returns the exit code.

    A run that has not begun overwrites no other run's result.
    """
    # A process that fails alone writes its result, since Lightning kills the others at once. A
    # process that fails because rank 0 has ended writes nothing.
    alone = record.outcome.status == "failed" and not folder.result.exists()
    if not (is_rank_zero() or alone):
        return code
    if not begun and (folder.result.exists() or folder.holds_run):
        return code
    if code == BAD_INPUT and not folder.named:
        folder.discard()
        return code
    try:
        record.write()
    except OSError as error:
        print(f"metalearn: the result was not written: {error.strerror}: {folder.result}", file=sys.stderr)
        return code or FAILED
    return code


def _report(error: BaseException, code: int, plan: Plan | None) -> None:
    if code == BAD_INPUT:
        print(f"metalearn: {redacted(str(error))}", file=sys.stderr)
    elif isinstance(error, NonFiniteLoss) or is_full_disk(error):
        log.error("%s", error)
    elif code == FAILED and not is_of_another_process(error):
        log.error("the run failed", exc_info=error)
    elif is_rank_zero() and plan is not None and plan.folder.last.is_file():
        why = ANOTHER if code == FAILED else "stopped by a signal"
        log.warning("%s; to resume: %s", why, shlex.join(plan.resume_command))
    elif code == FAILED:
        log.error(ANOTHER)


def _announce(assembly: Assembly, record: Record) -> None:
    plan, algorithm, done = assembly.plan, assembly.module.algorithm, assembly.done
    record.update(
        num_parameters=assembly.num_parameters,
        devices=record.result.devices or assembly.trainer.world_size,
        batch_norm=assembly.module.dependence.batch_norm,
        transductive=assembly.module.dependence.transductive,
        batch_size=assembly.data.batch_size,
        pretrained_on=algorithm.pretrained_on,
        seen_in_pretraining=seen_in_pretraining(plan.tested_dataset, algorithm.pretrained_on),
        shared_classes=assembly.shared_classes,
        config_sha256=sha256(
            tested(plan.settings, assembly.checkpoint, record.result.trained_with)
            if plan.tests_only
            else plan.settings,
            plan.class_split,
        ),
    )
    safe = redacted(plan.config)
    every_logger.begin(assembly.trainer.loggers, safe, record.result, algorithm.objective.score_name, done)
    if is_rank_zero():
        console.show_plan(safe, record.result, plan.folder.path, done)
