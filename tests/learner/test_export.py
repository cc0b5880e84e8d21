"""Exported files: ONNX Runtime and torch.export match the learner, for any number of rows."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from algorithm_options import of_class
from learners import ALGORITHMS, PREPARATION, checkpoint, learner, pictures
from PIL import Image
from torch.nn import functional as F

from metalearn import Learner
from metalearn.algorithms import pt_map
from metalearn.algorithms.metric import AbstractEmbedding, embeds_each_alone
from metalearn.export import command
from metalearn.export.__main__ import main
from metalearn.export.decompositions import DECOMPOSITIONS, inverse
from metalearn.export.graph import linear_head
from metalearn.learner.images import prepared

onnxruntime = pytest.importorskip("onnxruntime")

SUPPORT, QUERIES = pictures(3), pictures(4, seed=1)
SMALLEST = ["backbone=mlp", "backbone.hidden=[8]", "backbone.norm=false"]
"""Overrides of a network that is quick to trace."""

ON_CONV4 = {"relation", "cavia", "maml", "maml_plus_plus"}  # they need maps, or normalise by the queries
LINEAR = {"prototypical", "r2d2", "metaoptnet", "baseline"}  # as docs/learner.md names them
REASONS = "adapts by gradients|takes steps that depend on the data|would fix the size (4|10) of support"


def as_input(images: list[np.ndarray]) -> torch.Tensor:
    return torch.stack([prepared(image, PREPARATION) for image in images]) / 255


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    for number, (image, label) in enumerate(zip(*SUPPORT, strict=True)):
        path = tmp_path / "support" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "support"


def call(capsys, *words: Path | str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def test_a_method_is_one_graph(tmp_path: Path, capsys) -> None:
    code, said = call(capsys, checkpoint(tmp_path, "algorithm=r2d2"), tmp_path / "method.onnx")
    assert code == 0, said
    assert "query_x (?, 1, 28, 28)" in said and "support_y (?, ?)" in said
    session = onnxruntime.InferenceSession(str(tmp_path / "method.onnx"))
    support_y = np.eye(4, dtype=np.float32)[np.arange(4).repeat(3)]
    inputs = {"support_x": as_input(SUPPORT[0]).numpy(), "support_y": support_y}
    (theirs,) = session.run(None, {**inputs, "query_x": as_input(QUERIES[0]).numpy()})
    ours = learner(tmp_path, "algorithm=r2d2").fit(*SUPPORT).predict_proba(QUERIES[0])
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("name", ["maml", "baseline"])
def test_an_adapted_classifier_knows_its_classes(tmp_path: Path, capsys, examples: Path, name: str) -> None:
    run = checkpoint(tmp_path, f"algorithm={name}", *SMALLEST)
    code, said = call(capsys, run, tmp_path / "classifier.onnx", "--adapted", examples)
    assert code == 0 and "query_x (?, 1, 28, 28) -> probabilities" in said, said
    session = onnxruntime.InferenceSession(str(tmp_path / "classifier.onnx"))
    (theirs,) = session.run(None, {"query_x": as_input(QUERIES[0]).numpy()})
    ours = Learner.load(run).fit(*SUPPORT).predict_proba(QUERIES[0])
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["metalearn"])
    assert facts["classes"] == ["angle 0", "angle 1", "angle 2", "angle 3"]
    assert facts["preparation"] == {"input_shape": [1, 28, 28], "invert": True, "bits": 16}


def test_a_class_without_images_is_not_left_out_of_a_classifier(tmp_path: Path, capsys, examples: Path) -> None:
    (examples / "wren").mkdir()
    code, said = call(capsys, checkpoint(tmp_path, *SMALLEST), tmp_path / "m.pt2", "--adapted", examples)
    assert code == 2 and f"the class wren of {examples} has no images" in said and not (tmp_path / "m.pt2").exists()


def test_a_program_of_torch_needs_no_onnx(tmp_path: Path, capsys) -> None:
    code, said = call(capsys, checkpoint(tmp_path, "algorithm=matching"), tmp_path / "method.pt2")
    assert code == 0, said
    facts = {"metalearn.json": ""}
    program = torch.export.load(str(tmp_path / "method.pt2"), extra_files=facts).module()
    support_y = torch.eye(4)[torch.arange(4).repeat_interleave(3)]
    theirs = program(support_x=as_input(SUPPORT[0]), support_y=support_y, query_x=as_input(QUERIES[0]))
    ours = learner(tmp_path, "algorithm=matching").fit(*SUPPORT).predict_proba(QUERIES[0])
    np.testing.assert_allclose(theirs.detach().numpy(), ours, atol=1e-5)
    assert json.loads(facts["metalearn.json"])["algorithm"] == "matching"


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("maml", "m.onnx", "MAML adapts by gradients, which a graph cannot hold: add --adapted SUPPORT"),
        ("distribution_calibration", "m.pt2", "DistributionCalibration takes steps that depend on the data"),
        ("prototypical", "m.tflite", "must end in .onnx or .pt2"),
        ("prototypical", "there.onnx", "exists already"),
        ("prototypical", "absent/m.onnx", "is not a folder"),
    ],
)
def test_what_cannot_be_exported_says_why(tmp_path: Path, capsys, name: str, file: str, message: str) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    code, said = call(capsys, checkpoint(tmp_path, f"algorithm={name}"), tmp_path / file)
    assert code == 2 and message in said and said.count("\n") == 1
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_an_absent_support_set_is_refused(tmp_path: Path, capsys) -> None:
    code, said = call(capsys, checkpoint(tmp_path, *SMALLEST), tmp_path / "m.onnx", "--adapted", tmp_path / "nowhere")
    assert code == 2 and f"the support set {tmp_path}/nowhere is absent; it is a folder" in said


def test_a_saved_learner_holds_no_examples_for_another_run(tmp_path: Path, capsys) -> None:
    run, saved = checkpoint(tmp_path, *SMALLEST), tmp_path / "saved.learner"
    learner(tmp_path, *SMALLEST).fit(*SUPPORT).save(saved)
    code, said = call(capsys, run, tmp_path / "m.pt2", "--adapted", saved)
    assert code == 2 and f"exported by metalearn.export {saved} FILE\n" in said
    assert call(capsys, saved, tmp_path / "m.pt2")[0] == 0


def test_a_file_states_the_threshold_of_a_saved_learner(tmp_path: Path, capsys) -> None:
    saved = tmp_path / "saved.learner"
    Learner(learner(tmp_path, *SMALLEST).trained, reject=0.75).fit(*SUPPORT).save(saved)
    assert call(capsys, saved, tmp_path / "m.pt2")[0] == 0
    facts = {"metalearn.json": ""}
    torch.export.load(str(tmp_path / "m.pt2"), extra_files=facts)
    assert json.loads(facts["metalearn.json"])["reject"] == 0.75


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(command, "TOLERANCE", -1.0)
    code, said = call(capsys, checkpoint(tmp_path, *SMALLEST), tmp_path / "m.pt2")
    assert code == 2 and "so nothing is written" in said and not (tmp_path / "m.pt2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_a_graph_whole_or_adapted(
    tmp_path: Path, capsys, monkeypatch, examples: Path, name: str
) -> None:
    for label in ("angle 2", "angle 3"):
        shutil.rmtree(examples / label)
    small = [] if name in ON_CONV4 else [*SMALLEST, "episode.train.way=2"]
    if name in ("baseline", "baseline_plus_plus"):
        small = [*small, "algorithm.head_fit.steps=2"]
    if name == "pt_map":
        small = [*small, "algorithm.steps=1"]
        monkeypatch.setattr(pt_map.sinkhorn, "__defaults__", (2,))
    run, file = checkpoint(tmp_path, f"algorithm={name}", *small), tmp_path / "m.pt2"
    code, said = call(capsys, run, file)
    assert said.count("\n") == 1
    if "add --adapted SUPPORT" in said:
        assert code == 2 and re.search(REASONS, said) and not file.exists()
        code, said = call(capsys, run, file, "--adapted", examples)
    if name == "tim":
        assert code == 2 and "TIM adapts by gradients, which a graph cannot hold: use the Learner" in said
    else:  # it agrees with PyTorch on other numbers of rows, or it were not written
        assert code == 0 and "query_x (?, 1, 28, 28) -> probabilities" in said and file.exists(), said


@pytest.mark.parametrize("name", of_class(AbstractEmbedding))
def test_a_linear_head_is_the_comparison(tmp_path: Path, name: str) -> None:
    adapted = learner(tmp_path, f"algorithm={name}").fit(*SUPPORT).adapted
    head = None
    if embeds_each_alone(adapted.algorithm):
        adapted.support = 9 * F.normalize(adapted.support, dim=1)  # as long as in a trained network
        head = linear_head(adapted)
    if head is None:
        assert name not in LINEAR
        pytest.skip("it compares in another way")
    with torch.no_grad():
        z = torch.randn(9, adapted.support.shape[1]) + adapted.support.mean(0)
        torch.testing.assert_close(head(z).softmax(1), adapted.logits(z).softmax(1), atol=1e-4, rtol=0)


def test_a_method_of_single_precision_alone_is_exported_as_it_is(tmp_path: Path, monkeypatch) -> None:
    adapted = learner(tmp_path, *SMALLEST).fit(*SUPPORT).adapted
    monkeypatch.setattr(type(adapted.algorithm), "compare", lambda _, x, y, z: z @ x.T @ torch.ones(y.shape))
    assert linear_head(adapted) is None


@pytest.mark.parametrize("largest", [1.0, 1e2, 1e4])
def test_the_inverse_is_that_of_the_library(largest: float) -> None:
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))
    p, _ = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))
    a = q @ torch.logspace(0, np.log10(largest), 20, dtype=torch.float64).diag() @ p.T  # not symmetric
    torch.testing.assert_close(inverse(a), torch.linalg.inv(a), atol=1e-9, rtol=1e-7)


def test_a_sort_in_onnx_is_stable() -> None:
    class Order(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.argsort(dim=1, stable=True)

    x = torch.randint(3, (4, 40), generator=torch.Generator().manual_seed(0)).float()  # many equal values
    program = torch.export.export(Order(), (x,)).run_decompositions(DECOMPOSITIONS)
    content = torch.onnx.export(program, dynamo=True, verbose=False).model_proto.SerializeToString()
    (theirs,) = onnxruntime.InferenceSession(content).run(None, {"x": x.numpy()})
    assert torch.equal(torch.from_numpy(theirs), Order()(x))


def test_an_interruption_ends_without_a_traceback(tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "export", interrupted)
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path / "method.onnx")])
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")
