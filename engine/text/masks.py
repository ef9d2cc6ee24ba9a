"""URLs as they may be shown and stored: `***` stands for what lets somebody in.

User and password before the host; values whose key sounds secret, in the query, or in the path, where many cameras have
them; those of a query that look like a signature; tokens; keys of RTMP streams; and whatever stands behind `#`. Rather
too much than a part of it: nobody opens a masked URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_MASK = "***"
_SECRET_KEY = re.compile(
    r"pas|pwd|psw|token|secret|key|auth|sig|cred|policy|hmac|hash|md5|hdn[et]|session|ticket|jwt|access"
    r"|^(?:user(?:name)?|usr|login(?:use)?|pw|pin|code|[up])$",
    re.IGNORECASE,
)
# Long, of one piece, with letters and digits mixed: a signature, a token, a signed expiry.
_OPAQUE = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w+/=.~%-]{32,}")
# In a path: `user=a&password=b&channel=1`, `user=a_password=b_channel=1`.
_PAIR_IN_PATH = re.compile(r"(?:(?<=[/&_,])|^)([A-Za-z]+)=((?:(?!_[A-Za-z]+=)[^&/,])*)")
_TOKEN = re.compile(r"(?<=/)eyJ[\w-]{8,}(?:\.[\w-]+)*")
_PARAMETERS = re.compile(r"[^&;?]+")
_HOST_PORT = re.compile(r"(\[[^]]*\]|[^:]+)(:\d*)?")
_URL_IN_TEXT = re.compile(r"\b[A-Za-z][\w+.-]*://[^\s\"'<>]+")
_UP_TO_AT = re.compile(r"(\w+://)\S*@")


def without_password(url: str) -> str:
    """Return the URL as it may be shown. What is none, such as a path, is left as it is."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    rest, _, fragment = _without_user(scheme.lower(), rest).partition("#")
    place, mark, query = rest.partition("?")
    place = _PAIR_IN_PATH.sub(lambda pair: _parameter(pair[0]), _TOKEN.sub(_MASK, place))
    if scheme.lower().startswith("rtmp"):
        place = "/".join(_MASK if _OPAQUE.fullmatch(step) else step for step in place.split("/"))
    query = _PARAMETERS.sub(lambda pair: _parameter(pair[0]), query)
    path, semicolon, parameters = place.partition(";")
    parameters = _PARAMETERS.sub(lambda pair: _parameter(pair[0]), parameters)
    return f"{scheme}://{path}{semicolon}{parameters}{mark}{query}{f'#{_MASK}' if fragment else ''}"


def in_text(text: str) -> str:
    """Return lines of text with every URL in them masked."""
    if "://" not in text:
        return text
    text = _UP_TO_AT.sub(rf"\1{_MASK}@", text)
    return _URL_IN_TEXT.sub(lambda url: without_password(url[0]), text)


def _without_user(scheme: str, rest: str) -> str:
    """Return up to the last `@`: a password may hold what should have been escaped. Only the path of a web page or an
    object has `@` of its own, behind what can be no password."""
    authority = rest.partition("/")[0]
    end = rest.rfind("@")
    if scheme in ("http", "https", "s3", "gs", "az"):
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
