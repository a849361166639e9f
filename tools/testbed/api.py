"""EngineApi: just enough of HTTP over a unix socket to use an engine's API without the engine's client library."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
from typing import TYPE_CHECKING, Any

from testbed.failure import TestbedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

REMEDY = "`status` says which engines run; `up` repairs what is missing."


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EngineApi:
    """The API of Docker, or Podman's own API.

    Args:
        path: The engine's socket.
        prefix: The beginning of the path of every request.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._path = path
        self._prefix = prefix

    @contextlib.contextmanager
    def _request(
        self, method: str, path: str, *, body: BinaryIO | None = None, missing: bool = False, timeout: float = 300
    ) -> Iterator[http.client.HTTPResponse | None]:
        """Send a request, and yield its answer; a 404 is an error, or None with `missing`."""
        connection = UnixConnection(self._path, timeout)
        tried = f"{method} {self._prefix}{path} at unix://{self._path}"
        try:
            headers = {"Content-Type": "application/x-tar"} if body is not None else {}
            connection.request(method, self._prefix + path, body=body, headers=headers)
            response = connection.getresponse()
            if missing and response.status == http.client.NOT_FOUND:
                yield None
                return
            if response.status >= http.client.BAD_REQUEST:
                said = response.read(2000).decode(errors="replace").strip()
                raise TestbedError(tried=tried, found=f"status {response.status}: {said}", remedy=REMEDY)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise TestbedError(tried=tried, found=str(error) or type(error).__name__, remedy=REMEDY) from error
        finally:
            connection.close()

    def call(self, path: str, *, method: str = "GET", timeout: float = 300) -> Any:
        """Ask for a document.

        Returns:
            The decoded answer; None if the answer is empty.

        Raises:
            TestbedError: The engine does not answer, or answers with an error.
        """
        with self._request(method, path, timeout=timeout) as response:
            body = b"" if response is None else response.read()
        return json.loads(body) if body else None

    def find(self, path: str) -> Any:
        """Ask for a document that need not be there.

        Returns:
            The decoded answer; None if there is no such document.

        Raises:
            TestbedError: The engine does not answer, or answers with another error.
        """
        with self._request("GET", path, missing=True) as response:
            return None if response is None else json.loads(response.read())

    def answers(self) -> bool:
        """Return whether the engine answers."""
        try:
            self.call("/version", timeout=10)
        except TestbedError:
            return False
        return True

    def delete(self, path: str) -> None:
        """Remove what a path names, unless it is gone already.

        Raises:
            TestbedError: The engine refuses.
        """
        with self._request("DELETE", path, missing=True) as response:
            if response is not None:
                response.read()

    def upload(self, path: str, archive: Path) -> None:
        """Send a file.

        Raises:
            TestbedError: The engine refuses the file, in its status or in the messages that follow.
        """
        with archive.open("rb") as body, self._request("POST", path, body=body) as response:
            said = "" if response is None else response.read().decode(errors="replace")
        # Docker answers 200 before it has read the archive, and reports a failure in a later line.
        for line in said.splitlines():
            if '"error' in line:
                remedy = "`down`, then `up` makes the archive anew."
                raise TestbedError(tried=f"POST {path} of {archive}", found=line, remedy=remedy)

    def download(self, path: str, destination: Path) -> None:
        """Receive a file, which is at its destination only when it is whole.

        Raises:
            TestbedError: The engine does not answer, or answers with an error.
        """
        draft = destination.with_name(destination.name + ".draft")
        with self._request("GET", path) as response, draft.open("wb") as output:
            if response is not None:
                shutil.copyfileobj(response, output)
        draft.replace(destination)
