"""Time stamps by a real authority (openssl): checked, and refused with the reason where anything is wrong."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from smoothcert.errors import BadTimestamp, InvalidRequest
from smoothcert.timestamps import (
    MAX_BYTES,
    Authority,
    Timestamp,
    check_timestamp,
    describe,
    is_over,
    parse_roots,
)
from tests.support.authority import POLICY, Answer, OpensslAuthority, make_party, need_openssl, serving

DATA = b'{"kind": "statement"}\n'
Roots = list[x509.Certificate]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpensslAuthority]:
    need_openssl()
    with serving(OpensslAuthority(tmp_path_factory.mktemp("authority"))) as started:
        yield started


@pytest.fixture(autouse=True)
def _behaves(authority: OpensslAuthority) -> Iterator[None]:
    yield
    authority.answer = Answer()
    authority.use(make_party("Test Authority", authority.intermediate))
    authority.intermediate.write(authority.folder, "intermediate")


@pytest.fixture
def roots(authority: OpensslAuthority) -> Roots:
    return parse_roots(authority.roots.read_bytes())


def refused(token: bytes, roots: Sequence[x509.Certificate], data: bytes = DATA) -> str:
    with pytest.raises(BadTimestamp) as caught:
        check_timestamp(data, token, roots)
    assert "\n" not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("options", [(), ("-sha512",), ("-sha256", "-no_nonce")])
def test_a_stamp_proves_the_time(authority: OpensslAuthority, roots: Roots, options: tuple[str, ...]) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    proved = check_timestamp(DATA, authority.token(DATA, *options), roots, POLICY)
    assert before <= proved.time <= datetime.now(UTC)
    assert (proved.accuracy, proved.policy) == (timedelta(seconds=1), POLICY)
    assert proved.authority == "CN=Test Authority"


def test_an_authority_is_asked_for_a_stamp_that_openssl_finds_right(
    authority: OpensslAuthority, roots: Roots, tmp_path: Path
) -> None:
    token = Authority(authority.url).stamp(DATA)
    assert check_timestamp(DATA, token, roots) == describe(token)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "token").write_bytes(token)
    assert authority.holds(tmp_path / "data", tmp_path / "token")


def test_the_order_of_the_certificates_in_it_does_not_matter(
    roots: Roots, authority: OpensslAuthority
) -> None:
    """openssl sends them in the order of the chain, which is DER's for half of all signers."""
    for _ in range(8):
        authority.use(make_party("Test Authority", authority.intermediate))
        check_timestamp(DATA, authority.token(DATA), roots)


def test_a_token_without_the_answer_around_it_is_taken_too(authority: OpensslAuthority, roots: Roots) -> None:
    token = authority.signed(authority.info(authority.token(DATA)))
    assert check_timestamp(DATA, token, roots).authority == "CN=Test Authority"


def test_a_stamp_of_other_bytes_is_refused(authority: OpensslAuthority, roots: Roots) -> None:
    token = authority.token(DATA)
    assert "over other bytes" in refused(token, roots, DATA + b" ")
    assert is_over(DATA, token)
    assert not is_over(DATA + b" ", token)
    assert not is_over(DATA, b"no token")


def test_the_chain_must_lead_to_a_root_that_is_given(authority: OpensslAuthority, roots: Roots) -> None:
    token = authority.token(DATA)
    namesake = make_party("Test Authority Root", ca=True).certificate
    for untrusted in (namesake, authority.intermediate.certificate):
        assert "not trusted with the roots given" in refused(token, [untrusted])
    check_timestamp(DATA, token, [namesake, *roots])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"days": (-30, -1)}, "has expired"),
        ({"days": (1, 30)}, "not yet valid"),
        ({"usage": ()}, "purpose"),
        ({"usage": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "purpose"),
        ({"critical": False}, "purpose"),
    ],
)
def test_the_signer_must_be_one_that_may_stamp_and_valid_then(
    authority: OpensslAuthority, roots: Roots, change: dict[str, object], reason: str
) -> None:
    info = authority.info(authority.token(DATA))
    check_timestamp(DATA, authority.signed(info), roots)
    authority.use(make_party("Test Authority", authority.intermediate, **change))  # type: ignore[arg-type]
    assert reason in refused(authority.signed(info), roots)


