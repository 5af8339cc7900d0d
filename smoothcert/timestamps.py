"""Time stamps (RFC 3161): ask an authority for one, and check one.

A stamp is over the SHA-256 of a file's bytes, so other programs check it too: `openssl ts -verify -data FILE
-in FILE.tsr -CAfile ROOT.pem`. Signature and certificate chain are checked by rfc3161-client, with OpenSSL.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2
from cryptography import x509
from rfc3161_client import (
    Accuracy,
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    TimeStampTokenInfo,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.verify import SHA256_OID, SHA384_OID, SHA512_OID

from smoothcert.connection import Address, open_client
from smoothcert.errors import BadTimestamp

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
MAX_BYTES = 200_000  # of an answer; one with four certificates has 7 000
DEADLINE = 60.0  # seconds for the whole answer
DIGESTS = {SHA256_OID: hashlib.sha256, SHA384_OID: hashlib.sha384, SHA512_OID: hashlib.sha512}
GRANTED = 0, 1  # the latter "with modifications"
DER_SEQUENCE, DER_CERTIFICATES = 0x30, 0xA0


@dataclass(frozen=True)
class Timestamp:
    """What a stamp says. time: UTC. accuracy: how far the true time may lie from it, or None if not said."""

    time: datetime
    accuracy: timedelta | None
    authority: str
    policy: str

    def __str__(self) -> str:
        within = f", to within {self.accuracy.total_seconds():g} s" if self.accuracy else ""
        when = self.time.isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"{when}{within}, by {self.authority} under policy {self.policy}"


class Authority:
    """A time-stamp authority. url: where it answers. Raises InvalidRequest: no such address."""

    def __init__(self, url: str) -> None:
        self._address = Address(url)

    def __str__(self) -> str:
        return str(self._address.url.copy_with(userinfo=b""))

    def stamp(self, data: bytes) -> bytes:
        """The answer, DER, with a stamp over these bytes.

        Its status, digest and nonce are right; `check_timestamp` checks the rest. Raises BadTimestamp: no
        answer, or no stamp in it.
        """
        request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            answer = _post(self._address, request.as_bytes())
            _, info = _granted(answer)
            _check_digest(info, data)
            if info.nonce != request.nonce:
                raise BadTimestamp("it answers another request: the nonce differs")
        except httpx2.HTTPError as error:
            reason = _printable(str(error)) or type(error).__name__
            raise BadTimestamp(f"{self} does not answer ({reason})") from error
        except BadTimestamp as error:
            raise BadTimestamp(f"{self} gave none: {error.reason}") from error
        return answer


def check_timestamp(
    data: bytes, token: bytes, roots: Sequence[x509.Certificate], policy: str | None = None
) -> Timestamp:
    """What a stamp over these bytes proves.

    token: an authority's answer or the token alone, DER. roots: those trusted; the chain to one of them must
    have been valid at the time of the stamp. policy: wanted, an OID. Revocation is not checked. Raises
    BadTimestamp.
    """
    stamp, info = _granted(token)
    _check_digest(info, data)
    said = info.policy.dotted_string
    if policy not in (None, said):
        raise BadTimestamp(f"it was made under policy {said}, not {policy}")
    digest = info.message_imprint.message
    try:
        VerifierBuilder(roots=list(roots)).build().verify(stamp, digest)
    except (VerificationError, ValueError) as error:
        raise BadTimestamp(_reason(str(error))) from error
    return describe(token)


def describe(token: bytes) -> Timestamp:
    """What a stamp says, unchecked. Raises BadTimestamp."""
    stamp, info = _granted(token)
    return Timestamp(info.gen_time, _accuracy(info.accuracy), _authority(stamp), info.policy.dotted_string)


def is_over(data: bytes, token: bytes) -> bool:
    """Whether the stamp is over these bytes; its signature is not checked."""
    try:
        _check_digest(_granted(token)[1], data)
    except BadTimestamp:
        return False
    return True


def parse_roots(content: bytes) -> list[x509.Certificate]:
    """The certificates of a file, PEM or DER. Raises ValueError."""
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def _post(address: Address, query: bytes) -> bytes:
    headers = {"Content-Type": QUERY, "Accept": REPLY, "Accept-Encoding": "identity"}
    with (
        open_client(httpx2.Client, address) as client,
        client.stream("POST", address.url, content=query, headers=headers) as answer,
    ):
        if not answer.is_success:
            moved = (
                f"; it moved to {_printable(answer.headers['location'])}"
                if answer.has_redirect_location
                else ""
            )
            raise BadTimestamp(f"it answered {answer.status_code} {answer.reason_phrase}{moved}")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != REPLY:
            raise BadTimestamp(f"it answered {_printable(kind) or 'no content type'}, not {REPLY}")
        return _bounded(answer.iter_raw())


def _bounded(chunks: Iterable[bytes]) -> bytes:
    content, end = b"", time.monotonic() + DEADLINE
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_BYTES:
            raise BadTimestamp(f"the answer is larger than {MAX_BYTES} bytes")
        if time.monotonic() > end:
            raise BadTimestamp(f"the answer took longer than {DEADLINE:g} seconds")
    return content


def _granted(token: bytes) -> tuple[TimeStampResponse, TimeStampTokenInfo]:
    """The stamp as an answer with status 0. Raises BadTimestamp: another status, or no stamp."""
    answer = _decode(token)
    if answer.status not in GRANTED:
        said = "; ".join(_printable(text).rstrip(".") for text in answer.status_string)
        raise BadTimestamp(f"the authority refused with status {answer.status}: {said or 'no reason given'}")
    try:
        stamp = decode_timestamp_response(_as_answer(answer.time_stamp_token()))
        return stamp, stamp.tst_info
    except ValueError as error:
        raise BadTimestamp("the answer holds no time stamp") from error


def _decode(token: bytes) -> TimeStampResponse:
    for content in (token, _as_answer(token)):
        with suppress(ValueError):
            return decode_timestamp_response(_with_sorted_certificates(content))
    raise BadTimestamp("it is no time stamp: neither an answer nor a token of RFC 3161, in DER")


def _as_answer(token: bytes) -> bytes:
    """A token as the answer that grants it: SEQUENCE {SEQUENCE {INTEGER 0}, token}."""
    content = bytes.fromhex("3003020100") + token
    size = len(content).to_bytes(4, "big").lstrip(b"\0")
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x80 | len(size)]) + size
    return bytes([DER_SEQUENCE]) + length + content


def _with_sorted_certificates(answer: bytes) -> bytes:
    """The answer with its certificates in the order of DER, as the decoder wants them.

    OpenSSL's authorities send them in the order of the chain. The signature does not cover them.
    """
    try:
        _, token = _parts(_content(answer))
        _, wrapped = _parts(_content(token))
        certificates = next(p for p in _parts(_content(_content(wrapped))) if p[0] == DER_CERTIFICATES)
        found = _parts(_content(certificates))
    except (IndexError, ValueError, StopIteration):
        return answer
    return answer.replace(b"".join(found), b"".join(sorted(found)))


def _parts(der: bytes) -> list[bytes]:
    """The values that follow one another. Raises IndexError, ValueError."""
    parts = []
    while der:
        start, size = _span(der)
        parts.append(der[: start + size])
        der = der[start + size :]
    return parts


def _content(value: bytes) -> bytes:
    start, size = _span(value)
    return value[start : start + size]


def _span(der: bytes) -> tuple[int, int]:
    """Where the content of the first value begins, and its size."""
    size = der[1]
    if size < 0x80:
        return 2, size
    start = 2 + (size & 0x7F)
    return start, int.from_bytes(der[2:start], "big")


def _check_digest(info: TimeStampTokenInfo, data: bytes) -> None:
    imprint = info.message_imprint
    digest = DIGESTS.get(imprint.hash_algorithm.dotted_string)
    if digest is None:
        raise BadTimestamp(f"its digest is none of SHA-2: {imprint.hash_algorithm.dotted_string}")
    if digest(data).digest() != imprint.message:
        raise BadTimestamp("it is over other bytes: another document, or one that was changed")


def _accuracy(said: Accuracy | None) -> timedelta | None:
    if said is None:
        return None
    return timedelta(seconds=said.seconds or 0, milliseconds=said.millis or 0, microseconds=said.micros or 0)


def _authority(stamp: TimeStampResponse) -> str:
    """The name in the signer's certificate."""
    signers = {(signer.issuer, signer.serial_number) for signer in stamp.signed_data.signer_infos}
    certificates = map(x509.load_der_x509_certificate, stamp.signed_data.certificates)
    names = [c.subject.rfc4514_string() for c in certificates if (c.issuer, c.serial_number) in signers]
    return _printable(names[0]) if names else "an authority without a certificate"


def _reason(message: str) -> str:
    """The cause in a message of the library, which holds OpenSSL's stack of errors."""
    cause = re.search(r'Verify error: ([^"]*)"', message)
    if cause:
        return f"its certificate is not trusted with the roots given: {cause[1]}"
    cause = re.search(r'reason: "([^"]*)"', message)
    return f"its signature does not hold: {cause[1]}" if cause else message.rstrip(".")


def _printable(text: str) -> str:
    """Untrusted text, short and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
