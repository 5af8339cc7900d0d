"""A smoothed classifier: a checkpoint, run by an engine, whose predictions come with a certificate."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.engines.autotune import available_device, default_config
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.errors import InvalidRequest
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import CARD_FILE, ModelRegistry, read_card
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Progress
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, drive

CHUNK = 8192  # votes between two progress reports
Image = str | Path | bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class SmoothedClassifier:
    """g(x) = argmax_c P(f(x + delta) = c), delta ~ N(0, sigma^2 I), as in Cohen et al. 2019.

    Not thread-safe: engines use all threads of the process.
    """

    card: ModelCard
    engine: Engine

    @classmethod
    def load(cls, model: str | Path, engine: str | None = None) -> Self:
        """The bundled model of this name, or that of a checkpoint folder. Takes a few seconds.

        engine: an engine as certificates name it, for example `cpu:eager/2-threads:float32:128`; by default a
        good one for this machine. Raises UnknownModel, BadCheckpoint, InvalidRequest, InternalError.
        """
        folder = Path(model)
        if (folder / CARD_FILE).is_file():
            card = read_card(folder)
        else:
            registry = ModelRegistry()
            folder, card = registry.folder(str(model)), registry.card(str(model))
        default = default_config(card.input_shape, available_device(), int8=card.int8_is_as_good)
        config = EngineConfig.parse(engine) if engine else default
        return cls(card, Engine(load_network(folder, card), card.input_shape, len(card.labels), config))

    def certify(self, image: Image, *, seed: str | None = None, **parameters: Any) -> Certificate:
        """The certificate of one image: a file's path or bytes, or uint8 pixels of shape (C, H, W).

        parameters: fields of `Parameters`, such as n, n0, alpha, procedure, target_radius. seed: 128 bits,
        hexadecimal; random by default, as a known seed lets an attacker choose the image against the noise.
        Raises BadImage, InvalidRequest, ValidationError (of pydantic, a ValueError).
        """
        checked = Parameters.model_validate({**parameters, "sigma": self.card.sigma})
        *_, certificate = self.stream(self._read(image), checked, seed or secrets.token_hex(16))
        assert isinstance(certificate, Certificate)
        return certificate

    def stream(
        self, image: CertifiedImage, parameters: Parameters, seed: str
    ) -> Iterator[Progress | Certificate]:
        """Progress after every CHUNK votes, then the certificate. Raises ImpossibleRequest."""
        source = self.engine.sampler(image.to_array(), parameters.sigma, int(seed, 16))
        certification = Certification(parameters, source.num_classes, slack=source.slack)
        yield from drive(certification, source, CHUNK)
        yield build_certificate(
            certification.result,
            parameters,
            card=self.card,
            input_digest=image.digest,
            seed=seed,
            engine=self.engine.description,
        )

    def _read(self, image: Image) -> CertifiedImage:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.shape != self.card.input_shape:
                shape = "x".join(map(str, self.card.input_shape))
                raise InvalidRequest(f"{self.card.name} takes uint8 pixels of shape {shape} (C, H, W).")
            return CertifiedImage.of(image.tobytes(), self.card.input_shape, ["pixels as given"])
        if isinstance(image, bytes):
            return read_image(image, self.card)
        try:
            return read_image(Path(image).read_bytes(), self.card)
        except OSError as error:
            raise InvalidRequest(f"{image} can't be read: {error.strerror}.") from error
