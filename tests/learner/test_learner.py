"""Learner: its answers are those of the algorithm, for any labels and any chunks."""

import copy
import json
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from conftest import Finished
from hydra.utils import instantiate
from learners import ALGORITHMS, PREPARATION, checkpoint, learner, pictures
from omegaconf import OmegaConf
from torch.nn import functional as F

from metalearn import Learner
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import image_shape
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Shape
from metalearn.learner import adapted as of_adapted
from metalearn.learner import inputs as of_inputs
from metalearn.learner.adapted import IN_TURN, Adapted
from metalearn.learner.images import prepared

SUPPORT, QUERIES = pictures(3), pictures(5, seed=1)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_probabilities_are_those_of_the_adapted_algorithm(tmp_path: Path, name: str) -> None:
    ours = learner(tmp_path, f"algorithm={name}").fit(*SUPPORT)
    algorithm = ours.trained.algorithm
    x, queries = (
        torch.stack([prepared(image, PREPARATION) for image in images]) / 255 for images in (SUPPORT[0], QUERIES[0])
    )
    y = F.one_hot(torch.arange(4).repeat_interleave(3), algorithm.fixed_way or 4).float()
    with torch.no_grad():
        expected = (algorithm.adapt(x, y)(queries)[:, :4].double() / 2.0).softmax(1)
    probabilities = ours.predict_proba(QUERIES[0])
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    weights = [evidence.weight for evidence in ours.explain_all(QUERIES[0][:2], count=12)[0]]
    assert len(weights) == 12 and weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1, abs=1e-4) or sum(weights) == 0


def test_a_run_predicts_as_it_was_tested(metalearn) -> None:
    run: Finished = metalearn()
    ours, tested = Learner.load(run.folder), np.load(run.folder / "test_episodes.npz")["accuracy"]
    assert ours.trained.temperature == run.result["temperature"] == run.checkpoint("best")["temperature"]
    bank = instantiate(OmegaConf.load(run.folder / "hparams.yaml").dataset).load()["test"]
    for index, accuracy in enumerate(tested):
        episode = draw(bank.rows, Shape((1,) * 5, (15,) * 5), seed=0, split="test", index=index)
        paper = [255 - bank.images[rows, 0].numpy() for rows in (episode.support_rows, episode.query_rows)]
        ours.fit(paper[0], episode.support_ways.tolist())
        assert ours.score(paper[1], episode.query_ways.tolist()) == pytest.approx(accuracy)


def test_one_image_is_predicted_as_in_company_and_in_chunks(tmp_path: Path, monkeypatch) -> None:
    ours = learner(tmp_path).fit(*SUPPORT)
    together = ours.predict_proba(QUERIES[0])
    monkeypatch.setattr(of_inputs, "CHUNK", 3)
    np.testing.assert_allclose(ours.predict_proba(iter(QUERIES[0])), together, atol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([ours.predict_proba([image]) for image in QUERIES[0]]), together, atol=1e-6
    )
    assert ours.predict_proba([]).shape == (0, 4) and ours.predict([]).shape == (0,)


@pytest.mark.parametrize(
    "names",
    [["b", "a", "d", "c"], [7, -1, 3, 5], [("x", 1), ("x", 2), ("y", 1), ("y", 2)], [None, "a", 3, ("b",)]],
    ids=["texts", "numbers", "tuples", "mixed"],
)
def test_labels_are_anything_and_change_nothing_but_their_order(tmp_path: Path, names) -> None:
    plain = learner(tmp_path).fit(*SUPPORT)
    rename = dict(zip(plain.classes_, names, strict=True))
    ours = learner(tmp_path).fit(SUPPORT[0], [rename[label] for label in SUPPORT[1]])
    assert list(ours.predict(QUERIES[0])) == [rename[label] for label in plain.predict(QUERIES[0])]
    columns = [list(ours.classes_).index(rename[label]) for label in plain.classes_]
    np.testing.assert_allclose(ours.predict_proba(QUERIES[0])[:, columns], plain.predict_proba(QUERIES[0]), atol=1e-6)
    ours.save(tmp_path / "saved.pt")
    assert list(Learner.load(tmp_path / "saved.pt").classes_) == list(ours.classes_)


def test_no_class_is_named_as_the_answer_none_of_these(tmp_path: Path) -> None:
    ours = learner(tmp_path).set_params(reject=0.9)
    ours.fit(SUPPORT[0], [None if label == SUPPORT[1][0] else label for label in SUPPORT[1]])
    with pytest.raises(ValueError, match=r"reject=0\.9 answers None where no class is likely, so no class can be None"):
        ours.predict(QUERIES[0])


