"""Learner of texts: the answers of the algorithm, and the tokens of the training."""

import pickle
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Finished
from hydra.utils import instantiate
from learners import learner, pictures, text_checkpoint
from omegaconf import OmegaConf
from texts import TEXTS, VERBS, banks, encoding, write_csv, write_vectors
from torch.nn import functional as F

from metalearn import Learner
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.tokens import rebuilt
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Shape

CLASSES = sorted(VERBS[:4])
SUPPORT = [text for verb in CLASSES for text in TEXTS[verb][:3]], [verb for verb in CLASSES for _ in range(3)]
QUERIES = [text for verb in CLASSES for text in TEXTS[verb][3:]], [verb for verb in CLASSES for _ in range(4)]


@pytest.mark.parametrize("backbone", ["bag_of_ngrams", "text_cnn"])
@pytest.mark.parametrize("name", ["prototypical", "maml", "mann"])
def test_probabilities_are_those_of_the_adapted_algorithm(tmp_path: Path, name: str, backbone: str) -> None:
    ours = Learner.load(text_checkpoint(tmp_path, f"algorithm={name}", f"backbone={backbone}")).fit(*SUPPORT)
    algorithm = ours.trained.algorithm
    bank = banks({"train": TEXTS, "test": {"x": SUPPORT[0], "y": QUERIES[0]}}, 12)["test"]
    y = F.one_hot(torch.arange(4).repeat_interleave(3), algorithm.fixed_way or 4).float()
    with torch.no_grad():
        expected = algorithm.adapt(bank.images[:12], y)(bank.images[12:])[:, :4].double() / 2.0
    np.testing.assert_allclose(ours.predict_proba(QUERIES[0]), expected.softmax(1).numpy(), atol=1e-5)


def test_texts_are_told_apart_and_explained_by_texts(tmp_path: Path) -> None:
    from sklearn.model_selection import cross_val_score

    ours = Learner.load(text_checkpoint(tmp_path)).fit(*SUPPORT)
    assert ours.score(*QUERIES) == 1
    assert list(ours.predict(np.array(QUERIES[0]))) == list(ours.predict(iter(QUERIES[0])))
    first = ours.explain("Please stop the door, don't wait")[0]
    assert (first.label, first.example) == ("stop", SUPPORT[0][first.row])
    assert cross_val_score(ours, *QUERIES, cv=2).mean() == 1


@pytest.mark.parametrize("name", ["prototypical", "maml"])
def test_a_saved_learner_knows_its_words_and_its_texts(tmp_path: Path, name: str) -> None:
    ours = Learner.load(text_checkpoint(tmp_path, f"algorithm={name}", "backbone=text_cnn")).fit(*SUPPORT)
    if name == "maml":
        with pytest.raises(ValueError, match="predicts from the support texts themselves"):
            ours.save(tmp_path / "saved.pt")
    ours.save(tmp_path / "saved.pt", keep_images=True)
    for again in (Learner.load(tmp_path / "saved.pt"), pickle.loads(pickle.dumps(ours))):
        np.testing.assert_allclose(again.predict_proba(QUERIES[0]), ours.predict_proba(QUERIES[0]), atol=1e-6)
        assert again.explain(QUERIES[0][0])[0].example in SUPPORT[0]
    again = Learner.load(tmp_path / "saved.pt").add_class("send", TEXTS["send"])
    assert again.explain(TEXTS["send"][2], count=19)[0].label in again.classes_
    assert {evidence.example for evidence in again.explain(TEXTS["send"][2], count=19)} == {*SUPPORT[0], *TEXTS["send"]}


@pytest.mark.parametrize(
    "backbone",
    [
        ["bag_of_vectors", "freeze=true"],
        ["text_cnn", "freeze_vectors=true"],
        ["text_transformer", "heads=2"],
    ],
)
def test_a_learner_needs_no_file_of_word_vectors(tmp_path: Path, backbone: list[str]) -> None:
    file, (name, setting) = tmp_path / "vectors.txt", backbone
    vectors = write_vectors(file)
    typed = f"backbone={name}", f"backbone.{setting}", f"backbone.vectors={file}", "backbone.width=4"
    run = text_checkpoint(tmp_path, *typed)
    file.unlink()
    ours = Learner.load(run).fit(*SUPPORT)
    network = ours.trained.algorithm.get_submodule("backbone")
    weight = network.get_parameter("embedding.weight")
    assert np.array_equal(weight[1 : 1 + len(vectors)].detach().cpu(), vectors)
    assert network.pretrained_on == "word vectors" and weight.requires_grad == ("freeze" not in setting)
    ours.save(tmp_path / "saved.pt")
    again = Learner.load(tmp_path / "saved.pt").predict_proba(QUERIES[0])
    np.testing.assert_allclose(again, ours.predict_proba(QUERIES[0]), atol=1e-6)


def test_without_its_texts_a_saved_learner_explains_by_labels(tmp_path: Path) -> None:
    Learner.load(text_checkpoint(tmp_path)).fit(*SUPPORT).save(tmp_path / "saved.pt")
    first = Learner.load(tmp_path / "saved.pt").explain(SUPPORT[0][4])[0]
    assert (first.label, first.row, first.example) == (CLASSES[1], 4, None)


