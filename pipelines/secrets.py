"""Credentials out of everything that people and files get to see."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from lineside.runtime.errors import BadOption, SourceError

__all__ = ["SECRET_OPTIONS", "Address", "address_of", "redacted", "secret", "shown"]

SECRET_OPTIONS = frozenset(("password", "user"))
"""Options of elements whose values nobody gets to see, whatever they look like."""

_HIDDEN = "***"
_SHORTEST = 3
"""Known secrets below this length are not looked for one by one: an ``a`` stands in every text."""

# Looked for from the beginning of a word only: from each of its letters, a long one would take time by its square.
_IN_ADDRESS = re.compile(r"((?<![a-z0-9+.-])[a-z0-9+.-]+://)[^\s\"'<>]*@", re.IGNORECASE)
_HEADER = re.compile(r"((?:proxy-)?authorization\s*:\s*)[^\r\n]+", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""(\b[\w-]*(?:passw(?:or)?d|passphrase|passwd|pwd|user[-_]pw|user[-_]id|token|secret|api[-_]?key)\b["']?\s*[=:]\s*)"""
    r"""(?:\([a-z]+\))?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s&;,"'!}\]]+)""",
    re.IGNORECASE,
)


class Address:
    """A network address taken apart: what everybody may see, and who is to log in.

    Attributes:
        public: The address without credentials.
        user: Name to log in with; empty for none.
        password: Password that goes with it.
    """

    __slots__ = ("password", "public", "user")

    def __init__(self, public: str, user: str = "", password: str = "") -> None:
        self.public = public
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"Address({self.public!r})"


def address_of(url: str) -> Address:
    """Takes an address such as ``rtsp://user:password@host:554/path`` apart (RFC 3986, 3.2).

    Args:
        url: The address. Signs of the credentials that have a meaning in addresses are written ``%40``, ``%2F`` ….

    Returns:
        Its parts, user and password decoded.

    Raises:
        SourceError: It is no address, or signs of the password make it ambiguous; the message does not repeat it.
    """
    scheme, sign, rest = url.partition("://")
    if not sign or not rest or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise SourceError(f"{redacted(url)!r} is no address; write it like rtsp://camera.local:554/stream")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, host = authority.rpartition("@")
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]@]+)(:[0-9]{1,5})?", host):
        raise SourceError(
            f"the address of a camera at {scheme}:// has no readable host; in a user name or password, write the signs "
            "/ ? # @ : and % as %2F %3F %23 %40 %3A and %25"
        )
    user, _, password = login.partition(":")
    return (
        Address(f"{scheme}://{host}{rest[len(authority) :]}", unquote(user), unquote(password)) if at else Address(url)
    )


def secret(text: str) -> str:
    """A secret as an option gives it: the secret itself, or ``env:NAME`` for what an environment variable holds.

    Args:
        text: The option.

    Raises:
        BadOption: There is no such variable, or nothing in it.
    """
    kind, colon, name = text.partition(":")
    if kind != "env" or not colon:
        return text
    found = os.environ.get(name, "")
    if not found:
        raise BadOption(
            f"the environment variable '{name}', which is to hold a secret, is not set; set it, and start again"
        )
    return found


def redacted(text: str, *known: str) -> str:
    """A text without the credentials in it.

    Hidden are: all before the last ``@`` of a word with ``://`` in it, values assigned to names such as ``password``,
    ``user-pw`` and ``token``, ``Authorization`` headers, and what the caller knows to be secret, also in the spelling of
    an address. More is hidden than need be where a text can be read in two ways.

    Args:
        text: Any text.
        known: Secrets that may be in it.
    """
    spellings = {form for secret in known for form in (secret, quote(secret, safe=""), quote(secret), unquote(secret))}
    for secret in sorted(spellings, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    text = _IN_ADDRESS.sub(rf"\1{_HIDDEN}@", text)
    text = _HEADER.sub(rf"\1{_HIDDEN}", text)
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", text)


def shown(value: Any) -> Any:
    """Plain values, such as those of a station file, without the credentials in them.

    Hidden is whatever `redacted` hides in a text, and every value that goes by the name of a secret: one of
    `SECRET_OPTIONS`, or one that `redacted` looks for.

    Args:
        value: Mappings, lists, texts, numbers, truth values, None.
    """
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(str(key)): _HIDDEN if _secret(str(key), it) else shown(it) for key, it in value.items()}
    return [shown(it) for it in value] if isinstance(value, list | tuple) else value


def _secret(name: str, value: Any) -> bool:
    """Whether a value is a secret by its name. An element may be called ``user``, and nothing given keeps no secret."""
    if value in (None, "") or isinstance(value, Mapping):
        return False
    return name in SECRET_OPTIONS or redacted(f"{name}=x") != f"{name}=x"
