"""Column, method and protocol of a result."""

from pathlib import PurePath
from typing import Literal, NamedTuple

from metalearn.formats import number_of, points, pretraining, queries, span
from metalearn.report.reading.scores import ACCURACY, Score
from metalearn.run.directory.keys import key, node
from metalearn.run.directory.result import Result

Range = tuple[int, int]
"""Smallest and largest value."""

SHOTS = {"equal": "", "unequal": " unequal shots", "meta_dataset": " by Meta-Dataset's rule"}
QUERIES = {"equal": "", "unequal": " unequal queries"}
"""Words for the number of images of each class of an episode."""


class Column(NamedTuple):
    """Data set, test setting and measure."""

    dataset: str
    way: Range  # number of outputs of a regression
    shot: Range
    score: Score
    shots: str = "equal"  # shots per class: equal, unequal or meta_dataset
    queries: str = "equal"  # queries per class: equal or unequal
    lake: bool = False  # whether the episodes are the given runs of Lake et al.

    @property
    def setting(self) -> str:
        if self.score is ACCURACY:
            lake = " of Lake et al." if self.lake else ""
            return f"{_span(self.way)}-way {_span(self.shot)}-shot{SHOTS[self.shots]}{QUERIES[self.queries]}{lake}"
        return f"{_span(self.shot)}-shot {self.score.name}"

    def __str__(self) -> str:
        return f"{self.dataset} {self.setting}"


class Method(NamedTuple):
    """Algorithm, backbone and own overrides."""

    algorithm: str
    backbone: str
    overrides: tuple[str, ...]  # overrides that no other field and no protocol has


class Protocol(NamedTuple):
    """Settings that must be equal, beside the column, for a fair comparison of two results."""

    batch_norm: str
    transductive: bool
    trained: str
    tasks_per_step: int
    overrides: tuple[str, ...]  # overrides of the trainer, the data set and the evaluation
    queries: int
    episodes: int
    other_episodes: str  # hash of the test episodes, if most runs have another
    pretraining: str = ""  # data of the pretrained weights
    saw_test_classes: bool = False  # whether the pretraining saw test classes, or may have
    checkpoint: str = ""  # file of tested weights that are not the best on meta-val
    class_splits: tuple[int, ...] = ()  # splits of the completed runs, if a data set has several

    @property
    def batch_norm_kind(self) -> str:
        return f"{self.batch_norm} ({'transductive' if self.transductive else 'inductive'})"

    @property
    def training(self) -> str:
        if not self.tasks_per_step:
            return self.trained
        return f"{self.trained}, {number_of(self.tasks_per_step, 'task')} a step"

    @property
    def test(self) -> str:
        other = f", other episodes than most ({self.other_episodes})" if self.other_episodes else ""
        weights = f", weights of {self.checkpoint}" if self.checkpoint else ""
        word = "class splits" if len(self.class_splits) > 1 else "class split"
        splits = f", {word} {', '.join(map(str, self.class_splits))}" if self.class_splits else ""
        return f"{queries(self.queries)}, {number_of(self.episodes, 'episode')}{splits}{other}{weights}"

    @property
    def parts(self) -> list[str]:
        """The protocol in words."""
        return [
            f"batch norm {self.batch_norm_kind}",
            f"trained on {self.training}",
            *([f"pretrained on {self.pretraining}"] if self.pretraining else []),
            *self.overrides,
            f"tested with {self.test}",
        ]

    def __str__(self) -> str:
        return "; ".join(self.parts)


IN_OTHER_COLUMNS = {
    "dataset",
    "dataset@test_dataset",
    "algorithm",
    "backbone",
    "batch_norm",
    "episode",
    "evaluation",
    "evaluation.fold",
    "evaluation.settings",
    "tasks_per_batch",
    "batch_size",
    "seed",
}
NOT_OF_THE_RESULT = {"mode", "checkpoint", "resume", "paths", "logger", "published"}
NOT_OF_THE_RESULT |= {"trainer.devices", "trainer.log_every_n_steps"}
OF_THE_PROTOCOL = {"trainer", "dataset", "test_dataset", "evaluation"}
OF_A_RUN = {"dataset.manifest": "classes.csv", "test_dataset.manifest": "test_classes.csv"}
"""Names of the files in which a run keeps its split; a test of it names them in an override."""


def column(result: Result, measured: Score, split: Literal["val", "test"] = "test") -> Column:
    """Returns the data set and setting of a test or a validation."""
    if split == "test":
        dataset, setting = result.dataset, result.episode.test
        lake = result.test is not None and result.test.error is not None  # only those runs have an error rate
    else:
        dataset, setting, lake = result.trained_dataset or result.dataset, result.episode.val, False
    way, shot = _range(setting.way), _range(setting.shot)
    return Column(dataset, way, shot, measured, setting.shots, setting.queries, lake)


def method(result: Result) -> Method:
    overrides = (o for o in _own_overrides(result) if _group(o) not in OF_THE_PROTOCOL)
    return Method(result.algorithm, result.backbone, tuple(overrides))