def test_a_run_on_texts_predicts_as_it_was_tested(metalearn, tmp_path: Path) -> None:
    run: Finished = metalearn(
        *("dataset=text", f"dataset.root={write_csv(tmp_path / 'texts.csv')}", "dataset.split=[0.5,0.2,0.3]"),
        *("backbone=text_cnn", "backbone.maps=8", "backbone.width=8", "trainer.max_steps=3"),
        *("dataset.encoding.num_tokens=90", "dataset.encoding.buckets=9"),
        *("episode.train.way=3", "episode.train.query=2", "episode.val.num_episodes=3", "episode.test.num_episodes=5"),
        *("episode.val.way=2", "episode.test.way=2", "episode.val.query=3", "episode.test.query=3"),
        small=False,
    )
    assert run.code == 0, run.text
    ours, tested = Learner.load(run.folder), np.load(run.folder / "test_episodes.npz")["accuracy"]
    bank = instantiate(OmegaConf.load(run.folder / "hparams.yaml").dataset).load()["test"]
    for index, accuracy in enumerate(tested):
        episode = draw(bank.rows, Shape((1, 1), (3, 3)), seed=0, split="test", index=index)
        support, queries = ([bank.texts[row] for row in rows] for rows in (episode.support_rows, episode.query_rows))
        ours.fit(support, episode.support_ways.tolist())
        assert ours.score(queries, episode.query_ways.tolist()) == pytest.approx(accuracy)


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_a_tokeniser_is_rebuilt_from_its_recipe(kind: str) -> None:
    tokeniser = encoding(kind=kind).tokeniser(text for texts in TEXTS.values() for text in texts)
    again = rebuilt(tokeniser.recipe)
    assert again.identity == tokeniser.identity and again.recipe == tokeniser.recipe
    text = "Please play quite unknown words, ␣ don't"
    assert again.encode(text, 20) == tokeniser.encode(text, 20)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda ours: ours.fit("a text", ["a"]), "texts are a list; put a single one into brackets"),
        (lambda ours: ours.fit(["a"], ["a"]).add_class("b", "text"), "texts are a list; put a single one"),
        (lambda ours: ours.fit(["a", 3], ["a", "b"]), "text 1: a int is not a text"),
        (lambda ours: ours.fit(["a", " "], ["a", "b"]), "text 1: the text ' ' has no tokens"),
        (lambda ours: ours.fit(["a", "\ud83d"], ["a", "b"]), "text 1: 'utf-8' codec can't encode"),  # half an emoji
        (lambda ours: ours.fit(["a"], ["a"]).predict([Path("a.png")]), "is not a text, but the run was trained on"),
    ],
)
def test_mistakes_are_named_in_a_line(tmp_path: Path, act, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act(Learner.load(text_checkpoint(tmp_path)))


@pytest.mark.parametrize("act", ["fit", "predict", "score", "add_class"])
@pytest.mark.parametrize("takes", ["text", "image"])
def test_a_table_is_no_list(tmp_path: Path, takes: str, act: str) -> None:
    ours = Learner.load(text_checkpoint(tmp_path)) if takes == "text" else learner(tmp_path)
    ours.fit(*(SUPPORT if takes == "text" else pictures(1)))
    table = {"text": ["play it", "stop it"], "label": ["play", "stop"]}
    column = "text" if takes == "text" else "path"
    message = rf"a table is not a list of {takes}s; give one column, such as table\['{column}'\]"
    acts = {
        "fit": lambda given: ours.fit(given, ["a", "b"]),
        "predict": ours.predict,
        "score": lambda given: ours.score(given, ["a", "b"]),
        "add_class": lambda given: ours.add_class("a", given),
    }
    for given in (table, SimpleNamespace(columns=[*table])):
        with pytest.raises(ValueError, match=message):
            acts[act](given)


def test_a_frame_is_no_list_and_its_column_is_one(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    ours, frame = Learner.load(text_checkpoint(tmp_path)), pandas.DataFrame({"text": SUPPORT[0], "verb": SUPPORT[1]})
    with pytest.raises(ValueError, match="a table is not a list of texts"):
        ours.fit(frame, frame["verb"])
    expected = Learner.load(text_checkpoint(tmp_path)).fit(*SUPPORT).predict_proba(QUERIES[0])
    assert np.array_equal(ours.fit(frame["text"], frame["verb"]).predict_proba(QUERIES[0]), expected)


FACTS = asdict(TextPreparation.of_training(encoding(), {"train": TEXTS}, 12))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": "another"}, "are not those of the training: restore them, or train again"),
        ({"preparation": {**FACTS, "length": 0}}, "preparation of inputs"),
        ({"preparation": {**FACTS, "recipe": {"kind": "words"}}}, "of the tokeniser is damaged"),
        (
            {"preparation": {**FACTS, "recipe": {**FACTS["recipe"], "buckets": 99}}},
            "of the tokeniser is damaged",
        ),
        (
            {"preparation": {**FACTS, "recipe": {"kind": "pretrained", "name": "/absent", "num_tokens": 9}}},
            "/absent has no tokenizer",
        ),
    ],
)
def test_a_checkpoint_with_other_tokens_is_refused(tmp_path: Path, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Learner.load(text_checkpoint(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_learner_of_images_takes_no_text_for_an_image(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"image 0 \(Please play\): .*No such file"):
        learner(tmp_path).fit(["Please play"], ["play"])