@pytest.mark.parametrize("kind", [torch.tensor, np.array, lambda ways: list(torch.tensor(ways))])
def test_labels_in_tensors_and_arrays_are_those_of_a_list(tmp_path: Path, kind) -> None:
    ways, queries = ([int(label[-1]) for label in labels] for labels in (SUPPORT[1], QUERIES[1]))
    plain, ours = learner(tmp_path).fit(SUPPORT[0], ways), learner(tmp_path).fit(SUPPORT[0], kind(ways))
    assert ours.classes_.tolist() == [0, 1, 2, 3]
    assert np.array_equal(ours.predict_proba(QUERIES[0]), plain.predict_proba(QUERIES[0]))
    assert ours.score(QUERIES[0], kind(queries)) == plain.score(QUERIES[0], queries) > 0.9
    assert ours.add_class(kind([4])[0], SUPPORT[0][:1]).classes_.tolist() == [0, 1, 2, 3, 4]


def test_a_learner_with_the_features_of_another_version_is_refused(tmp_path: Path) -> None:
    learner(tmp_path).fit(*SUPPORT).save(tmp_path / "saved.pt", keep_images=True)
    other = torch.load(tmp_path / "saved.pt", weights_only=True)
    other["learner"]["features"] = other["learner"]["images"]
    torch.save(other, tmp_path / "saved.pt")
    with pytest.raises(
        ValueError, match="^another version of Prototypical kept other features: fit and save it again$"
    ):
        Learner.load(tmp_path / "saved.pt")


@pytest.mark.parametrize(("name", "method"), [("predict", "logits"), ("explain_all", "weights")])
def test_threads_predict_in_turn(name: str, method: str, tmp_path: Path, monkeypatch) -> None:
    """Two at once would exchange the weights of one module."""
    ours, predicting, at_once = learner(tmp_path).fit(*SUPPORT), [], []

    def slow(self: Adapted, features: torch.Tensor) -> torch.Tensor:
        predicting.append(self)
        at_once.append(len(predicting))
        time.sleep(0.05)
        predicting.pop()
        return torch.zeros(len(features), 4)

    monkeypatch.setattr(Adapted, method, slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(getattr(ours, name), [QUERIES[0]] * 2))
    assert at_once == [1, 1]


def test_a_copy_has_the_weights_of_no_prediction(tmp_path: Path) -> None:
    """While another thread predicts, functional_call has others in the module."""
    ours = learner(tmp_path, "algorithm=maml").fit(*SUPPORT)
    expected, entered = ours.predict_proba(QUERIES[0]), Event()

    def predict() -> None:
        weights = ours.trained.algorithm.state_dict(keep_vars=True)
        with IN_TURN, torch.no_grad():
            for weight in weights.values():
                weight.neg_()
            entered.set()
            time.sleep(0.05)
            for weight in weights.values():
                weight.neg_()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(predict)
        entered.wait()
        again = pickle.loads(pickle.dumps(ours))
        ended.result()
    assert np.array_equal(again.predict_proba(QUERIES[0]), expected)
    assert copy.deepcopy(ours).adapted.algorithm is copy.deepcopy(ours)._adapted.algorithm is ours.trained.algorithm


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns where threads run
def test_a_fork_waits_for_a_prediction_of_another_thread() -> None:
    held = Event()

    def predict() -> None:
        assert IN_TURN.acquire(timeout=1)
        held.set()
        time.sleep(0.05)
        IN_TURN.release()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(predict)
        held.wait()
        child = os.fork()
        if not child:
            os._exit(0 if IN_TURN.acquire(timeout=1) else 1)
        pool.submit(predict).result()  # the parent has released it
    assert os.waitpid(child, 0)[1] == 0


def test_bars_are_told_apart_and_explained_by_their_like(tmp_path: Path) -> None:
    ours = learner(tmp_path).fit(*SUPPORT)
    assert ours.score(*QUERIES) > 0.9
    (first, *_), image = ours.explain(SUPPORT[0][4]), prepared(SUPPORT[0][4], PREPARATION)
    assert (first.label, first.row) == ("angle 1", 4)
    assert np.array_equal(first.example[..., 0], image[0].numpy())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_single_support_image_decides_everything(tmp_path: Path, name: str) -> None:
    ours = learner(tmp_path, f"algorithm={name}").fit(SUPPORT[0][:1], ["a"])
    for (evidence,) in ours.explain_all(QUERIES[0][:3]):
        assert (evidence.label, evidence.weight, evidence.row) == ("a", 1.0, 0)