def protocol(result: Result, usual_episodes: str | None) -> Protocol:
    """Returns the protocol; `usual_episodes` is the hash of the test episodes of most runs."""
    test = result.episode.test
    episodes, seen = episodes_hash(result), result.seen_in_pretraining
    return Protocol(
        batch_norm=result.batch_norm,
        transductive=result.batch_norm == "batch" if result.transductive is None else result.transductive,
        trained=_trained(result),
        tasks_per_step=0 if trained_nothing(result) else _tasks_per_step(result),
        overrides=tuple(o for o in _own_overrides(result) if _group(o) in OF_THE_PROTOCOL) + _folds(result),
        queries=test.query,
        episodes=test.num_episodes or 0,
        other_episodes="" if episodes in (None, usual_episodes) else str(episodes)[:8],
        pretraining=pretraining(result.pretrained_on, seen) if result.pretrained_on else "",
        saw_test_classes=seen not in (None, "none"),
        checkpoint=_checkpoint(result),
    )


def episodes_hash(result: Result) -> str | None:
    return result.test.episodes_sha256 if result.test else None


def test_key(result: Result) -> str:
    """Returns a key that is equal for runs whose test episodes should be equal."""
    dealt = "" if result.fold is None else f" fold {result.fold} of seed {result.seed}"  # the seed deals the folds
    return f"{result.dataset} {result.episode.test}{dealt} {result.class_split}"


def trained_nothing(result: Result) -> bool:
    """Whether the result is that of an algorithm on a pretrained backbone without training."""
    return result.steps == 0 and result.status == "completed"


def _tasks_per_step(result: Result) -> int:
    return result.tasks_per_batch * (result.devices or 1) * (result.accumulate_grad_batches or 1)


def _folds(result: Result) -> tuple[str, ...]:
    return ("cross-validation over all classes",) if result.fold is not None else ()


def _checkpoint(result: Result) -> str:
    """Returns the name of a tested checkpoint's file; empty for a run directory or best.ckpt."""
    names = (_file(override).name for override in result.overrides if key(override) == "checkpoint")
    return next((name for name in names if name.endswith(".ckpt") and name != "best.ckpt"), "")


def _trained(result: Result) -> str:
    if trained_nothing(result):
        return "nothing"
    train, elsewhere = result.episode.train, result.trained_dataset not in (None, result.dataset)
    dataset = f"{result.trained_dataset} " if elsewhere else ""
    other = f", with {', '.join(result.trained_with)}" if result.trained_with else ""
    hard = ", hard classes" if train.sampling == "hard" else ""
    shared = result.shared_classes
    seen = f", {shared} class{'es' if shared > 1 else ''} of the test among them" if shared else ""
    val = ", on meta-train and meta-val" if result.train_split else ""
    unequal = f"{SHOTS[train.shots]}{QUERIES[train.queries]}"
    drawn = f"{span(train.way)}-way {span(train.shot)}-shot{unequal}, {queries(train.query)}{hard}"
    if train.way == 1:  # a regression with one output
        drawn = points(train.shot, train.query)
    images = f"{result.batch_size} images of all base classes"
    return f"{dataset}{drawn if result.batch_size is None else images}{val}{seen}{other}"


def _own_overrides(result: Result) -> list[str]:
    """Returns overrides that change the result and are in none of its other fields."""
    split = set() if result.class_split is None else {"dataset.fold"}
    last = {key(override): override for override in result.overrides}  # Hydra takes the last value of a key
    own = (o for name, o in last.items() if not (_is_in_other_field(name) or name in split))
    return sorted(_without_quotes(override) for override in own if not is_of_a_run(override, weights_of(result)))


def weights_of(result: Result) -> set[str]:
    """Returns the names of the run directories whose weights are tested."""
    return {_file(o).parent.parent.name for o in result.overrides if key(o) in ("checkpoint", "pretrained")}


def is_of_a_run(override: str, folders: set[str]) -> bool:
    """Whether an override names the split of its own run, or of one of these run directories."""
    file = _file(override)
    return file.name == OF_A_RUN.get(key(override)) and file.parent.name in folders


def _file(override: str) -> PurePath:
    return PurePath(override.partition("=")[2].strip("'\""))


def _without_quotes(override: str) -> str:
    """Returns an override with its path as most people type it; a checkpoint has it in quotes.

    >>> _without_quotes("backbone.vectors='/data/glove.txt'"), _without_quotes("x='1'")
    ('backbone.vectors=/data/glove.txt', "x='1'")
    """
    name, sign, value = override.partition("=")
    return name + sign + (value.strip("'\"") if "/" in value else value)


def _is_in_other_field(key: str) -> bool:
    group, _, argument = key.partition(".")
    if group in ("dataset", "algorithm", "backbone", "evaluation") and argument:
        return key in IN_OTHER_COLUMNS  # argument of a part, not its name
    return group in IN_OTHER_COLUMNS or not {group, key}.isdisjoint(NOT_OF_THE_RESULT) or key == "trainer"


def _group(override: str) -> str:
    return node(override).partition(".")[0]


def _range(value: int | list[int]) -> Range:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _span(value: Range) -> str:
    return span(value[0] if value[0] == value[1] else list(value))
