"""Download one file over HTTP, complete and verified, or not at all."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from models.errors import DownloadError
from models.files import atomic_write

Progress = Callable[[int, int | None], None]

_CHUNK = 1 << 16


def download(
    url: str,
    target: Path,
    *,
    verify: Callable[[str], None],
    remedy: str,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> str:
    """Fetch `url` to `target` and return its SHA-256.

    `verify` is called with the hash before the file appears at `target`, and rejects the file by raising.
    `progress(done_bytes, total_bytes or None)` is called after each chunk; raising in it ends the download. `timeout_s`
    limits the connection and each wait for data, not the total time. `remedy` is appended to the message of a
    DownloadError. A failure leaves nothing behind.
    """

    def failure(what: str) -> DownloadError:
        return DownloadError(f"{url}: {what}. {remedy}")

    digest = hashlib.sha256()
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer, atomic_write(target) as stream:
            length = answer.headers.get("Content-Length")
            total = int(length) if length is not None and length.isdigit() else None
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            if total is not None and done != total:
                raise failure(f"the connection ended after {done} of {total} bytes")
            verify(digest.hexdigest())
    except urllib.error.HTTPError as error:
        error.close()
        raise failure(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise failure(f"cannot be reached: {error.reason}") from error
    except TimeoutError as error:
        raise failure(f"no data for {timeout_s:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise failure(f"the download failed: {error or type(error).__name__}") from error
    return digest.hexdigest()