def test_a_class_that_is_added_was_as_good_as_there(tmp_path: Path) -> None:
    whole = learner(tmp_path).fit(*SUPPORT)
    grown = learner(tmp_path).fit(SUPPORT[0][:9], SUPPORT[1][:9]).add_class("angle 3", SUPPORT[0][9:])
    np.testing.assert_allclose(grown.predict_proba(QUERIES[0]), whole.predict_proba(QUERIES[0]), atol=1e-6)
    with pytest.raises(ValueError, match="already exists"):
        grown.add_class("angle 3", SUPPORT[0])


@pytest.mark.parametrize("keep_images", [False, True])
def test_a_saved_learner_answers_the_same(tmp_path: Path, keep_images: bool) -> None:
    ours = learner(tmp_path).fit(*SUPPORT)
    ours.save(tmp_path / "saved.pt", keep_images=keep_images)
    again = Learner.load(tmp_path / "saved.pt")
    assert np.array_equal(again.predict_proba(QUERIES[0]), ours.predict_proba(QUERIES[0]))
    assert (again.explain(QUERIES[0][0])[0].example is not None) == keep_images
    assert np.array_equal(pickle.loads(pickle.dumps(again)).predict(QUERIES[0]), ours.predict(QUERIES[0]))
    with nullcontext() if keep_images else pytest.raises(ValueError, match="had none; fit again"):
        again.add_class("angle 4", QUERIES[0]).save(tmp_path / "again.pt", keep_images=True)


def test_a_saved_learner_rejects_as_it_did(tmp_path: Path) -> None:
    ours, file = learner(tmp_path).fit(*SUPPORT), tmp_path / "saved.pt"
    median = np.median(ours.predict_proba(QUERIES[0]).max(1))  # a scalar of numpy, as of a search
    ours.set_params(reject=median).save(file)
    assert Learner.load(file).predict(QUERIES[0]).tolist() == ours.predict(QUERIES[0]).tolist()
    assert Learner.load(file).reject == median and Learner.load(file, reject=0.25).reject == 0.25
    damaged = torch.load(file, weights_only=True)
    damaged["learner"]["reject"] = 7.0
    torch.save(damaged, file)
    with pytest.raises(ValueError, match="saved.pt is damaged: its support set is not what a learner saves"):
        Learner.load(file)


def test_a_method_that_needs_the_images_says_so(tmp_path: Path) -> None:
    ours = learner(tmp_path, "algorithm=maml").fit(*SUPPORT)
    with pytest.raises(ValueError, match="keep_images=True"):
        ours.save(tmp_path / "saved.pt")
    expected = ours.predict_proba(QUERIES[0])
    ours.save(tmp_path / "saved.pt", keep_images=True)
    for again in (Learner.load(tmp_path / "saved.pt"), pickle.loads(pickle.dumps(ours))):
        np.testing.assert_allclose(again.predict_proba(QUERIES[0]), expected, atol=1e-6)


def test_what_is_unlikely_is_rejected(tmp_path: Path) -> None:
    ours = learner(tmp_path).fit(*SUPPORT)
    sure = ours.predict_proba(QUERIES[0]).max(1)
    ours.set_params(reject=float(np.median(sure)))
    assert [answer is None for answer in ours.predict(QUERIES[0])] == [bool(p < np.median(sure)) for p in sure]


def test_another_network_forgets_the_fit_and_the_same_one_keeps_it(tmp_path: Path) -> None:
    ours, other = learner(tmp_path).fit(*SUPPORT), learner(tmp_path, "algorithm=matching")
    ours.set_params(trained=ours.trained, reject=0.0).predict(QUERIES[0])
    with pytest.raises(ValueError, match="call fit"):
        ours.set_params(trained=other.trained).predict(QUERIES[0])


def test_queries_that_depend_on_each_other_are_predicted_together_or_refused(tmp_path: Path, monkeypatch) -> None:
    ours = learner(tmp_path, "algorithm=prototypical", "batch_norm=batch").fit(*SUPPORT)
    together = ours.predict_proba(QUERIES[0])
    monkeypatch.setattr(of_inputs, "CHUNK", 3)
    np.testing.assert_allclose(ours.predict_proba(QUERIES[0]), together, atol=1e-6)
    monkeypatch.setattr(of_adapted, "JOINT", 10)
    with pytest.raises(ValueError, match="at most 10 of them"):
        ours.predict(QUERIES[0])


