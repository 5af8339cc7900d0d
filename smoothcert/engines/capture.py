"""A classifier given in Python, made safe to certify: checked, copied, and captured as a graph.

The graph (torch.export) holds everything the module computes, so that a digest over it and the weights covers
the user's own code, and any engine may run it. What can't be captured - a callable, control flow that depends
on the data - is run eagerly, as it is; nobody else can redraw such votes.
"""

import copy
import hashlib
import logging
import operator
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from smoothcert.engines.config import MAX_BATCH
from smoothcert.engines.function_check import (
    Classifier,
    Path,
    Scores,
    alike,
    check_classifier,
    name_of,
    probe_images,
    raw_bytes,
)
from smoothcert.errors import InvalidRequest
from smoothcert.schemas.certificate import Shape

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_HARMLESS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")  # higher-order operators without a branch
_UNKNOWN_SHAPES = ("nonzero", "unique", "masked_select", "item", "_local_scalar_dense", "bincount")


@dataclass(frozen=True)
class Probe:
    """Noisy images, and the scores that the classifier gave them. path: to the scores in what it returns."""

    images_BCHW: Tensor
    scores_BK: Tensor
    path: Path

    def still_holds(self, classifier: Classifier) -> bool:
        """Whether a classifier, in evaluation mode, gives these scores now."""
        scores = Scores(classifier, None, None)
        scores.path = self.path
        modes = {part: part.training for part in scores.modules()}
        try:
            scores.eval()
            with torch.no_grad():
                return alike(self.scores_BK, scores(self.images_BCHW.clone()))
        finally:
            for part, trains in modes.items():
                part.training = trains


@dataclass(frozen=True)
class Captured:
    """network: (B,C,H,W) float32 pixels in [0,1] to scores (B,K); on the CPU unless opaque.

    weights_sha256: of weights and buffers; graph_sha256: of what is computed with them. opaque: why it was
    not captured, in words; then graph_sha256 covers only the class's name. notes: what was changed.
    """

    network: nn.Module
    probe: Probe
    weights_sha256: str
    graph_sha256: str
    opaque: str | None = None
    notes: tuple[str, ...] = ()


