"""One call of the command: trace, write, and compare the file with PyTorch."""

import contextlib
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from metalearn.data.files.preparation import Preparation
from metalearn.data.text.preparation import TextPreparation
from metalearn.export.decompositions import DECOMPOSITIONS
from metalearn.export.graph import Classifier, Method, takes_gradients
from metalearn.files import write_atomically
from metalearn.formats import first_line, installing
from metalearn.learner import Learner
from metalearn.predict.command import learn
from metalearn.predict.images import ImageReader

TOLERANCE = 1e-4
"""Largest difference of a probability between a file and PyTorch."""

QUERIES = 7
"""Queries of the trace; a check has others."""

Inputs = dict[str, Tensor]


class Traced(NamedTuple):
    """Module with inputs for its trace, and others for the check."""

    module: nn.Module
    inputs: Inputs
    others: list[Inputs]  # other numbers of rows, and of classes where they may vary
    dynamic: dict[str, dict[int, Any]]  # axes whose length may vary
    name: str  # class of the method
    advice: str  # alternative to a refused export


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
        for name in ("torch", "onnxscript"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = _program(traced)
        facts = json.dumps(_facts(learner))
        if file.suffix == ".pt2":
            _check(lambda inputs: program.module()(**inputs), traced, "torch.export")
            write_atomically(file, lambda out: torch.export.save(program, out, extra_files={"metalearn.json": facts}))
        else:
            content = _onnx(program, facts)
            _check(_runtime(content), traced, "ONNX Runtime")
            write_atomically(file, lambda out: out.write(content))
    print(f"written: {file}, {_signature(program, traced)}")


def _learn(learner: Learner, support: Path) -> None:
    if zipfile.is_zipfile(support):
        raise ValueError(
            f"{support} does not hold examples; a saved learner is exported by metalearn.export {support} FILE"
        )
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

    def task(way: int, shot: int, queries: int) -> Inputs:
        support_y = torch.eye(way).repeat(shot, 1)
        return {"support_x": _images(way * shot, shape), "support_y": support_y, "query_x": _images(queries, shape)}

    module, inputs = Method(algorithm, learner.trained.temperature).eval(), task(way, 2, QUERIES)
    ways = {0: auto} if algorithm.fixed_way else {0: auto, 1: auto}
    dynamic = {"support_x": {0: auto}, "support_y": ways, "query_x": {0: auto}}
    others = [task(algorithm.fixed_way or way + 1, 3, QUERIES + 4), task(way, 1, 1)]
    advice = "use the Learner" if algorithm.predicts_jointly else "add --adapted SUPPORT"  # it adapts to queries too
    return Traced(module, inputs, others, dynamic, type(algorithm).__name__, advice)


def _classifier(learner: Learner) -> Traced:
    shape = _image_preparation(learner).input_shape
    module = Classifier(learner.adapted, learner.trained.temperature).eval()
    inputs, *others = ({"query_x": _images(rows, shape)} for rows in (QUERIES, QUERIES + 4, 1))
    dynamic = {"query_x": {0: torch.export.Dim.AUTO}}
    return Traced(module, inputs, others, dynamic, type(learner.trained.algorithm).__name__, "use the Learner")


def _images(rows: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(rows))


def _program(traced: Traced) -> torch.export.ExportedProgram:
    module, inputs, _, dynamic, name, advice = traced
    if takes_gradients(module, inputs):
        raise ValueError(f"{name} adapts by gradients, which a graph cannot hold: {advice}")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # torch prints the whole graph where it stops
            program = torch.export.export(module, (), kwargs=inputs, dynamic_shapes=dynamic, strict=False)
    except GuardOnDataDependentSymNode as error:
        raise ValueError(f"{name} takes steps that depend on the data, which a graph cannot hold: {advice}") from error
    except Exception as error:  # a method may raise any kind
        raise ValueError(f"torch.export cannot trace {name}: {first_line(error, 160)}; {advice}") from error
    for input_name, sizes in _sizes(program, traced).items():
        for size in (sizes[axis] for axis in dynamic[input_name]):
            if size is not None:
                raise ValueError(f"a graph of {name} would fix the size {size} of {input_name}: {advice}")
    return program


def _onnx(program: torch.export.ExportedProgram, facts: str) -> bytes:
    try:
        import onnx
        import onnxruntime  # noqa: F401  # checks the file
        import onnxscript  # noqa: F401  # torch translates with it
    except ImportError as error:
        raise ImportError(f"{error.name} is missing: {installing('export')}") from error
    try:
        model = torch.onnx.export(program.run_decompositions(DECOMPOSITIONS), dynamo=True, verbose=False)
    except Exception as error:  # torch wraps any error of its translation
        missing = re.search(r"aten[.:]+[\w.]+", str(error.__cause__ or error))
        what = f"has no counterpart of {missing[0]}" if missing else f"cannot hold it ({first_line(error, 160)})"
        raise ValueError(f"ONNX {what}; FILE.pt2 may be possible") from error
    assert model is not None
    proto = model.model_proto
    onnx.helper.set_model_props(proto, {"metalearn": facts})
    file = io.BytesIO()
    onnx.save(proto, file)
    return file.getvalue()


def _runtime(content: bytes) -> Callable[[Inputs], Tensor]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # its errors are raised too
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> Tensor:
        (probabilities,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(probabilities)

    return run


def _check(run: Callable[[Inputs], Tensor], traced: Traced, kind: str) -> None:
    """Compares a file with PyTorch, for other numbers of rows than traced.

    Raises ValueError if their probabilities differ.
    """
    for inputs in traced.others:
        try:
            difference = float((run(inputs) - traced.module(**inputs)).abs().max())
        except Exception as error:  # each runtime has its own
            raise ValueError(f"{kind} fails on other numbers of rows than traced: {first_line(error, 160)}") from error
        if not difference < TOLERANCE:
            raise ValueError(f"{kind} and PyTorch differ by {difference:.2g}, so nothing is written")


def _facts(learner: Learner) -> dict[str, Any]:
    """Lists the facts that a user of the file needs."""
    classes = list(map(str, learner.classes_)) if learner.__sklearn_is_fitted__() else None
    origin = learner.trained.origin
    parts = {"dataset": origin.dataset, "algorithm": origin.algorithm, "backbone": origin.backbone}
    preparation = asdict(_image_preparation(learner))
    return {**parts, "classes": classes, "reject": learner.reject, "preparation": preparation}


def _signature(program: torch.export.ExportedProgram, traced: Traced) -> str:
    """Formats the inputs with their shapes, as in query_x (?, 1, 28, 28) -> probabilities."""
    shown = [
        f"{name} ({', '.join('?' if size is None else str(size) for size in sizes)})"
        for name, sizes in _sizes(program, traced).items()
    ]
    return f"{', '.join(shown)} -> probabilities"


def _sizes(program: torch.export.ExportedProgram, traced: Traced) -> dict[str, list[int | None]]:
    """Lists the sizes of each input; None where the trace left it free."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return {name: [_constant(size) for size in nodes[name].meta["val"].shape] for name in traced.inputs}


def _constant(size: int | torch.SymInt) -> int | None:
    return size.node.maybe_as_int() if isinstance(size, torch.SymInt) else size
