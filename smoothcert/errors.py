"""All errors. A subclass's docstring is its default message.

SmoothCertError
├── InvalidRequest          the user can correct it; the command line exits with 2
│   ├── ImpossibleRequest   (n, alpha) that can never certify
│   ├── UnknownModel
│   ├── BadImage
│   ├── BadModelFile        a file that can't become a model; says what it is and what to save instead
│   ├── OverQuota           too many unfinished jobs of one owner
│   └── KeyReused           an idempotency key came with another body
└── InternalError           the machine, the installation or a file failed; exit 1
    ├── BadCheckpoint
    ├── BrokerUnavailable
    ├── NotACertificate     a document that can't be a certificate; names the field
    ├── NotProved           a certificate that does not hold; names the field
    ├── BadTimestamp        a time stamp (RFC 3161) that does not hold, or that no authority gave
    ├── JobFailed           a job of a service that ended without a certificate
    ├── BadKeyFile          a file of API keys or signing keys
    └── QueueFull
"""


class SmoothCertError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidRequest(SmoothCertError, ValueError):
    """The request can't be carried out as it stands."""


class ImpossibleRequest(InvalidRequest):
    """No outcome of these votes could ever certify anything."""

    def __init__(self, message: str | None = None, *, least_n: int | None = None) -> None:
        super().__init__(message)
        self.least_n = least_n


class UnknownModel(InvalidRequest):
    """No model of this name; `smoothcert models` lists those there are."""


class BadImage(InvalidRequest):
    """Not an image we take: send one PNG, JPEG, WebP, BMP or GIF of moderate size."""


class BadModelFile(InvalidRequest):
    """This file can't become a model."""


class InternalError(SmoothCertError):
    """The machine or the installation failed."""


class BadCheckpoint(InternalError):
    """The checkpoint folder is not whole: it needs card.json and a model.safetensors that match."""


class NotACertificate(InternalError):
    """This is no certificate."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NotProved(InternalError):
    """The certificate does not hold."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BadTimestamp(InternalError):
    """The time stamp does not hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The time stamp does not hold: {reason}.")
        self.reason = reason


class JobFailed(InternalError):
    """The job ended without a certificate."""


class BrokerUnavailable(InternalError):
    """The broker does not answer; check SMOOTHCERT_REDIS_URL."""


class BadKeyFile(InternalError):
    """The file of keys can't be read."""


class OverQuota(InvalidRequest):
    """You have too many unfinished jobs; wait for one to end or cancel one."""


class KeyReused(InvalidRequest):
    """This Idempotency-Key was used for another request; take a new one."""


class QueueFull(InternalError):
    """Too many jobs wait already; try again later."""