def test_a_signer_is_no_authority_over_others(authority: OpensslAuthority, roots: Roots) -> None:
    info = authority.info(authority.token(DATA))
    middle = make_party("Signer", authority.root)
    middle.write(authority.folder, "intermediate")
    authority.use(make_party("Test Authority", middle))
    assert "not trusted" in refused(authority.signed(info), roots)


def test_another_policy_is_refused(authority: OpensslAuthority, roots: Roots) -> None:
    with pytest.raises(BadTimestamp, match=f"under policy {POLICY}, not 1.2.3"):
        check_timestamp(DATA, authority.token(DATA), roots, "1.2.3")


def test_no_changed_byte_changes_what_is_proved(authority: OpensslAuthority, roots: Roots) -> None:
    token = authority.token(DATA)
    true = check_timestamp(DATA, token, roots)
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1 << (place % 8)
        assert proved_by(bytes(changed), roots) in (None, true), place
    for end in range(0, len(token), 7):
        assert proved_by(token[:end], roots) is None


def proved_by(token: bytes, roots: Roots) -> Timestamp | None:
    try:
        return check_timestamp(DATA, token, roots)
    except BadTimestamp:
        return None


def test_what_is_no_stamp_is_refused(roots: Roots) -> None:
    for content in (b"", b"garbage", b"\x30\x80\x00\x00", b"\x30\x03\x02\x01\x00", b"\xff" * 1000):
        refused(content, roots)


REFUSAL = bytes.fromhex("3014 3012 0201 02 300d 0c0b") + b"\x1bno time\x07!!"
GOOD = "application/timestamp-reply"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=503), "it answered 503 Service Unavailable"),
        (Answer(302, headers={"Location": "https://other.example/"}), "it moved to https://other.example/"),
        (Answer(content_type="text/html", body=b"<p>"), f"it answered text/html, not {GOOD}"),
        (Answer(body=b"garbage"), "it is no time stamp"),
        (Answer(body=REFUSAL), "the authority refused with status 2: ?no time?!!"),
        (Answer(body=b"0" * (MAX_BYTES + 1)), f"the answer is larger than {MAX_BYTES} bytes"),
    ],
)
def test_an_answer_that_is_no_stamp_is_told(authority: OpensslAuthority, answer: Answer, reason: str) -> None:
    authority.answer = answer
    with pytest.raises(BadTimestamp) as caught:
        Authority(authority.url).stamp(DATA)
    assert reason in caught.value.reason
    assert authority.url in caught.value.reason


def test_a_stamp_of_something_else_is_not_taken(authority: OpensslAuthority) -> None:
    for body, reason in (
        (authority.token(b"another"), "over other bytes"),
        (authority.token(DATA), "the nonce differs"),
    ):
        authority.answer = Answer(body=body)
        with pytest.raises(BadTimestamp, match=reason):
            Authority(authority.url).stamp(DATA)


def test_an_authority_that_is_not_there_or_no_address_is_told() -> None:
    with pytest.raises(BadTimestamp, match="does not answer") as caught:
        Authority("http://user:secret@127.0.0.1:1/").stamp(DATA)
    assert "secret" not in str(caught.value)
    for url in ("ftp://h/", "nowhere", "http://"):
        with pytest.raises(InvalidRequest, match="is no address"):
            Authority(url)


def test_roots_are_read_as_pem_and_as_der(authority: OpensslAuthority) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    root = authority.root.certificate
    assert parse_roots(root.public_bytes(Encoding.DER)) == [root]
    assert parse_roots(2 * root.public_bytes(Encoding.PEM)) == [root, root]
    for content in (b"", b"-----BEGIN CERTIFICATE-----\nMII\n", b"-----BEGIN PRIVATE KEY-----\n"):
        with pytest.raises(ValueError, match=r"."):
            parse_roots(content)
