"""The engine config: everything besides weights and noise that decides the answers of the base classifier.

Two configs may answer differently for the same pixels (another precision or summation order), so each is its
own base classifier f. All votes of a certificate come from one config, which it names.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.certificate import EngineDescription

DeviceKind = Literal["cpu", "cuda"]
Backend = Literal["eager", "compile", "openvino", "cuda-graph", "compile-cuda-graph"]
Precision = Literal["float32", "tf32", "bfloat16", "float16", "int8"]

MAX_BATCH = 65_536  # an untrusted certificate may name any; memory is allocated before the first vote
MAX_DIGITS = 4  # of the number of threads

_BACKEND_TEXT = re.compile(
    r"(?P<backend>[a-z-]+?)(?P<last>/channels-last)?(?P<fold>/folded)?(/(?P<threads>\d+)-threads)?"
)


@dataclass(frozen=True)
class EngineConfig:
    """How one network runs.

    batch: votes in a forward pass (the last one is padded). folded: batch normalisation is folded into the
    convolutions before the weights are cast. threads: CPU threads that run the network; 0 on a GPU.
    """

    device: DeviceKind
    backend: Backend
    precision: Precision
    batch: int
    channels_last: bool = True
    folded: bool = True
    threads: int = 0

    @property
    def backend_text(self) -> str:
        """For example `openvino/channels-last/folded/2-threads`."""
        parts: list[str] = [self.backend]
        if self.channels_last:
            parts.append("channels-last")
        if self.folded:
            parts.append("folded")
        if self.threads:
            parts.append(f"{self.threads}-threads")
        return "/".join(parts)

    def __str__(self) -> str:
        """For example `cpu:openvino/channels-last/folded/2-threads:bfloat16:256`; `parse` reads it back."""
        return f"{self.device}:{self.backend_text}:{self.precision}:{self.batch}"

    @classmethod
    def parse(cls, text: str) -> "EngineConfig":
        """The config that `str` wrote. Raises InvalidRequest."""
        try:
            device, backend, precision, batch = text.split(":")
            return cls._from_parts(device, backend, precision, int(batch))
        except ValueError as error:
            example = EngineConfig("cpu", "eager", "bfloat16", 256, threads=2)
            raise InvalidRequest(f"{text!r} is not an engine; one is, for example, {example}.") from error

    @classmethod
    def of(cls, engine: EngineDescription) -> "EngineConfig":
        """The config that a certificate names. Raises InvalidRequest if this version does not know it."""
        device = "cpu" if engine.device == "cpu" else "cuda"
        return cls.parse(f"{device}:{engine.backend}:{engine.precision}:{engine.batch}")

    @classmethod
    def _from_parts(cls, device: str, backend: str, precision: str, batch: int) -> "EngineConfig":
        found = _BACKEND_TEXT.fullmatch(backend)
        if found is None or not 1 <= batch <= MAX_BATCH or len(found["threads"] or "") > MAX_DIGITS:
            raise ValueError(backend)
        return cls(
            device=_one_of(DeviceKind, device),
            backend=_one_of(Backend, found["backend"]),
            precision=_one_of(Precision, precision),
            batch=batch,
            channels_last=found["last"] is not None,
            folded=found["fold"] is not None,
            threads=int(found["threads"] or 0),
        )


def _one_of(choices: object, text: str) -> Any:
    if text not in get_args(choices):
        raise ValueError(text)
    return text
