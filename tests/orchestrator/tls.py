"""TLS for tests: a throwaway authority, its certificates, and a proxy before a server that has no TLS of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.broker import exec_with_parent
from tests.orchestrator import tls_proxy

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates. Its files are `NAME.crt` and `NAME.key` in its folder; its own certificate is `ca.crt`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        self._openssl(
            *("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"),
            *("-subj", "/CN=throwaway", "-addext", usage),
        )

    def sign(self, name: str, hosts: str = "DNS:localhost") -> None:
        """A certificate for these hosts, in the words of OpenSSL's subjectAltName."""
        self._openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.folder / "extensions").write_text(
            f"subjectAltName={hosts}\nbasicConstraints=critical,CA:FALSE\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "extensions", "-out", f"{name}.crt"),
        )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


@contextlib.contextmanager
def proxy(socket: Path, authority: Authority, *, client_certificates: bool = False) -> Iterator[int]:
    """The port of localhost where the server of `socket` speaks TLS, with the certificate `server` of `authority`."""
    files = [str(authority.folder / name) for name in ("server.crt", "server.key", "ca.crt")]
    command = [tls_proxy.__file__, str(socket), *files[: 3 if client_certificates else 2]]
    started = [sys.executable, exec_with_parent.__file__, str(os.getpid()), sys.executable, *command]
    # What a refused handshake makes it print is the tests' purpose.
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline())
        finally:
            running.kill()
