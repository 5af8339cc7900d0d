"""Certified l2 robustness by randomized smoothing.

    import smoothcert

    classifier = smoothcert.SmoothedClassifier.load("mnist-lenet-consistency-0.50")
    certificate = classifier.certify("digit.png", n=10_000)
    certificate.predicted_class, certificate.radius  # l2, pixels in [0,1]
    smoothcert.verify(certificate).first_wrong  # None: every figure follows from the counts

The names below are the public interface; each is loaded at first use, so that the import is fast and loads no
torch. Subpackages:

schemas   documents: certificates, jobs, model cards, parameters
images    image files to pixels
stats     bounds, looks, stopping, the procedure, verification; no I/O
noise     the exact grid Gaussian, random streams, the sampler
engines   back ends that classify noisy copies: PyTorch, OpenVINO, CUDA
models    the registry, checkpoints, architectures
jobs      what service and worker share in Redis
attack    PGD against certificates
cli       the command line
testing   vote sources with known answers
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcert.classifier import SmoothedClassifier as SmoothedClassifier
    from smoothcert.engines.config import EngineConfig as EngineConfig
    from smoothcert.engines.engine import Engine as Engine
    from smoothcert.errors import SmoothCertError as SmoothCertError
    from smoothcert.images.decode import read_image as read_image
    from smoothcert.models.registry import ModelRegistry as ModelRegistry
    from smoothcert.schemas.card import ModelCard as ModelCard
    from smoothcert.schemas.certificate import Certificate as Certificate
    from smoothcert.schemas.parameters import Parameters as Parameters
    from smoothcert.stats.procedure import Certification as Certification
    from smoothcert.stats.verify import verify as verify

_PUBLIC = {
    "SmoothedClassifier": "smoothcert.classifier",
    "EngineConfig": "smoothcert.engines.config",
    "Engine": "smoothcert.engines.engine",
    "SmoothCertError": "smoothcert.errors",
    "read_image": "smoothcert.images.decode",
    "ModelRegistry": "smoothcert.models.registry",
    "ModelCard": "smoothcert.schemas.card",
    "Certificate": "smoothcert.schemas.certificate",
    "Parameters": "smoothcert.schemas.parameters",
    "Certification": "smoothcert.stats.procedure",
    "verify": "smoothcert.stats.verify",
}
__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version("smoothcert")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
