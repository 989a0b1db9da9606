"""The wire format of Protocol Buffers, as far as a file must be looked at and changed in places.

A message is read as a list of fields in their order. What nobody touches is written back byte for byte, whether it is
known or not; source: the public description of the encoding (tags of a number and a wire type, varints, lengths).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = [
    "BYTES",
    "FIXED32",
    "FIXED64",
    "MOST_FIELDS",
    "VARINT",
    "Field",
    "NotProtobuf",
    "bytes_field",
    "int_field",
    "read",
    "write",
]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups, which nobody writes any more, are refused."""

LONGEST_VARINT = 10

MOST_FIELDS = 250_000
"""Fields of one message; a graph of ten thousand nodes has a tenth of them. A field costs a hundred times its two bytes
once it is read, so a small file could fill the memory."""


class NotProtobuf(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: Its number.
        wire: Its wire type.
        value: An unsigned number for `VARINT`, else the bytes of it.
        raw: All of the field as it was read, its tag included.
    """

    number: int
    wire: int
    value: int | memoryview
    raw: memoryview

    @property
    def data(self) -> memoryview:
        """The bytes.

        Raises:
            NotProtobuf: It is a number.
        """
        if isinstance(self.value, int):
            raise NotProtobuf(f"field {self.number} is a number and bytes belong there")
        return self.value

    @property
    def text(self) -> str:
        """The bytes as text; what is no UTF-8 is kept as surrogates.

        Raises:
            NotProtobuf: It is a number.
        """
        return bytes(self.data).decode("utf-8", "surrogateescape")

    @property
    def integer(self) -> int:
        """The number, as signed 64 bits.

        Raises:
            NotProtobuf: It is bytes.
        """
        if not isinstance(self.value, int):
            raise NotProtobuf(f"field {self.number} is bytes and a number belongs there")
        return self.value - (1 << 64) if self.value >> 63 else self.value


def read(data: bytes | memoryview) -> list[Field]:
    """The fields of a message, in their order.

    Args:
        data: The message; the fields are views into it.

    Raises:
        NotProtobuf: It ends in the middle of a field, has fields of an unknown kind, or more than `MOST_FIELDS`.
    """
    fields = list(itertools.islice(_fields(memoryview(data).toreadonly()), MOST_FIELDS + 1))
    if len(fields) > MOST_FIELDS:
        raise NotProtobuf(f"a message has more than {MOST_FIELDS} fields")
    return fields


def write(fields: Iterable[Field]) -> bytes:
    """A message of fields, each as it was read or made."""
    return b"".join(field.raw for field in fields)


def bytes_field(number: int, data: bytes | str) -> Field:
    """A field of bytes: a text, or a message inside the message.

    Args:
        number: Its number.
        data: Its content.
    """
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    raw = memoryview(_varint(number << 3 | BYTES) + _varint(len(content)) + content)
    return Field(number, BYTES, raw[len(raw) - len(content) :], raw)


def int_field(number: int, value: int) -> Field:
    """A field with a number.

    Args:
        number: Its number.
        value: Signed 64 bits.
    """
    unsigned = value & (1 << 64) - 1
    return Field(number, VARINT, unsigned, memoryview(_varint(number << 3 | VARINT) + _varint(unsigned)))


def _fields(data: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(data):
        begin = at
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise NotProtobuf(f"a field has the number 0, at byte {begin}")
        value: int | memoryview
        if wire == VARINT:
            value, at = _read_varint(data, at)
        else:
            length = {FIXED64: 8, FIXED32: 4}.get(wire)
            if wire == BYTES:
                length, at = _read_varint(data, at)
            if length is None:
                raise NotProtobuf(f"a field has the wire type {wire}, at byte {begin}")
            if length > len(data) - at:
                raise NotProtobuf(f"it ends in the middle of a field of {length} bytes, which begins at byte {begin}")
            value, at = data[at : at + length], at + length
        yield Field(number, wire, value, data[begin:at])


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for index in range(LONGEST_VARINT):
        if at + index >= len(data):
            raise NotProtobuf(f"it ends in the middle of a number, at byte {at}")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (1 << 64) - 1, at + index + 1
    raise NotProtobuf(f"a number has more than 64 bits, at byte {at}")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