@pytest.mark.parametrize("name", ["pt_map", "bd_cspn"])
def test_a_single_query_that_is_centred_is_refused(tmp_path: Path, name: str) -> None:
    ours = learner(tmp_path, f"algorithm={name}").fit(*SUPPORT)
    assert len(ours.predict(QUERIES[0][:2])) == 2 and len(ours.predict([])) == 0
    with pytest.raises(ValueError, match="a single one has no information: predict several together"):
        ours.predict(QUERIES[0][:1])


def test_scikit_learn_takes_it_for_a_classifier(tmp_path: Path) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score

    ours, x, y = learner(tmp_path), np.stack(QUERIES[0]), np.array(QUERIES[1])
    assert is_classifier(ours) and clone(ours).trained is ours.trained
    assert cross_val_score(ours, x, y, cv=3).mean() > 0.9
    assert cross_val_score(ours, x, y, cv=3, scoring="neg_log_loss").max() < 0
    search = GridSearchCV(ours, {"reject": [None, 0.99]}, cv=2, error_score="raise").fit(x, y)
    assert search.best_params_ == {"reject": None} and search.predict(x[:2]).tolist() == ["angle 0"] * 2


def test_a_score_weighs_the_images(tmp_path: Path) -> None:
    ours, (images, labels) = learner(tmp_path).fit(*SUPPORT), QUERIES
    wrong, weights = ["angle 9", *labels[1:]], [3.0] + [1.0] * 19
    plain = np.array(ours.predict(images)) == wrong
    assert ours.score(images, wrong, sample_weight=weights) == pytest.approx(plain[1:].sum() / 22)
    assert ours.score(images, wrong, sample_weight=None) == ours.score(images, wrong) == plain.mean()


