"""Trainings that start with the backbone of another run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Finished, composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from origins import facts
from texts import write_csv, write_vectors

from metalearn.run.checks.inputs import check_columns
from metalearn.run.directory.checkpoint import load_backbone
from metalearn.run.directory.folder import RunFolder
from metalearn.run.plan import Plan
from metalearn.run.record import planned


@pytest.fixture(scope="module")
def baseline(metalearn) -> Finished:
    finished = metalearn("algorithm=baseline", "batch_size=16")
    assert finished.code == 0, finished.text
    return finished


def best(finished: Finished) -> Path:
    return finished.folder / "checkpoints/best.ckpt"


def backbone(finished: Finished, name: str = "best") -> dict[str, torch.Tensor]:
    state = finished.checkpoint(name)["state_dict"]
    return {key.partition("backbone.")[2]: value for key, value in state.items() if "backbone." in key}


STILL = ["optimizer.lr=0.0", "batch_norm=support"]
"""Overrides of a training that changes nothing, so that its final weights are the initial ones."""


@pytest.mark.parametrize("algorithm", ["prototypical", "maml"])
def test_a_training_begins_with_the_backbone(metalearn, baseline: Finished, algorithm: str) -> None:
    finished = metalearn(f"algorithm={algorithm}", f"pretrained={best(baseline)}", *STILL, "trainer.max_steps=2")
    assert finished.code == 0, finished.text
    assert finished.result["pretrained"] == str(best(baseline))
    assert baseline.result["pretrained"] is None
    lines = [line for line in finished.text.splitlines() if "pretrained" in line]
    assert str(best(baseline)) in lines[-1] and "│" in lines[-1]  # table at the end
    own, theirs = backbone(finished), backbone(baseline)
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_testing_and_resuming_do_not_need_the_file_again(metalearn, baseline: Finished, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(best(baseline).read_bytes())
    trained = metalearn(f"pretrained={copy}", "trainer.max_steps=4")
    assert trained.code == 0, trained.text
    copy.unlink()
    tested = metalearn("mode=test", f"checkpoint={best(trained)}", small=False)
    assert tested.code == 0, tested.text
    assert tested.test == trained.test
    assert tested.result["pretrained"] == str(copy)
    resumed = metalearn(f"resume={trained.folder}", "trainer.max_steps=6", folder=trained.folder, small=False)
    assert resumed.code == 0, resumed.text
    assert (resumed.result["steps"], resumed.result["pretrained"]) == (6, str(copy))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["backbone.channels=4"],
            "holds the backbone conv4, the config builds conv4: they differ in blocks.0.conv.bias, [8] and [4]",
        ),
        (["backbone=mlp"], "holds the backbone conv4, the config builds mlp: they differ in "),
    ],
)
def test_another_backbone_is_refused_before_any_training(
    metalearn, baseline: Finished, overrides: list[str], message: str
) -> None:
    small = ["dataset.num_alphabets=[3,1,1]", "dataset.characters=8", "episode.train.way=5", *overrides]
    refused = metalearn(f"pretrained={best(baseline)}", *small, small=False)
    assert refused.code == 2
    assert refused.text.splitlines()[-1].startswith(f"metalearn: pretrained={best(baseline)} {message}")
    assert (refused.result["status"], refused.result["steps"]) == ("failed", None)


def test_the_result_of_a_refused_run_has_its_settings() -> None:
    config: Any = OmegaConf.to_container(composed("pretrained=absent.ckpt"), resolve=True)
    choices = {"dataset": "glyphs", "algorithm": "prototypical", "backbone": "conv4"}
    plan = Plan(config, RunFolder(Path("out")), {}, choices, "glyphs", None, [], [], Path())
    assert planned(plan).pretrained == "absent.ckpt"  # although it cannot be read


def test_normalisation_of_each_inner_step_is_told_apart(tmp_path: Path) -> None:
    """Refuses maml_plus_plus, whose backbone weights are not those that normalise."""
    algorithm = instantiate(composed("algorithm=maml_plus_plus").algorithm)
    path = tmp_path / "best.ckpt"
    state = {f"algorithm.{key}": value for key, value in algorithm.state_dict().items()}
    run = facts(algorithm="maml_plus_plus")
    torch.save({"state_dict": state, "metalearn": run, "global_step": 1}, path)
    with pytest.raises(ValueError, match="comes from maml_plus_plus and has a batch normalisation for each inner step"):
        load_backbone(path, instantiate(composed().backbone), "conv4")


def test_an_algorithm_that_copies_its_backbone_copies_the_pretrained_one() -> None:
    config = composed("algorithm=maml_plus_plus")
    pretrained = instantiate(config.backbone)
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    algorithm = instantiate(config.algorithm, _partial_=True)(backbone=pretrained)
    weights = algorithm.norms.at(0)
    for name, parameter in pretrained.named_parameters():
        if ".norm." in name:
            assert torch.equal(weights[f"backbone.{name}"], parameter)


def write_table(path: Path, *columns: str) -> Path:
    rows = [f"{number % 9},class {number % 10},{number**2}" for number in range(60)]
    path.write_text("\n".join([f"{columns[0]},label,{columns[1]}", *rows]))
    return path


def test_weights_of_a_table_are_for_its_columns_in_their_order(metalearn, tmp_path: Path) -> None:
    small = [f"episode.{split}.{key}=1" for split in ("train", "val", "test") for key in ("shot", "query")]
    small += [f"episode.{split}.way=2" for split in ("train", "val", "test")]
    small += ["episode.val.num_episodes=2", "episode.test.num_episodes=2", "trainer.max_steps=2"]
    own, other = (write_table(tmp_path / f"{names[0]}.csv", *names) for names in (("size", "age"), ("age", "size")))
    table = ["dataset=table", "dataset.input_shape=[1,1,2]", *small]
    trained = metalearn(*table, f"dataset.root={own}", small=False)
    assert trained.code == 0, trained.text
    weights = best(trained)
    refusal = "this table has age, size from column 1 on, but that of the training has size, age: give the columns"
    test = ["mode=test", f"checkpoint={weights}"]
    for start in (test, [f"pretrained={weights}"]):
        refused = metalearn(*table, f"dataset.root={other}", *start, small=False)
        assert refused.code == 2 and refusal in refused.text, refused.text
    write_table(own, "age", "size")
    resumed = metalearn(f"resume={trained.folder}", "trainer.max_steps=4", small=False)
    assert resumed.code == 2 and refusal in resumed.text, resumed.text


def test_columns_are_told_from_the_first_that_differs() -> None:
    check_columns([], ["a", "b"])
    check_columns(["a", "b"], [])
    both = r"has c, b, d \.\.\. from column 2 on, but that of the training has b, c, d \.\.\.: give"
    with pytest.raises(ValueError, match=both):
        check_columns([*"abcdef"], [*"acbdef"])


def small_texts(folder: Path, *further: str) -> list[str]:
    small = [f"episode.{split}.{key}=2" for split in ("train", "val", "test") for key in ("way", "query")]
    small += ["episode.val.num_episodes=2", "episode.test.num_episodes=2", "trainer.max_steps=2", *further]
    return ["dataset=text", f"dataset.root={write_csv(folder / 'own.csv')}", *small]


def test_a_backbone_of_other_words_is_refused(metalearn, tmp_path: Path) -> None:
    texts = small_texts(tmp_path, "backbone.maps=4")
    trained = metalearn(*texts, small=False)
    assert trained.code == 0, trained.text
    assert metalearn(*texts, f"pretrained={trained.folder}", small=False).code == 0
    refused = metalearn(*texts, "dataset.split_seed=1", f"pretrained={trained.folder}", small=False)
    assert refused.code == 2
    assert "these texts have another vocabulary than those of the training" in refused.text
    typed = metalearn(*texts, "backbone.vectors=typo.txt", f"pretrained={trained.folder}", small=False)
    assert typed.code == 2 and "No such file" in typed.text, "its weights began with no file"


def test_word_vectors_of_a_checkpoint_need_no_file(metalearn, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    write_vectors(vectors)
    of_vectors = ["backbone=text_cnn", f"backbone.vectors={vectors}", "backbone.width=4", "backbone.maps=4"]
    trained = metalearn(*small_texts(tmp_path, *of_vectors), small=False)
    assert trained.code == 0, trained.text
    vectors.unlink()
    tested = metalearn("mode=test", f"checkpoint={trained.folder}", small=False)
    assert tested.code == 0, tested.text
    assert tested.result["test"]["accuracy"] == trained.result["test"]["accuracy"]
    assert tested.result["pretrained_on"] == "word vectors"
    other_head = metalearn("mode=test", f"pretrained={trained.folder}", "algorithm=simple_shot", small=False)
    assert other_head.code == 0, other_head.text
    resumed = metalearn(f"resume={trained.folder}", "trainer.max_steps=4", folder=trained.folder, small=False)
    assert resumed.code == 0, resumed.text
    assert resumed.result["steps"] == 4
    begun = metalearn(*small_texts(tmp_path, *of_vectors), small=False)
    assert begun.code == 2 and "No such file" in begun.text
