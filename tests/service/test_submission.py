"""A body is understood wholly or refused, naming what is wrong: nothing of it is dropped in silence."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

DIGIT = (Path(__file__).parents[1] / "data" / "digit-7.png").read_bytes()
OTHER = (Path(__file__).parents[1] / "data" / "digit-3.png").read_bytes()
FORM = "multipart/form-data; boundary=cut"
END = b"--cut--\r\n"
Send = Callable[..., tuple[int, dict]]


def part(name: str, value: bytes, *more: str, file: str = "") -> bytes:
    head = [f'Content-Disposition: form-data; name="{name}"{file}', *more]
    return b"--cut\r\n" + "\r\n".join(head).encode() + b"\r\n\r\n" + value + b"\r\n"


def picture(data: bytes = DIGIT, file: str = '; filename="a.png"') -> bytes:
    return part("image", data, "Content-Type: image/png", file=file)


@pytest.fixture
def send(client: TestClient) -> Send:
    """Posts a body as it is; refused, it leaves no job."""

    def posted(
        body: bytes, to: str = "/certify", kind: str | None = FORM, **headers: str
    ) -> tuple[int, dict]:
        sent = {"Content-Type": kind, **headers} if kind else headers
        answer = client.post(to, content=body, headers=sent)
        if answer.status_code != 202:
            assert client.get("/jobs").json()["jobs"] == []
        return answer.status_code, answer.json()

    return posted


def wrong(problem: dict) -> dict[str, str]:
    return {error["field"]: error["detail"] for error in problem["errors"]}


UNCLOSED = {
    "the last field is cut off": picture() + part("n", b"1000"),
    "cut inside the last field": picture() + part("n", b"1000")[:-4],
    "cut inside the closing boundary": picture() + part("n", b"1000") + b"--cut",
    "one dash short": picture() + part("n", b"1000") + b"--cut-",
    "cut inside the picture": picture()[:200],
    "cut inside the part's headers": picture() + part("n", b"1000")[:30],
    "another boundary closes it": picture() + part("n", b"1000") + b"--other--\r\n",
}


@pytest.mark.parametrize("what", UNCLOSED)
@pytest.mark.parametrize("to", ["/certify", "/batches"])
def test_a_form_without_its_closing_boundary_is_400_with_the_reason(send: Send, what: str, to: str) -> None:
    status, problem = send(UNCLOSED[what], to)
    assert status == 400
    assert "closing boundary, --cut--" in problem["detail"]


def test_a_batch_cut_short_is_refused_rather_than_made_smaller(send: Send) -> None:
    three = picture() + picture(OTHER) + picture()
    assert send(three, "/batches")[0] == 400
    status, batch = send(three + END, "/batches")
    assert (status, len(batch["jobs"])) == (202, 3)


LEGAL = {
    "no line after the closing boundary": b"--cut--",
    "an epilogue": END + b"This is the epilogue. It is to be ignored.",
    "bytes of another boundary behind it": END + b"--cut\r\n\r\n",
}


@pytest.mark.parametrize("what", LEGAL)
def test_what_follows_the_closing_boundary_is_no_part_of_the_form(send: Send, what: str) -> None:
    status, job = send(picture() + part("n", b"1000") + LEGAL[what])
    assert (status, job["parameters"]["n"]) == (202, 1000)


def test_a_preamble_is_no_part_of_the_form(send: Send) -> None:
    status, job = send(b"A message in parts.\r\n" + picture() + part("n", b"1000") + END)
    assert (status, job["parameters"]["n"]) == (202, 1000)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=cut; boundary=cut",
        'multipart/form-data; boundary=other; BOUNDARY="cut"',
    ],
)
def test_a_boundary_that_is_missing_or_there_twice_is_400(send: Send, kind: str) -> None:
    status, problem = send(picture() + END, kind=kind)
    assert status == 400
    assert "boundary" in problem["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/octet-stream",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/mixed; boundary=cut",
        "nonsense",
    ],
)
@pytest.mark.parametrize("to", ["/certify", "/batches"])
def test_a_body_that_is_no_form_is_400_with_the_expected_type(send: Send, kind: str | None, to: str) -> None:
    for body in (DIGIT, b'{"image": "x"}', b"", picture() + END):
        status, problem = send(body, to, kind)
        assert status == 400
        assert "multipart/form-data" in problem["detail"]


TWICE = {
    "n": picture() + part("n", b"1000") + part("n", b"2000"),
    "model": picture() + part("model", b"x") + part("model", b"x"),
    "image": picture() + picture(OTHER),
}


@pytest.mark.parametrize("field", TWICE)
def test_what_is_meant_once_and_sent_twice_is_422_and_named(send: Send, field: str) -> None:
    status, problem = send(TWICE[field] + END)
    assert status == 422
    assert field in wrong(problem)


def test_a_batchs_fields_are_meant_once_too(send: Send) -> None:
    status, problem = send(picture() + TWICE["n"] + END, "/batches")
    assert (status, list(wrong(problem))) == (422, ["n"])


@pytest.mark.parametrize("to", ["/certify", "/batches"])
@pytest.mark.parametrize("field", ["alfa", "Image", "N", "image[]", "file", "sigma"])
def test_an_unknown_field_is_422_with_the_known_fields(send: Send, field: str, to: str) -> None:
    for more in (part(field, b"1"), part(field, DIGIT, file='; filename="a.png"')):
        status, problem = send(picture() + more + END, to)
        assert status == 422
        assert (
            "image, procedure, n0, n, alpha, target_radius, tolerance, deadline, model"
            in wrong(problem)[field]
        )


def test_everything_that_is_wrong_is_named_at_once(send: Send) -> None:
    status, problem = send(part("n", b"many") + part("alfa", b"1") + END)
    assert (status, set(wrong(problem))) == (422, {"n", "alfa", "image"})


@pytest.mark.parametrize("value", [b"", b" ", b"0x10", b"1000 votes"])
def test_a_value_that_is_no_number_is_no_default(send: Send, value: bytes) -> None:
    status, problem = send(picture() + part("n", value) + END)
    assert status == 422
    assert problem["errors"]


def test_a_field_sent_as_a_file_is_422(send: Send) -> None:
    status, problem = send(picture() + part("n", b"1000", file='; filename="n.txt"') + END)
    assert status == 422
    assert "text" in wrong(problem)["n"]


@pytest.mark.parametrize(
    "file",
    [
        '; filename="a.png"',
        "; filename*=UTF-8''b%C3%BCro.png",
        "",
        "; filename=a.png",
        '; filename="a;name=n.png"',
        '; filename=""',
    ],
)
def test_a_picture_needs_no_particular_file_name(send: Send, file: str) -> None:
    assert send(picture(file=file) + END)[0] == 202


def test_a_file_name_in_another_encoding_is_none_of_our_business(send: Send) -> None:
    assert send(picture().replace(b"a.png", "bürö.png".encode("latin-1")) + END)[0] == 202


AMBIGUOUS = {
    "no name": part("x", b"1").replace(b' name="x"', b""),
    "an empty name": part("", b"1"),
    "two names": part("n", b"1000", file='; name="alpha"'),
    "two dispositions": part("n", b"1000", 'Content-Disposition: form-data; name="alpha"'),
    "another disposition": part("n", b"1000").replace(b"form-data", b"attachment"),
    "base64": part("n", b"MTAwMA==", "Content-Transfer-Encoding: base64"),
    "an unknown charset": part("n", b"1000", "Content-Type: text/plain; charset=klingon"),
    "bytes that are no text": part("n", b"\xff\xfe1"),
    "a wrong length": part("n", b"1000", "Content-Length: 3"),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_a_part_that_could_mean_two_things_is_400(send: Send, what: str) -> None:
    assert send(picture() + AMBIGUOUS[what] + END)[0] == 400


@pytest.mark.parametrize("charset", ["utf-8", "us-ascii", "ISO-8859-1", "utf-16"])
def test_a_part_may_say_its_charset(send: Send, charset: str) -> None:
    more = ("Content-Transfer-Encoding: 8bit", f"Content-Type: text/plain; charset={charset}")
    status, job = send(picture() + part("n", "1000".encode(charset), *more) + END)
    assert (status, job["parameters"]["n"]) == (202, 1000)


def test_query_parameters_beside_a_form_are_422_and_named(client: TestClient) -> None:
    for query, field in ((f"n={n}", "n") for n in ("5", "1000")):
        answer = client.post(f"/certify?{query}", files={"image": DIGIT})
        assert answer.status_code == 422
        assert "field of the form" in wrong(answer.json())[field]
    answer = client.post("/certify?model=nope", files={"image": DIGIT})
    assert (answer.status_code, list(wrong(answer.json()))) == (422, ["model"])
    assert client.get("/jobs").json()["jobs"] == []


def test_a_picture_without_its_type_is_no_form_with_a_query(send: Send) -> None:
    """As curl's --data-binary sends it."""
    status, problem = send(DIGIT, "/certify?n=1000", "application/x-www-form-urlencoded")
    assert status == 400
    assert "image/png" in problem["detail"]


