"""Stores: one for each bucket, through obstore. The only place that knows its client and the client's errors.

A request that is throttled (503, 429) or fails on the way is repeated with growing pauses. What is wrong for good
becomes a StorageError with the cause and the remedy; neither credentials nor the client's own text, which repeats URLs
and answers, appear in it.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from engine.errors import StorageError
from engine.storage.blocks import BLOCK_BYTES, Blocks
from engine.storage.urls import Place

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

R = TypeVar("R")

# What the client repeats by itself, and how often it is then asked again while a video is being read.
CLIENT_TRIES = 4
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
_TIMEOUT = timedelta(seconds=30)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_PART_BYTES = 8 << 20
_ONE_REQUEST_BYTES = 32 << 20  # what is sent in one request leaves no parts where it is broken off

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_ASKED = re.compile(r"Error performing \w+ (https?://[^\s/?]+)")

_EXPIRED = frozenset("ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired InvalidToken".split())
_WRONG = frozenset("InvalidAccessKeyId SignatureDoesNotMatch InvalidClientTokenId AuthFailure".split())
_ELSEWHERE = frozenset("AuthorizationHeaderMalformed PermanentRedirect IllegalLocationConstraintException".split())
_METADATA_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "the network",
    "az": "AZURE_STORAGE_ENDPOINT",
}


def _slept(seconds: float) -> bool:
    """Pause, and return that the answer is wanted still."""
    time.sleep(seconds)
    return False


class ObjectFacts(NamedTuple):
    """An object as its store lists it."""

    key: str
    size: int
    etag: str
    modified: datetime


class Version(NamedTuple):
    """The content of an object, and the etag that it had then."""

    data: bytes
    etag: str


class Store:
    """A bucket. Its methods raise StorageError and may be called by any thread."""

    def __init__(self, scheme: str, bucket: str) -> None:
        self._at = Place(scheme, bucket, "")
        self._client = _client(scheme, bucket)

    def open(self, key: str) -> StoredObject:
        """Return an object, open for reading: with one request, which brings its first block, too."""

        def ask() -> StoredObject:
            got = obstore.get(self._client, key, options={"range": (0, BLOCK_BYTES)})
            size, etag = int(got.meta["size"]), str(got.meta["e_tag"] or "")
            return StoredObject(self, self._at._replace(key=key), size, etag, bytes(got.bytes()))

        try:
            return self._tried(ask, key)
        except StorageError as error:
            if "416" not in str(error):
                raise
        facts = self._facts(key)  # no range lies in an empty object
        return StoredObject(self, self._at._replace(key=key), facts.size, facts.etag, b"")

    def facts(self, key: str) -> ObjectFacts | None:
        """Return size and etag of an object; None if there is none."""
        try:
            return self._facts(key)
        except StorageError as error:
            if error.missing:
                return None
        try:
            self.open(key).close()  # the answer to a HEAD has no text, which tells what is wrong
            return self._facts(key)
        except StorageError as error:
            if error.missing:
                return None
            raise

    def _facts(self, key: str) -> ObjectFacts:
        meta = self._tried(lambda: obstore.head(self._client, key), key)
        return ObjectFacts(key, int(meta["size"]), str(meta["e_tag"] or ""), meta["last_modified"])

    def list(self, prefix: str) -> Iterator[ObjectFacts]:
        """Yield all objects whose keys begin with `prefix`, which ends at a slash or is empty."""
        batches = self._tried(lambda: iter(obstore.list(self._client, prefix or None)), prefix)
        while (batch := self._tried(lambda: next(batches, None), prefix)) is not None:
            for each in batch:
                yield ObjectFacts(str(each["path"]), int(each["size"]), str(each["e_tag"] or ""), each["last_modified"])

    def read(self, key: str, start: int, end: int, etag: str, wait: Callable[[float], bool]) -> bytes:
        """Return the bytes from `start` to before `end` of the object as it was when it had this etag. Repeated while
        it may help; `wait` pauses for some seconds and returns whether nobody wants them any more."""
        options: GetOptions = {"range": (start, end)}
        if etag:
            options["if_match"] = etag

        def ask() -> bytes:
            data = bytes(obstore.get(self._client, key, options=options).bytes())
            if len(data) != end - start:
                raise StorageError("an answer broke off", transient=True)
            return data

        return self._repeated(ask, key, wait)

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names right below a prefix, which ends at a slash or is empty: of objects, and of what has others
        below it."""
        found = self._repeated(lambda: obstore.list_with_delimiter(self._client, prefix or None), prefix)
        keys = [*found["common_prefixes"], *(str(each["path"]) for each in found["objects"])]
        return sorted(key.rstrip("/").removeprefix(prefix) for key in keys)

    def get(self, key: str) -> bytes | None:
        """Return a small object as a whole; None if there is none."""
        found = self.version(key)
        return None if found is None else found.data

    def version(self, key: str) -> Version | None:
        """Return a small object as a whole, with its etag; None if there is none."""

        def ask() -> Version:
            got = obstore.get(self._client, key)
            return Version(bytes(got.bytes()), str(got.meta["e_tag"] or ""))

        try:
            return self._repeated(ask, key)
        except StorageError as error:
            if error.missing:
                return None
            raise

    def fetch(self, key: str, file: IO[bytes]) -> None:
        """Write an object to an open file, in parts."""

        def copy() -> None:
            file.seek(0)
            file.truncate()
            for part in obstore.get(self._client, key).stream(min_chunk_size=_PART_BYTES):
                file.write(part)

        self._repeated(copy, key)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, which appears as a whole or not at all. A large file goes in parts; what of them was sent
        is dropped if it can't be completed."""
        in_parts = not self.takes_at_once(data)
        self._repeated(
            lambda: obstore.put(
                self._client, key, data, use_multipart=in_parts, chunk_size=_PART_BYTES, max_concurrency=4
            ),
            key,
        )

    def takes_at_once(self, data: bytes | Path) -> bool:
        """Return whether this is written with one request, which may have a condition, and not in parts."""
        return not isinstance(data, Path) or data.stat().st_size <= _ONE_REQUEST_BYTES

    def create(self, key: str, data: bytes) -> str | None:
        """Write an object where there is none (If-None-Match: *), and return its etag; None if there is one."""
        return self._on_condition(key, data, "create")

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """Write an object in the place of the one with this etag (If-Match), and return the new one's; None if another
        one is there by now, or none."""
        condition = {"e_tag": etag}
        if self._at.scheme == "gs":  # Google knows conditions on generations alone
            try:
                found = self._repeated(lambda: obstore.head(self._client, key), key)
            except StorageError as error:
                if error.missing:
                    return None
                raise
            if str(found["e_tag"] or "").strip('"') != etag.strip('"'):
                return None
            condition = {"version": str(found["version"] or "")}
        return self._on_condition(key, data, cast("PutMode", condition))

    def _on_condition(self, key: str, data: bytes, mode: PutMode) -> str | None:
        try:
            put = self._repeated(lambda: obstore.put(self._client, key, data, mode=mode), key)
        except FileExistsError:
            return None
        except StorageError as error:
            if error.outdated or (error.missing and mode != "create"):
                return None
            raise
        return str(put["e_tag"] or "")

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        try:
            self._repeated(lambda: obstore.delete(self._client, key), key)
        except StorageError as error:
            if not error.missing:
                raise

    def _repeated(self, ask: Callable[[], R], key: str, wait: Callable[[float], bool] = _slept) -> R:
        """Return the answer, asked for again while that may help. `wait` pauses for some seconds and returns whether
        nobody wants it any more. Raises what `_tried` raises."""
        for pause_s in PAUSES_S:
            try:
                return self._tried(ask, key)
            except StorageError as error:
                if not error.transient:
                    raise
                log.info("%s: %s; asked again in %g s", self._at._replace(key=key).url, error, pause_s)
                if wait(pause_s):
                    raise
        return self._tried(ask, key)

    def _tried(self, ask: Callable[[], R], key: str) -> R:
        """Return the answer. Raises StorageError, and FileExistsError where something must not be there and is."""
        try:
            return ask()
        except StorageError:
            raise
        except exceptions.AlreadyExistsError as error:
            raise FileExistsError(key) from error
        except (exceptions.BaseError, OSError) as error:
            raise _told(error, self._at._replace(key=key)) from None  # its text has URLs, answers