def capture(  # noqa: PLR0917
    classifier: Classifier,
    shape_CHW: Shape,
    num_classes: int,
    sigma: float,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Captured:
    """Check, copy and capture. The given classifier is not changed.

    Raises InvalidRequest: it fails on such images, gives other scores than num_classes, or is no function of
    one image at a time.
    """
    name, notes = name_of(classifier), Notes()
    scores = Scores(_own_copy(classifier, notes), mean, std)
    scores.to(scores.home)
    for parameter in scores.parameters():
        if parameter.is_leaf:
            parameter.requires_grad_(False)
    _refuse_not_finite(scores, name)
    images_BCHW = probe_images(shape_CHW, sigma).to(scores.home)
    expected_BK = check_classifier(scores, images_BCHW, num_classes, name)
    if scores.path:
        notes.add(f"the scores are {'.'.join(map(str, scores.path))} of what it returns")
    probe = Probe(images_BCHW, expected_BK, scores.path)
    graph, reason = _graph_of(scores, images_BCHW, expected_BK)
    return Captured(
        network=scores if graph is None else graph,
        probe=probe,
        weights_sha256=_weights_sha256(scores),
        graph_sha256=_sha256([name]) if graph is None else _graph_sha256(graph, set(scores.state_dict())),
        opaque=reason if graph is None else None,
        notes=tuple(notes.said),
    )


@dataclass
class Notes:
    """What was done to the classifier, in words."""

    said: list[str] = field(default_factory=list)

    def add(self, note: str) -> None:
        self.said.append(note)


def _own_copy(classifier: Classifier, notes: Notes) -> Classifier:
    """A copy in evaluation mode, free of wrappers. Raises InvalidRequest."""
    if isinstance(classifier, _WRAPPERS):
        classifier = classifier.module
    classifier = getattr(classifier, "_orig_mod", classifier)  # of torch.compile
    if not callable(classifier):
        raise InvalidRequest(
            f"A classifier is a torch.nn.Module or a function of images (B,C,H,W); this is a "
            f"{type(classifier).__name__}."
        )
    if not isinstance(classifier, nn.Module):
        return classifier
    trains = any(part.training for part in classifier.modules())
    try:
        copied = copy.deepcopy(classifier)
    except Exception as error:  # a module may hold anything
        if trains:
            raise InvalidRequest(
                f"{name_of(classifier)} is in training mode and can't be copied ({error}): call its eval()."
            ) from error
        notes.add("it can't be copied, so later changes of its weights change the votes")
        return classifier
    if trains:
        notes.add("it was in training mode; a copy in evaluation mode is certified")
        copied.eval()
    return copied


def _refuse_not_finite(scores: Scores, name: str) -> None:
    for key, tensor in scores.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InvalidRequest(f"{name}: {key.removeprefix('classifier.')} holds NaN or infinite numbers.")


def _graph_of(scores: Scores, images_BCHW: Tensor, expected_BK: Tensor) -> tuple[fx.GraphModule | None, str]:
    """The captured graph, or None and why there is none."""
    if scores.module is None:
        return None, "it is a Python function, not a module"
    try:
        plain = copy.deepcopy(scores).cpu().float().eval()
        example = images_BCHW[: max(2, len(images_BCHW) // 2)].cpu()
        shapes = ({0: Dim.DYNAMIC},)
        with torch.no_grad(), _quietly():
            program = torch.export.export(plain, (example,), dynamic_shapes=shapes, strict=False)
        _refuse_unsafe(program)
        graph = _flat_module(program)
        with torch.no_grad():
            same = alike(expected_BK, graph(images_BCHW.cpu()))
    except Exception as error:  # of tracing a user's code, which may raise anything
        return None, f"torch.export can't capture it ({_first_line(error)})"
    return (graph, "") if same else (None, "its captured graph answers otherwise than the module")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the tracer's own reports: what it refuses is said in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Unsafe(Exception):
    """The graph is no whole description of the module."""


def _refuse_unsafe(program: ExportedProgram) -> None:
    """Refuse graphs that a tracer could narrow in silence: branches, shapes that depend on the data."""
    for limits in program.range_constraints.values():
        if limits.lower > 2 or limits.upper < MAX_BATCH:
            raise _Unsafe("what it computes depends on the size of the batch")
    for node in _calls(program.graph_module):
        kind = str(node.target)
        if isinstance(node.target, torch._ops.HigherOrderOperator) and kind not in _HARMLESS:
            raise _Unsafe(f"it has control flow that depends on the data: {kind}")
        if kind.startswith("aten.") and kind.split(".")[1] in _UNKNOWN_SHAPES:
            raise _Unsafe(f"it has shapes or numbers that depend on the data: {kind}")


def _calls(graph: fx.GraphModule) -> Iterator[fx.Node]:
    for module in graph.modules():
        if isinstance(module, fx.GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def _flat_module(program: ExportedProgram) -> fx.GraphModule:
    """The program as a plain graph module: one tensor in, one out, which can be copied, cast and traced."""
    bound = program.module(check_guards=False)
    graph = fx.Graph()
    result = graph.graph_copy(bound.graph, {})
    while isinstance(result, list | tuple):
        (result,) = result
    graph.output(result)
    return fx.GraphModule(bound, graph).eval()


def _weights_sha256(scores: Scores) -> str:
    """Of every parameter and buffer: name, type, shape, bytes."""
    return _sha256(
        part
        for key, tensor in sorted(scores.state_dict().items())
        for part in (key, str(tensor.dtype), str(tuple(tensor.shape)), raw_bytes(tensor))
    )


def _graph_sha256(graph: fx.GraphModule, weights: Collection[str]) -> str:
    """Of the operations in order, with their arguments. weights: named only; other tensors count by
    content.
    """
    return _sha256(_described(graph, weights))


def _described(graph: fx.GraphModule, weights: Collection[str]) -> Iterator[str | bytes]:
    number = {node: f"%{index}" for index, node in enumerate(graph.graph.nodes)}
    for node in graph.graph.nodes:
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda other: _Name(number[other]))
        yield f"{node.op} {'' if node.op == 'placeholder' else node.target} {arguments}"
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(graph)
            if isinstance(value, fx.GraphModule):
                yield from _described(value, weights)
            else:
                yield f"{value.dtype} {tuple(value.shape)}"
                yield b"" if node.target in weights else raw_bytes(value)


class _Name(str):
    """A node in the description of a graph."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _sha256(parts: Iterator[str | bytes] | Sequence[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    message = str(error).strip().partition("\n")[0]
    return message[:200] if isinstance(error, _Unsafe) else f"{type(error).__name__}: {message}"[:200]
