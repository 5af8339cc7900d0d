"""A time-stamp authority (RFC 3161) made of openssl, with a root, an intermediate and a signer of its own."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY = "1.3.6.1.4.1.99999.1"
CONFIG = f"""[tsa]
serial = serial
signer_digest = sha256
default_policy = {POLICY}
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Party:
    """A name with its key and certificate."""

    key: Key
    certificate: x509.Certificate

    def write(self, folder: Path, name: str) -> None:
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key = self.key.private_bytes(pem, form, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(key)
        (folder / f"{name}.pem").write_bytes(self.certificate.public_bytes(pem))


def make_party(
    name: str,
    issuer: Party | None = None,
    *,
    ca: bool = False,
    days: tuple[int, int] = (-1, 30),
    usage: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,),
    critical: bool = True,
) -> Party:
    """days: from when and until when the certificate is valid, from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if usage and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical)
    return Party(key, builder.sign(signer, hashes.SHA256()))


@dataclass
class Answer:
    """What the server sends instead of a stamp where it is set."""

    status: int = 200
    content_type: str = "application/timestamp-reply"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


class OpensslAuthority:
    """Root, intermediate and signer in a folder. answer: set it to have the server misbehave."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self.folder = folder
        self.answer = Answer()
        self.url = ""
        self.queries: list[bytes] = []
        self.root = make_party(f"{name} Root", ca=True)
        self.intermediate = make_party(f"{name} CA", self.root, ca=True)
        for party, file in ((self.root, "root"), (self.intermediate, "intermediate")):
            party.write(folder, file)
        self.use(make_party(name, self.intermediate))
        (folder / "serial").write_text("01\n")
        (folder / "config").write_text(CONFIG)

    @property
    def roots(self) -> Path:
        return self.folder / "root.pem"

    def use(self, signer: Party) -> None:
        """Sign with this one from now on."""
        signer.write(self.folder, "signer")

    def reply(self, query: bytes) -> bytes:
        """What openssl answers."""
        (self.folder / "query").write_bytes(query)
        signer = ("-signer", "signer.pem", "-inkey", "signer.key", "-chain", "intermediate.pem")
        self._openssl("ts", "-reply", "-config", "config", "-section", "tsa", "-queryfile", "query", *signer)
        return (self.folder / "out").read_bytes()

    def token(self, data: bytes, *options: str) -> bytes:
        """An answer about these bytes. options: of `openssl ts -query`."""
        (self.folder / "data").write_bytes(data)
        self._openssl("ts", "-query", "-data", "data", "-cert", *(options or ("-sha256",)))
        return self.reply((self.folder / "out").read_bytes())

    def info(self, answer: bytes) -> bytes:
        """The TSTInfo of an answer, which its signature is over."""
        (self.folder / "answer").write_bytes(answer)
        self._openssl("ts", "-reply", "-in", "answer", "-token_out")
        (self.folder / "out").rename(self.folder / "token")
        self._openssl("cms", "-verify", "-noverify", "-nosigs", "-inform", "DER", "-in", "token")
        return (self.folder / "out").read_bytes()

    def signed(self, info: bytes) -> bytes:
        """A token with this TSTInfo, by any signer: `openssl ts` refuses those that may not stamp."""
        (self.folder / "info").write_bytes(info)
        kind = ("-nodetach", "-binary", "-econtent_type", "id-smime-ct-TSTInfo", "-outform", "DER")
        signer = ("-signer", "signer.pem", "-inkey", "signer.key", "-certfile", "intermediate.pem")
        self._openssl("cms", "-sign", "-in", "info", *kind, *signer)
        return (self.folder / "out").read_bytes()

    def holds(self, data: Path, token: Path) -> bool:
        """Whether openssl finds the answer in this file right."""
        files = ("-data", data.resolve(), "-in", token.resolve(), "-CAfile", "root.pem")
        return self._openssl("ts", "-verify", *files, out=False).returncode == 0

    def _openssl(self, *arguments: object, out: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = ["openssl", *map(str, arguments), *(("-out", "out") if out else ())]
        return subprocess.run(command, cwd=self.folder, capture_output=True, check=out, timeout=60)


@contextmanager
def serving(authority: OpensslAuthority) -> Iterator[OpensslAuthority]:
    """The authority answers at `authority.url` on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            authority.queries.append(query)
            answer = authority.answer
            body = authority.reply(query) if answer.body is None else answer.body
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not on stderr, where a command's one line is."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    authority.url = f"http://127.0.0.1:{server.server_port}/tsr"
    try:
        yield authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def need_openssl() -> None:
    """Skip the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to be a time-stamp authority")
