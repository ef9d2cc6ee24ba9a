"""The kinds of receivers. Each delivers one event as JSON and raises DeliveryError if that failed.

COMMAND ARG ... the event on its standard input; run directly, without a shell http://, https:// POST, signed if there
is a secret; no redirect is followed mqtt://, mqtts://HOST/TOPIC published at QoS 1 (extra `mqtt`)
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from engine.errors import ConfigError, describe_os_error
from engine.text.masks import without_password

_HTTP, _MQTT = ("http", "https"), ("mqtt", "mqtts")


class DeliveryError(Exception):
    """An event was not delivered; says why, without secrets. A later try may succeed."""


class Receiver(Protocol):
    """`name` is for messages: without passwords and without a command's arguments."""

    name: str

    def deliver(self, event_id: str, body: bytes) -> None:
        """Deliver one event. Raises DeliveryError."""
        ...

    def close(self) -> None: ...


def check_target(target: str) -> str:
    """Return `target`. Raises ConfigError if it can't be used as a receiver here."""
    receiver_of(target, None, 1.0).close()
    return target


def receiver_of(target: str, secret: bytes | None, timeout_s: float) -> Receiver:
    """Return the receiver for a target. Raises ConfigError."""
    kind, found, _ = target.partition("://")
    if found and kind.lower() in _HTTP:
        return _Url(target, secret, timeout_s)
    if found and kind.lower() in _MQTT:
        return _Mqtt(target, timeout_s)
    if found:
        raise ConfigError(f"on_event can't send to {without_password(target)}: http, https, mqtt, mqtts or a command.")
    return _Command(target, timeout_s)


class _Command:
    """A program on this machine. It reads the event from standard input; no part of it becomes an argument."""

    def __init__(self, line: str, timeout_s: float) -> None:
        try:
            self._arguments = shlex.split(line)
        except ValueError as error:
            raise ConfigError(f"on_event: the command can't be parsed: {error}.") from error
        program = shutil.which(self._arguments[0]) if self._arguments else None
        if program is None:
            raise ConfigError(f"on_event: there is no program {self._arguments[0] if self._arguments else ''!r} here.")
        self.name = os.path.basename(program)
        self._arguments[0] = program
        self._timeout_s = timeout_s

    def deliver(self, event_id: str, body: bytes) -> None:
        try:
            process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that its child processes end with it
            )
        except OSError as error:
            raise DeliveryError(f"can't be started: {describe_os_error(error)}") from error
        try:
            process.communicate(body, timeout=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise DeliveryError(f"took longer than {self._timeout_s:g} s") from error
        except OSError as error:
            raise DeliveryError(f"did not read the event: {describe_os_error(error)}") from error
        if process.returncode:
            raise DeliveryError(f"ended with status {process.returncode}")

    def close(self) -> None:
        """Do nothing: nothing is kept open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: events go only to the server that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Url:
    """An HTTP server. `X-Yolo-Signature: sha256=...` is the HMAC of "TIMESTAMP.BODY"; the time is in
    `X-Yolo-Timestamp`, and `X-Yolo-Event` has the event's id, the same at every try."""

    def __init__(self, url: str, secret: bytes | None, timeout_s: float) -> None:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ConfigError(f"on_event: {without_password(url)} names no host.")
        self.name = without_password(url)
        self._url, self._secret, self._timeout_s = url, secret, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def deliver(self, event_id: str, body: bytes) -> None:
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Yolo-Event": event_id, "X-Yolo-Timestamp": stamp}
        if self._secret is not None:
            signature = hmac.new(self._secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers["X-Yolo-Signature"] = f"sha256={signature}"
        try:
            request = urllib.request.Request(self._url, body, headers, method="POST")
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise DeliveryError(f"answered with status {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            text = describe_os_error(reason) if isinstance(reason, OSError) else type(error).__name__
            raise DeliveryError(f"can't be reached: {text}") from error

    def close(self) -> None:
        """Do nothing: each event uses a new connection."""


class _Mqtt:
    """An MQTT broker; paho keeps the connection."""

    def __init__(self, url: str, timeout_s: float) -> None:
        if importlib.util.find_spec("paho") is None:
            raise ConfigError("MQTT needs paho-mqtt, which is not installed: pip install 'yolo-engine[mqtt]'")
        parts = urlsplit(url)
        self._topic = unquote(parts.path.lstrip("/"))
        if (
            not parts.hostname
            or not self._topic
            or "#" in url
            or parts.query
            or any(sign in self._topic for sign in "+#\0")
        ):
            raise ConfigError(f"on_event: {without_password(url)} must be mqtt://HOST[:PORT]/TOPIC.")
        self.name = without_password(url)
        self._parts, self._timeout_s = parts, timeout_s
        self._client: Any = None

    def deliver(self, event_id: str, body: bytes) -> None:
        try:
            if self._client is None:
                self._client = self._connected()
            sent = self._client.publish(self._topic, body, qos=1)
            sent.wait_for_publish(self._timeout_s)
            taken = sent.is_published()
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            text = describe_os_error(error) if isinstance(error, OSError) else str(error)
            raise DeliveryError(f"can't be reached: {text}") from error
        if not taken:
            self.close()  # or the event would be sent twice once the broker is back
            raise DeliveryError("did not take the event in time")

    def _connected(self) -> Any:
        from paho.mqtt import client as mqtt

        tls = self._parts.scheme.lower() == "mqtts"
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.connect_timeout = self._timeout_s
        if self._parts.username is not None:
            password = self._parts.password
            client.username_pw_set(unquote(self._parts.username), None if password is None else unquote(password))
        if tls:
            client.tls_set()
        client.connect(self._parts.hostname or "", self._parts.port or (8883 if tls else 1883))
        client.loop_start()
        return client

    def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.disconnect()
            client.loop_stop()
