"""One call of the command: trace, write, and compare the file with PyTorch."""

import io
import json
import logging
import re
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metalearn.data.files.preparation import Preparation
from metalearn.data.text.preparation import TextPreparation
from metalearn.export.graph import Classifier, Method, check_traceable
from metalearn.export.linear_equations import SOLVERS
from metalearn.files import write_atomically
from metalearn.learner import Learner
from metalearn.predict.command import learn
from metalearn.predict.images import ImageReader

TOLERANCE = 1e-4
"""Largest difference of a probability between ONNX Runtime and PyTorch."""

QUERIES, EXTRA = 7, 4  # rows of the traced inputs, and further rows in the check


class Traced(NamedTuple):
    """Module with inputs for its trace, and others for the check."""

    module: nn.Module
    inputs: dict[str, Tensor]
    others: dict[str, Tensor]
    dynamic: dict[str, dict[int, Any]]  # axes whose length may vary


def export(run: Path, file: Path, support: Path | None) -> None:
    """Writes the graph of a run, or of a run adapted to a support set.

    Raises ValueError or OSError, in one line.
    """
    learner = Learner.load(run)
    if support is not None:
        _learn(learner, support)
    learner.trained.algorithm.cpu().requires_grad_(False)
    traced = _method(learner) if not learner.__sklearn_is_fitted__() else _classifier(learner)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of torch about itself
        logging.getLogger("torch").setLevel(logging.ERROR)
        program = _program(traced, learner)
        facts = json.dumps(_facts(learner))
        if file.suffix == ".pt2":
            write_atomically(file, lambda out: torch.export.save(program, out, extra_files={"metalearn.json": facts}))
        else:
            content = _onnx(program, facts)
            _check(content, traced)
            write_atomically(file, lambda out: out.write(content))
    print(f"written: {file}, {_signature(program, traced)}")


def _learn(learner: Learner, support: Path) -> None:
    reader = ImageReader(_image_preparation(learner))
    learn(learner, reader, support)
    if reader.unreadable:
        path, why = next(iter(reader.unreadable.items()))
        raise ValueError(f"{len(reader.unreadable)} examples cannot be read, such as {path}: {why}")


def _image_preparation(learner: Learner) -> Preparation:
    """Raises ValueError if the run was trained on texts."""
    if isinstance(learner.trained.preparation, TextPreparation):
        raise ValueError("the run was trained on texts, which become tokens outside of the graph: use the Learner")
    return learner.trained.preparation


def _method(learner: Learner) -> Traced:
    algorithm, shape = learner.trained.algorithm, _image_preparation(learner).input_shape
    way, auto = algorithm.fixed_way or 5, torch.export.Dim.AUTO

    def task(way: int, shot: int, queries: int) -> dict[str, Tensor]:
        support_y = torch.eye(way).repeat(shot, 1)
        return {"support_x": _images(way * shot, shape), "support_y": support_y, "query_x": _images(queries, shape)}

    inputs, others = task(way, 2, QUERIES), task(algorithm.fixed_way or way + 1, 3, QUERIES + EXTRA)
    check_traceable(algorithm, inputs["support_x"], inputs["support_y"])
    ways = {0: auto} if algorithm.fixed_way else {0: auto, 1: auto}
    dynamic = {"support_x": {0: auto}, "support_y": ways, "query_x": {0: auto}}
    return Traced(Method(algorithm, learner.trained.temperature).eval(), inputs, others, dynamic)


def _classifier(learner: Learner) -> Traced:
    shape = _image_preparation(learner).input_shape
    module = Classifier(learner.adapted, learner.trained.temperature).eval()
    inputs, others = ({"query_x": _images(rows, shape)} for rows in (QUERIES, QUERIES + EXTRA))
    return Traced(module, inputs, others, {"query_x": {0: torch.export.Dim.AUTO}})


def _images(rows: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(rows))


def _program(traced: Traced, learner: Learner) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(traced.module, (), kwargs=traced.inputs, dynamic_shapes=traced.dynamic, strict=False)
    except Exception as error:  # a method may raise any kind
        name = type(learner.trained.algorithm).__name__
        advice = "" if learner.__sklearn_is_fitted__() else "; --adapted SUPPORT may be possible"
        raise ValueError(f"torch.export cannot trace {name}: {_first_line(error)}{advice}") from error


def _onnx(program: torch.export.ExportedProgram, facts: str) -> bytes:
    try:
        import onnx
        import onnxruntime  # noqa: F401  # checks the file
        import onnxscript  # noqa: F401  # torch translates with it
    except ImportError as error:
        raise ImportError(f"{error.name} is missing: pip install -e '.[export]' in the checkout") from error
    try:
        model = torch.onnx.export(program.run_decompositions(SOLVERS), dynamo=True, verbose=False)
    except Exception as error:  # torch wraps any error of its translation
        missing = re.search(r"aten[.:]+[\w.]+", str(error.__cause__ or error))
        what = f"has no counterpart of {missing[0]}" if missing else f"cannot hold it ({_first_line(error)})"
        raise ValueError(f"ONNX {what}; FILE.pt2 may be possible") from error
    assert model is not None
    proto = model.model_proto
    onnx.helper.set_model_props(proto, {"metalearn": facts})
    file = io.BytesIO()
    onnx.save(proto, file)
    return file.getvalue()


def _check(content: bytes, traced: Traced) -> None:
    """Compares ONNX Runtime with PyTorch, for other numbers of rows than traced.

    Raises ValueError if their probabilities differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    fixed = any(isinstance(size, int) for value in session.get_inputs() for size in value.shape[:1])
    inputs = traced.inputs if fixed else traced.others
    (theirs,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    difference = float((torch.from_numpy(theirs) - traced.module(**inputs)).abs().max())
    if not difference < TOLERANCE:
        raise ValueError(f"ONNX Runtime and PyTorch differ by {difference:.2g}, so nothing is written")


def _facts(learner: Learner) -> dict[str, Any]:
    """Lists the facts that a user of the file needs."""
    classes = list(map(str, learner.classes_)) if learner.__sklearn_is_fitted__() else None
    origin = learner.trained.checkpoint["metalearn"]
    parts = {name: origin[name] for name in ("dataset", "algorithm", "backbone")}
    return {**parts, "classes": classes, "preparation": asdict(_image_preparation(learner))}


def _signature(program: torch.export.ExportedProgram, traced: Traced) -> str:
    """Formats the inputs with their shapes, as in query_x (?, 1, 28, 28) -> probabilities."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    shown = []
    for name in traced.inputs:
        sizes = ["?" if isinstance(size, torch.SymInt) else str(size) for size in nodes[name].meta["val"].shape]
        shown.append(f"{name} ({', '.join(sizes)})")
    return f"{', '.join(shown)} -> probabilities"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__
