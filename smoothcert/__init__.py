"""Certified l2 robustness by randomized smoothing.

    import smoothcert

    classifier = smoothcert.load("mnist-lenet-consistency-0.50")
    certificate = classifier.certify("digit.png", n=10_000)
    certificate.predicted_class, certificate.radius  # l2, pixels in [0,1]
    smoothcert.verify(certificate)  # raises NotProved unless every figure follows from the counts

`SmoothedClassifier` does the same for a network of your own. The names below are the public interface; each
is loaded at first use, so that the import is fast and loads no torch. Subpackages:

schemas   documents: certificates, jobs, model cards, parameters
images    image files and arrays to pixels
stats     bounds, looks, stopping, the procedure, verification; no I/O
noise     the exact grid Gaussian, random streams, the sampler
engines   back ends that classify noisy copies: PyTorch, OpenVINO, CUDA; modules given in Python
models    the registry, checkpoints, architectures
jobs      what service and worker share in Redis
attack    PGD against certificates
cli       the command line
compat    the field's class `Smooth`
testing   vote sources with known answers
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcert.classifier import SmoothedClassifier as SmoothedClassifier
    from smoothcert.classifier import load as load
    from smoothcert.client import AsyncClient as AsyncClient
    from smoothcert.client import Client as Client
    from smoothcert.engines.config import EngineConfig as EngineConfig
    from smoothcert.engines.engine import Engine as Engine
    from smoothcert.errors import BadImage as BadImage
    from smoothcert.errors import InvalidRequest as InvalidRequest
    from smoothcert.errors import JobFailed as JobFailed
    from smoothcert.errors import NotACertificate as NotACertificate
    from smoothcert.errors import NotProved as NotProved
    from smoothcert.errors import SmoothCertError as SmoothCertError
    from smoothcert.errors import UnknownModel as UnknownModel
    from smoothcert.evaluation import Table as Table
    from smoothcert.evaluation import evaluate as evaluate
    from smoothcert.images.arrays import to_grid as to_grid
    from smoothcert.images.decode import read_image as read_image
    from smoothcert.models.registry import ModelRegistry as ModelRegistry
    from smoothcert.schemas.card import ModelCard as ModelCard
    from smoothcert.schemas.certificate import Certificate as Certificate
    from smoothcert.schemas.parameters import Parameters as Parameters
    from smoothcert.stats.procedure import Certification as Certification
    from smoothcert.verification import verify as verify

_PUBLIC = {
    "SmoothedClassifier": "smoothcert.classifier",
    "load": "smoothcert.classifier",
    "AsyncClient": "smoothcert.client",
    "Client": "smoothcert.client",
    "EngineConfig": "smoothcert.engines.config",
    "Engine": "smoothcert.engines.engine",
    "BadImage": "smoothcert.errors",
    "InvalidRequest": "smoothcert.errors",
    "JobFailed": "smoothcert.errors",
    "NotACertificate": "smoothcert.errors",
    "NotProved": "smoothcert.errors",
    "SmoothCertError": "smoothcert.errors",
    "UnknownModel": "smoothcert.errors",
    "Table": "smoothcert.evaluation",
    "evaluate": "smoothcert.evaluation",
    "to_grid": "smoothcert.images.arrays",
    "read_image": "smoothcert.images.decode",
    "ModelRegistry": "smoothcert.models.registry",
    "ModelCard": "smoothcert.schemas.card",
    "Certificate": "smoothcert.schemas.certificate",
    "Parameters": "smoothcert.schemas.parameters",
    "Certification": "smoothcert.stats.procedure",
    "verify": "smoothcert.verification",
}
__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # a tenth of the import's time

        return version("smoothcert")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
