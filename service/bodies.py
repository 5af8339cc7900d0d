"""Reads request bodies: multipart/form-data, or a single image. Refuses incomplete or ambiguous ones."""

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

from fastapi import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.errors import BadForm, TooLarge, UnsupportedEncoding

FORM = "multipart/form-data"
IMAGE = "image"  # the only field that holds files
IN_MEMORY = 1024 * 1024  # bytes; a larger file is spooled to disk
MOST_PARTS = 1000  # of a form, in addition to a batch's images
MOST_TEXT = 64 * 1024  # bytes of one text field
PLAIN = {"", "7bit", "8bit", "binary"}  # Content-Transfer-Encodings that leave the bytes as they are
QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')

File = SpooledTemporaryFile[bytes]


@dataclass
class Body:
    """A parsed body; field names are not checked yet. fields: in the order sent. misplaced: names of fields
    other than `image` that were sent as files. documents: files or texts with the name that was asked for.

    A context manager: rewinds images and documents, at the end closes them.
    """

    fields: list[tuple[str, str]] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    images: list[File] = field(default_factory=list)
    documents: list[File] = field(default_factory=list)
    files: ExitStack = field(default_factory=ExitStack)

    def new_image(self) -> File:
        return self._new_file(self.images)

    def new_document(self) -> File:
        return self._new_file(self.documents)

    def _new_file(self, kept: list[File]) -> File:
        file = self.files.enter_context(SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115  (__exit__ closes it)
        kept.append(file)
        return file

    def __enter__(self) -> Self:
        for file in (*self.images, *self.documents):
            file.seek(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.close()


def is_picture(request: Request) -> bool:
    """Whether Content-Type declares a single image instead of a form."""
    return _declares(request, "image/")


def is_form(request: Request) -> bool:
    """Whether Content-Type declares a form that can hold files."""
    return _declares(request, FORM)


def _declares(request: Request, kind: str) -> bool:
    return request.headers.get("content-type", "").strip().lower().startswith(kind)


async def read_picture(request: Request) -> Body:
    """Reads a body that is a single image. Raises BadForm, UnsupportedEncoding."""
    _refuse_encoded(request)
    body = Body()
    try:
        image = body.new_image()
        async for chunk in _chunks(request):
            image.write(chunk)
    except BaseException:
        body.files.close()
        raise
    return body


async def read_form(request: Request, most: int | None = None, document: str | None = None) -> Body:
    """Reads a form with at most `most` images. document: the name of parts that are kept as documents.

    Raises BadForm, UnsupportedEncoding, TooLarge.
    """
    _refuse_encoded(request)
    reader = _Reader(_boundary(request), most, document)
    try:
        async for chunk in _chunks(request):
            reader.take(chunk)
        reader.end()
    except BaseException as error:
        reader.body.files.close()
        if isinstance(error, MultipartError):
            raise BadForm(f"The form can't be read: {error}.") from error
        raise
    return reader.body


class _Reader:
    """Parses a form incrementally. A part named `image` is an image, with or without a file name."""

    def __init__(self, boundary: str, most: int | None, document: str | None) -> None:
        self.body, self.most, self.document = Body(), most, document
        self.boundary = boundary
        self.parser = PushMultipartParser(
            boundary.encode("latin-1"),
            max_header_count=32,
            max_segment_count=MOST_PARTS + (most or 0),
            header_charset="latin-1",  # file names may have any encoding; latin-1 decodes all bytes
        )
        self.part: MultipartSegment | None = None
        self.image: File | None = None
        self.text = bytearray()

    def take(self, chunk: bytes) -> None:
        for event in self.parser.parse(chunk) if chunk else ():
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event is None:
                self._finish()
            elif self.image is not None:
                self.image.write(event)
            elif self.part is not None and self.part.filename is None:
                self._add(event)

    def end(self) -> None:
        try:
            self.parser.close()
        except MultipartError as error:
            raise BadForm(
                f"The form ends before its closing boundary, --{self.boundary}--: part of it is missing."
            ) from error

    def _begin(self, part: MultipartSegment) -> None:
        _check_headers(part)
        self.part, self.image, self.text = part, None, bytearray()
        if part.name == IMAGE:
            if self.most is not None and self.most <= len(self.body.images):
                raise TooLarge(f"A batch holds at most {self.most} images.")
            self.image = self.body.new_image()
        elif part.name == self.document:
            self.image = self.body.new_document()
        elif part.filename is not None:
            self.body.misplaced.append(part.name or "")

    def _add(self, data: bytes) -> None:
        self.text += data
        if len(self.text) > MOST_TEXT:
            raise BadForm(f"A field of the form is longer than {MOST_TEXT} bytes.")

    def _finish(self) -> None:
        assert self.part is not None
        assert self.part.name is not None
        if self.image is None and self.part.filename is None:
            self.body.fields.append((self.part.name, _decoded(self.text, self.part)))


def _check_headers(part: MultipartSegment) -> None:
    """Raises BadForm if the part's name or encoding is missing, repeated or unsupported."""
    names = [name for name, _ in part.headerlist]
    disposition = part.header("Content-Disposition", "")
    if len(names) != len(set(names)) or _repeats(disposition):
        raise BadForm("A part of the form says its name, type or encoding twice.")
    if not part.name:
        raise BadForm("A part of the form has no name: Content-Disposition: form-data; name=...")
    encoding = part.header("Content-Transfer-Encoding", "").strip().lower()
    if encoding not in PLAIN:
        raise BadForm(f"The part {part.name} is encoded as {encoding!r}: send its bytes as they are.")


def _decoded(text: bytearray, part: MultipartSegment) -> str:
    try:
        return text.decode(part.charset or "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise BadForm(f"The field {part.name} is no text in {part.charset or 'UTF-8'}.") from error


def _boundary(request: Request) -> str:
    types = request.headers.getlist("content-type")
    kind, options = parse_options_header(types[0]) if len(types) == 1 else ("", {})
    if kind != FORM:
        actual = f", not {', '.join(types)}" if types else ""
        raise BadForm(f"Send {FORM}, as curl's -F does{actual}.")
    if not options.get("boundary") or _repeats(types[0]):
        raise BadForm(f"Content-Type: {FORM} must say its boundary, once.")
    return str(options["boundary"])


def _repeats(header: str) -> bool:
    """Whether a parameter of the header occurs twice."""
    parameters = QUOTED.sub("", header).split(";")[1:]
    names = [parameter.partition("=")[0].strip().lower() for parameter in parameters]
    return len(names) != len(set(names))


def _refuse_encoded(request: Request) -> None:
    encodings = ", ".join(request.headers.getlist("content-encoding"))
    if encodings and encodings.strip().lower() != "identity":
        raise UnsupportedEncoding(f"The body is encoded as {encodings}: send it as it is.")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise BadForm("The connection ended before the body did.") from error
