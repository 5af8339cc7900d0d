"""HTTP/1.1 as uvicorn reads it with httptools, with an end to a request's headers."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST = 64 * 1024  # bytes of request line, headers and trailers; one read (up to 256 KiB) may go beyond it


class BoundedHead(HttpToolsProtocol):
    """httptools keeps headers of any size: a sender who never ends them would fill the memory."""

    _head = 0  # bytes of the request under way that aren't its body
    _in_body = False

    def data_received(self, data: bytes) -> None:
        self._head += 0 if self._in_body else len(data)
        super().data_received(data)
        if self._head > MOST and not self.transport.is_closing():
            self.send_400_response("The request's headers are larger than 64 KiB.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) if self._in_body else 0  # a trailer, kept like a header
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body, self._head = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