@pytest.mark.parametrize("routing", [False, True])
def test_it_is_the_end_of_a_pipeline(tmp_path: Path, routing: bool) -> None:
    from sklearn import config_context
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    ours, x, y = learner(tmp_path), np.stack(QUERIES[0]), np.array(QUERIES[1])
    with config_context(enable_metadata_routing=routing):
        pipeline = make_pipeline(FunctionTransformer(np.fliplr), ours).fit(x, y)
        assert pipeline.predict(x).tolist() == ours.predict(np.fliplr(x)).tolist()
        first = np.arange(len(y)) == 0
        assert pipeline.score(x, y) > 0.9 and pipeline.score(x, y[::-1], sample_weight=first) == 0
        assert cross_val_score(pipeline, x, y, cv=3, error_score="raise").mean() > 0.9


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda ours: ours.predict([]), "call fit"),
        (lambda ours: ours.fit(SUPPORT[0], ["a"]), "12 images and 1 labels"),
        (lambda ours: ours.fit(SUPPORT[0], np.zeros((12, 1))), r"labels have the shape \(12, 1\); give one for each"),
        (lambda ours: ours.fit(SUPPORT[0], list(torch.eye(12))), r"a label has the shape \(12,\); give one for each"),
        (lambda ours: ours.fit(*SUPPORT).score(QUERIES[0], ["a"]), "20 images and 1 labels"),
        (lambda ours: ours.fit([], []), "there are no images"),
        (lambda ours: ours.fit(*SUPPORT).add_class("a", []), "there are no images"),
        (lambda ours: ours.fit("a.png", ["a"] * 5), "brackets"),
        (lambda ours: ours.set_params(way=5), "no parameter 'way'"),
        (
            lambda ours: ours.set_params(reject=0.5).fit(SUPPORT[0][:1], ["a"]).predict(QUERIES[0]),
            "reject=0.5 compares classes, and there is one: give examples of others too",
        ),
        (lambda ours: ours.explain(QUERIES[0][0], count=-1), "count=-1 must be at least 1"),
        (
            lambda ours: ours.fit(np.zeros((28, 28, 3), np.uint8), ["a"] * 28),
            "is one image; put a single one into",
        ),
        (lambda ours: ours.fit(*SUPPORT).predict(np.zeros((28, 28, 1))), r"\(28, 28, 1\) is one image"),
        (lambda ours: ours.fit(*SUPPORT).predict(torch.zeros(28, 28, 3)), r"\(28, 28, 3\) is one image"),
        (lambda ours: Learner(ours.trained, reject=2.0), "reject=2 must be a probability, from 0 to 1"),
        (lambda ours: ours.set_params(reject=-0.5), "reject=-0.5 must be a probability"),
        (lambda ours: Learner(ours.trained, reject="0.5"), "reject='0.5' is a str: give a number, from 0 to 1"),
        (lambda ours: ours.fit(*SUPPORT).score([], []), "there are no images to score: give at least one"),
        (lambda ours: ours.fit(*SUPPORT).score(*QUERIES, [1.0]), "Shape of weights must be consistent"),
        (
            lambda ours: ours.fit(np.zeros((2, 784)), ["a", "b"]),
            r"image 0: pixels of the shape \(784,\) are not an image",
        ),
        (lambda ours: ours.fit([np.full((5, 5), 300.0)], ["a"]), "numbers from 0 to 1"),
        (lambda ours: ours.fit([np.eye(5, dtype=int)], ["a"]), "int64 from 0 to 1: convert bytes to uint8, or .* bool"),
        (lambda ours: ours.fit(["absent.png"], ["a"]), r"image 0 \(absent.png\): .*No such file"),
    ],
)
def test_mistakes_are_named_in_a_line(tmp_path: Path, act, message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        act(learner(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "changes", "message"),
    [
        ((), {"built": {"_target_": "os.system", "command": "true"}}, "built: algorithm._target_=os.system is refused"),
        ((), {"built": {"_target_": "torch.nn.Identity"}}, "which does not classify"),
        (
            (),
            {"built": {"problem": "regression"}, "preparation": None},
            "on glyphs, a regression: a learner classifies",
        ),
        ((), {"built": {"_target_": "metalearn.algorithms.maml.MAML", "way": "${oc.env:HOME}"}}, "interpolation"),
        ((), {"built": None}, "built is null, not a group of keys; another version may"),
        ((), {"preparation": None}, "does not state how new inputs are prepared: .* needs a `preparation`"),
        ((), {"preparation": {"input_shape": [1, 28, 28], "invert": 3, "bits": 16}}, "preparation of inputs"),
    ],
)
def test_a_checkpoint_that_describes_no_classifier_is_refused(tmp_path, overrides, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Learner.load(checkpoint(tmp_path, *overrides, **changes))


@pytest.mark.parametrize("invert", [False, True])
def test_a_warning_states_that_all_support_images_are_dark(
    tmp_path: Path, invert: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ours = learner(tmp_path, preparation=asdict(replace(PREPARATION, invert=invert)))
    ours.fit(*SUPPORT)
    assert not caplog.records
    ours.fit([(image > 127).astype(np.uint8) for image in SUPPORT[0]], SUPPORT[1])  # 0 and 1 as bytes
    assert "all images are dark: their brightest pixel is 0.4 % of white" in caplog.text


def test_the_largest_images_of_a_training_are_those_of_a_learner(tmp_path: Path) -> None:
    largest = image_shape("own", [1, 4096, 4096], [1])
    ours = learner(tmp_path, preparation=asdict(Preparation(largest)))
    assert ours.trained.preparation.input_shape == largest


def test_a_head_takes_fewer_classes_and_refuses_more(tmp_path: Path) -> None:
    ours = learner(tmp_path, "algorithm=maml")
    assert ours.fit(*SUPPORT).predict_proba(QUERIES[0]).shape == (20, 4)
    with pytest.raises(ValueError, match=r"classifies 5 ways, not 6: train with episode.train.way=6"):
        ours.fit(*pictures(1, classes=6))


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("completed", None, "kept no weights: name the run that it tested"),
        ("failed", "way 20 exceeds 15", r"kept no weights, since its run failed \(way 20 exceeds 15\)"),
    ],
)
def test_a_run_without_weights_says_why(tmp_path: Path, status: str, error: str | None, words: str) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"status": status, "error": error}))
    with pytest.raises(FileNotFoundError, match=words):
        Learner.load(tmp_path)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_autocast_of_a_fit_or_of_the_first_prediction_does_not_stay(tmp_path: Path, name: str) -> None:
    ours, other = learner(tmp_path, f"algorithm={name}"), learner(tmp_path, f"algorithm={name}")
    expected = ours.fit(*SUPPORT).predict_proba(QUERIES[0])
    other.fit(*SUPPORT)
    with torch.autocast("cpu", torch.bfloat16):
        other.predict_proba(QUERIES[0])
        ours.fit(*SUPPORT)
    assert np.array_equal(other.predict_proba(QUERIES[0]), expected)
    assert np.abs(ours.predict_proba(QUERIES[0]) - expected).max() < 0.02


def test_a_learner_that_was_loaded_in_inference_mode_adapts_outside_it(tmp_path: Path) -> None:
    expected = learner(tmp_path, "algorithm=maml").fit(*SUPPORT).predict_proba(QUERIES[0])
    with torch.inference_mode():
        ours = learner(tmp_path, "algorithm=maml")
    assert np.array_equal(ours.fit(*SUPPORT).predict_proba(QUERIES[0]), expected)