def test_a_picture_alone_is_asked_of_by_query_parameters(client: TestClient) -> None:
    kinds = ("image/png", "image/jpeg", "IMAGE/PNG; x=y", "image/*")
    for kind in kinds:
        headers = {"Content-Type": kind}
        job = client.post("/certify?n=1000&alpha=0.01", content=DIGIT, headers=headers).json()
        assert (job["parameters"]["n"], job["parameters"]["alpha"]) == (1000, 0.01)
    form = client.post("/certify", files={"image": DIGIT}, data={"n": 1000, "alpha": 0.01}).json()
    pictures = [client.get(one["links"]["input"]).content for one in (job, form)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("query", "field"),
    [("alfa=1", "alfa"), ("n=many", "n"), ("n=1&n=2", "n"), ("image=x", "image"), ("n=", "n")],
)
def test_a_wrong_question_about_a_picture_alone_is_422(send: Send, query: str, field: str) -> None:
    status, problem = send(DIGIT, f"/certify?{query}", "image/png")
    assert status == 422
    assert field in wrong(problem)


def test_a_picture_alone_that_is_none_or_empty_is_415(send: Send) -> None:
    assert send(b"", kind="image/png")[0] == 415
    assert send(b"<svg/>", kind="image/svg+xml")[0] == 415
    assert send(picture(b"") + END)[0] == 415


def test_the_same_key_and_picture_answer_with_the_same_job(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Idempotency-Key": "k"}
    first, again = (client.post("/certify?n=1000", content=DIGIT, headers=headers).json() for _ in "ab")
    assert first["id"] == again["id"]
    assert client.post("/certify?n=2000", content=DIGIT, headers=headers).status_code == 422


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "identity, gzip"])
@pytest.mark.parametrize("kind", [FORM, "image/png"])
def test_a_compressed_body_is_415_with_the_accepted_encoding(
    client: TestClient, encoding: str, kind: str
) -> None:
    body = gzip.compress(DIGIT if kind == "image/png" else picture() + END)
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    answer = client.post("/certify", content=body, headers=headers)
    assert answer.status_code == 415
    assert encoding in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_encoded_as_itself_is_taken(send: Send) -> None:
    assert send(picture() + END, **{"Content-Encoding": "identity"})[0] == 202
