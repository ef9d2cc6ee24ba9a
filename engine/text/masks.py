"""URLs as they may be shown and stored: `***` stands for what lets somebody in.

User and password before the host, query values whose key sounds secret or that look like a signature, and whatever
stands behind `#`. Rather too much than a part of it: nobody opens a masked URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_MASK = "***"
_SECRET_KEY = re.compile(
    r"pass|pwd|token|secret|key|auth|sig|cred|policy|hmac|hdn[et]|session|ticket|jwt|access|^(?:user(?:name)?|usr|login|pw)$",
    re.IGNORECASE,
)
# Long, of one piece, with letters and digits mixed: a signature, a token, a signed expiry.
_OPAQUE = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w+/=.~%-]{32,}")
_PARAMETERS = re.compile(r"[^&;?]+")
_HOST_PORT = re.compile(r"(\[[^]]*\]|[^:]+)(:\d*)?")
_URL_IN_TEXT = re.compile(r"\b[A-Za-z][\w+.-]*://[^\s\"'<>]+")
_UP_TO_AT = re.compile(r"(\w+://)\S*@")


def without_password(url: str) -> str:
    """The URL as it may be shown. What is none, such as a path, is left as it is."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest, _, fragment = _without_user(scheme.lower(), rest).partition("#")
    place, mark, query = rest.partition("?")
    query = _PARAMETERS.sub(lambda pair: _parameter(pair[0]), query)
    path, semicolon, parameters = place.partition(";")
    parameters = _PARAMETERS.sub(lambda pair: _parameter(pair[0]), parameters)
    return f"{scheme}://{path}{semicolon}{parameters}{mark}{query}{f'#{_MASK}' if fragment else ''}"


def in_text(text: str) -> str:
    """Lines of text with every URL in them masked."""
    if "://" not in text:
        return text
    text = _UP_TO_AT.sub(rf"\1{_MASK}@", text)
    return _URL_IN_TEXT.sub(lambda url: without_password(url[0]), text)


def _without_user(scheme: str, rest: str) -> str:
    """Up to the last `@`: a password may hold what should have been escaped. Only the path of a web page has `@` of its
    own, behind what can be no password."""
    authority = rest.partition("/")[0]
    end = rest.rfind("@")
    if scheme in ("http", "https"):
        if "@" in authority:
            end = authority.rfind("@")
        elif _HOST_PORT.fullmatch(re.split("[?#]", authority)[0]):
            return rest
    return rest if end < 0 else f"{_MASK}@{rest[end + 1 :]}"


def _parameter(pair: str) -> str:
    key, sign, value = pair.partition("=")
    if not sign:
        return _MASK if _OPAQUE.fullmatch(pair) else pair
    hidden = _SECRET_KEY.search(unquote(key)) or _OPAQUE.fullmatch(value) or "@" in unquote(value)
    return f"{key}={_MASK if value and hidden else value}"
