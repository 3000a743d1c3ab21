"""A form with a file, as browsers and HTTP clients send it (multipart/form-data), in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message as Header

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from omnijet.runtime.serve.faults import ApiError

MOST_PARTS = 32
MOST_HEADER_BYTES = 4096


@dataclass(slots=True)
class Form:
    """What a form holds.

    Attributes:
        texts: of the fields, by name.
        files: contents, by the name of their field. Names of files are not looked at.
    """

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def parsed_form(body: bytes, content_type: str) -> Form:
    """Reads a whole form.

    Raises:
        ApiError: it is none, has a field twice, or texts that are no UTF-8.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary or len(boundary) > 200:
        raise ApiError(400, "the form has no boundary", code="invalid_form")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, f"the form cannot be read: {error}", code="invalid_form") from None
    if not reader.is_whole:
        raise ApiError(400, "the form ends before its last boundary", code="invalid_form")
    return reader.form


class _Reader:
    """Gathers the parts of a form."""

    def __init__(self) -> None:
        self.form = Form()
        self.is_whole = False
        self._parts = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        self._content = bytearray()

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_content,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise ApiError(400, f"the form has more than {MOST_PARTS} fields", code="invalid_form")
        self._headers, self._content = {}, bytearray()

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._require_small()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._require_small()

    def _require_small(self) -> None:
        if len(self._name) + len(self._value) > MOST_HEADER_BYTES:
            raise ApiError(400, "a field of the form has a header too long", code="invalid_form")

    def _on_header(self) -> None:
        name = self._name.decode("latin-1").strip().lower()
        self._headers[name] = self._value.decode("utf-8", "replace").strip()
        self._name, self._value = bytearray(), bytearray()

    def _on_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_part(self) -> None:
        header = Header()
        header["content-disposition"] = self._headers.get("content-disposition", "")
        name = header.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "a field of the form has no name", code="invalid_form")
        if name in self.form.texts or name in self.form.files:
            raise ApiError(400, "the form has this field twice", name[:100], "invalid_form")
        if header.get_param("filename", header="content-disposition") is not None:
            self.form.files[name] = bytes(self._content)
            return
        try:
            self.form.texts[name] = self._content.decode("utf-8")
        except UnicodeDecodeError:
            raise ApiError(400, "the field is no UTF-8", name[:100], "invalid_form") from None

    def _on_end(self) -> None:
        self.is_whole = True