class StoredObject:
    """An object, open for reading: each of its bytes is of the version that was found when it was opened."""

    def __init__(self, store: Store, place: Place, size: int, etag: str, first: bytes) -> None:
        self.place = place
        self.size = size
        self.etag = etag
        self.problem: StorageError | None = None  # why it could not be read further
        self._store = store
        self._closed = threading.Event()
        self._blocks = Blocks(self._fetch, size, first=first)

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start`, fewer at the end. Raises StorageError."""
        try:
            data = self._blocks.read(start, count)
        except StorageError as error:
            self.problem = error
            raise
        self.problem = None
        return data

    def close(self) -> None:
        self._closed.set()
        self._blocks.close()

    def _fetch(self, start: int, end: int) -> bytes:
        return self._store.read(self.place.key, start, end, self.etag, self._closed.wait)


@cache
def store(scheme: str, bucket: str) -> Store:
    """Return the store of a bucket, one for the process. Raises StorageError."""
    return Store(scheme, bucket)


def _client(scheme: str, bucket: str) -> ObjectStore:
    retry: RetryConfig = {
        "max_retries": CLIENT_TRIES,
        "retry_timeout": timedelta(seconds=60),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=3), "base": 2},
    }
    options: ClientConfig = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": True}
    try:
        if scheme == "s3":
            return S3Store(bucket, config=_settings(), client_options=options, retry_config=retry)
        kind = GCSStore if scheme == "gs" else AzureStore
        return kind(bucket, client_options=options, retry_config=retry)
    except (exceptions.BaseError, ValueError) as error:
        raise StorageError(f"can't be reached: its settings are not valid. Check {_VARIABLES[scheme]}") from error


def _settings() -> S3Config:
    """Return the settings that obstore does not find in the environment by itself."""
    found: S3Config = _of_profile()
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        found["endpoint"] = endpoint
    return found


def _of_profile() -> S3Config:
    """Return the keys of a profile in AWS's credentials file where the environment has none."""
    if any(name in os.environ for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")):
        return {}
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    profiles = configparser.RawConfigParser()
    try:
        profiles.read(file, encoding="utf-8")
        keys = profiles[os.environ.get("AWS_PROFILE") or "default"]
    except (OSError, ValueError, KeyError, configparser.Error):
        return {}
    found: S3Config = {}
    if access := keys.get("aws_access_key_id"):
        found["access_key_id"] = access
    if secret := keys.get("aws_secret_access_key"):
        found["secret_access_key"] = secret
    if token := keys.get("aws_session_token"):
        found["session_token"] = token
    return found


def _told(error: BaseException, place: Place) -> StorageError:
    """Return what an error of the client's means, and what helps."""
    text = str(error)
    found = _STATUS.search(text)
    status, code = int(found[1]) if found else 0, (_CODE.search(text) or ("", ""))[1]
    asked = urlsplit(match[1]) if (match := _ASKED.search(text)) else None
    server = asked.netloc if asked is not None else ""
    variables = _VARIABLES[place.scheme]
    if isinstance(error, exceptions.InvalidPathError):
        return StorageError(
            "can't be read: an object there has a name that is no path, with `//`, `.` or `..`. Remove it, or name a "
            "prefix without it"
        )
    if any(host in server for host in _METADATA_HOSTS):
        return StorageError(f"can't be read: there are no credentials. Set {variables}")
    if code == "NoSuchBucket":
        return StorageError(f"does not exist: there is no bucket {place.bucket!r}. Check its name", missing=True)
    if code in _EXPIRED:
        return StorageError(f"can't be read: the credentials have expired ({code}). Renew them, and set {variables}")
    if code in _WRONG:
        return StorageError(f"can't be read: the credentials are not valid ({code}). Check {variables}")
    if code in _ELSEWHERE or status == 301 or "configured region" in text:
        return StorageError(f"can't be read: bucket {place.bucket!r} is in another region. Set AWS_REGION to that one")
    if isinstance(error, FileNotFoundError) or status == 404:
        return StorageError("does not exist (404). Check bucket and key", missing=True)
    if isinstance(error, exceptions.PreconditionError) or status == 412:
        return StorageError("has changed while it was read: run again once it is complete", outdated=True)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError) or status in (401, 403):
        shown = f"{status or 403}{f', {code}' if code else ''}"
        return StorageError(f"can't be read: access is denied ({shown}). Check {variables}, and what they may do there")
    if status in (429, 503) or code == "SlowDown":
        return StorageError(
            f"can't be read: the server asks for fewer requests ({code or status}), and still does after a while. "
            "Run with fewer --streams, or later",
            transient=True,
        )
    if status >= 500:
        return StorageError(f"can't be read: the server fails ({status}{f', {code}' if code else ''})", transient=True)
    if status:
        shown = f"{status}{f', {code}' if code else ''}"
        return StorageError(f"can't be read: the server refuses it ({shown}). Check the URL, and {variables}")
    if "timed out" in text or "Timeout" in text:
        return StorageError(f"can't be read: {server or 'the server'} does not answer in time", transient=True)
    where = server or "the server"
    return StorageError(
        f"can't be read: {where} can't be reached, or breaks off. Check {_ENDPOINTS[place.scheme]} and the network",
        transient=True,
    )
