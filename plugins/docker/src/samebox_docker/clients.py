"""ClientPool: docker-py's clients, one for each call that is under way."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import docker.constants
import docker.errors
import docker.tls
import requests.exceptions
import requests.utils
import urllib3.exceptions

from samebox.engine.oci.answers import check_answer
from samebox.engine.oci.refusal import RefusedError
from samebox_docker.answers import ANSWERS
from samebox_docker.credentials import Client
from samebox_docker.failure import no_docker, refused, unreachable
from samebox_docker.ssh import SshLink
from samebox_docker.transport import LinkAdapter, TlsAdapter, UnixLink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox_docker.address import Address
    from samebox_docker.transport import Link

_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")
IDLE = 8
"""How many idle clients are kept; more are made as calls need them."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a daemon says of itself at once."""

    api_version: str
    """The newest version of the API that it speaks."""
    server: str
    """Its name and version."""


class ClientPool:
    """Lends clients of one daemon: `docker.APIClient`, typed Any as its stubs have only part of it.

    docker-py is not thread safe by its own statement (docker-py #3229), so each call has a client to itself. Nor can
    its connections be shared with a forked child, which has to make a pool of its own.

    Args:
        address: Where the daemon is.
        timeout: How long to wait for one answer, in seconds.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._version = ""

    @property
    def engine(self) -> str:
        """Which engine and where, for errors."""
        return f"Docker at {self.address.url}"

    @contextlib.contextmanager
    def client(self, timeout: float | None = None) -> Iterator[Any]:
        """Lend a client; errors of docker-py and of the connection leave as samebox's own.

        Args:
            timeout: Another time to wait for an answer, in seconds.

        Raises:
            RefusedError: The daemon answered with an error.
            EngineUnavailableError: The daemon can't be reached, or what answers is no Docker daemon.
        """
        with self._lock:
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._make(self._api_version())
        client.timeout = timeout or self._timeout
        try:
            with self._translated(client):
                yield client
        except BaseException as error:
            # It may stand in the middle of an answer. As long as that is open, the daemon goes on with its work; and
            # its connection would come back to a client that has another one by then.
            if client.latest is not None:
                client.latest.close()
            if isinstance(error, RefusedError):
                self._give_back(client)
            else:
                client.close()
            raise
        self._give_back(client)

    def greet(self) -> Greeting:
        """Ask the daemon for a sign of life, and what it is.

        Raises:
            EngineUnavailableError: It can't be reached, or it is no Docker daemon.
        """
        with self.client() as client:
            return self._greet(client)

    def close(self) -> None:
        """Close the connections of idle clients; they open new ones when they are needed again."""
        with self._lock:
            for client in self._idle:
                client.close()

    def _api_version(self) -> str:
        """Return the newest version of the API that the daemon speaks; asked for once."""
        if not self._version:
            client = self._make(docker.constants.MINIMUM_DOCKER_API_VERSION)
            with contextlib.closing(client), self._translated(client):
                self._version = self._greet(client).api_version
        return self._version

    def _greet(self, client: Any) -> Greeting:
        # Not /version: for that one Docker runs other programs, which takes it ten times as long (9 ms).
        response = client.get(f"{client.base_url}/_ping", timeout=client.timeout)
        response.raise_for_status()
        greeting = Greeting(
            api_version=response.headers.get("Api-Version", ""),
            server=response.headers.get("Server", ""),
        )
        if not greeting.api_version:
            raise no_docker(self.address, "what answers there is no Docker daemon", f"Correct {self.address.named}.")
        if "Libpod-Api-Version" in response.headers:
            remedy = f"Take engine='podman' with options url={self.address.url!r}, or correct {self.address.named}."
            raise no_docker(self.address, "what answers there is Podman, in Docker's words", remedy)
        return greeting

    @contextlib.contextmanager
    def _translated(self, client: Any) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.HTTPError as error:  # docker-py's APIError is one
            status = error.response.status_code if error.response is not None else 0
            raise refused(self.address, status, _words(error)) from None
        except (json.JSONDecodeError, requests.exceptions.JSONDecodeError, docker.errors.StreamParseError):
            found = "what answers there is no Docker daemon"
            remedy = f"Correct {self.address.named}, or look at what stands between."
            raise no_docker(self.address, found, remedy) from None
        except (
            requests.exceptions.RequestException,
            docker.errors.DockerException,
            urllib3.exceptions.HTTPError,
            OSError,  # requests, of a certificate's file that is not there any more
        ) as error:
            said = getattr(client.get_adapter(client.base_url), "said", "")
            raise unreachable(self.address, error, said) from None

    def _make(self, version: str) -> Any:
        address, tls = self.address, None
        url = address.url if address.scheme == "tcp" else "unix:///replaced"  # the adapter of it is, below
        try:
            if address.tls is not None and address.scheme == "tcp":
                pair = (str(address.tls.cert), str(address.tls.key)) if address.tls.cert and address.tls.key else None
                ca = str(address.tls.ca) if address.tls.ca else None
                tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=address.tls.verify)
            client: Any = Client(base_url=url, version=version, tls=tls or False)
        except docker.errors.DockerException as error:
            raise no_docker(address, f"docker-py refuses it: {error}", f"Correct {address.named}.") from None
        client.timeout = self._timeout
        client.latest = None

        def note(response: requests.Response, **how: Any) -> None:
            client.latest = response
            if not how.get("stream"):
                self._check(response)

        client.hooks["response"].append(note)
        # Else REQUESTS_CA_BUNDLE replaces the authority that was given (requests #3829), and .netrc is looked for.
        client.trust_env = False
        if address.scheme == "tcp":
            client.proxies.update(requests.utils.get_environ_proxies(client.base_url))
            client.mount("https://", TlsAdapter())
        else:
            client.mount("http+docker://", LinkAdapter(self._link))
        return client

    def _check(self, response: requests.Response) -> None:
        """Check the form of an answer, before docker-py reads it; see `samebox_docker.answers`."""
        if response.status_code >= 400:
            return
        try:
            answer = response.json()
        except ValueError:
            return  # none that has one, or docker-py's to find
        path = _VERSION.sub("", unquote(urlsplit(str(response.request.url)).path))
        check_answer(ANSWERS, str(response.request.method).lower(), path, answer, self.engine)

    def _link(self) -> Link:
        if self.address.scheme == "ssh":
            return SshLink(self.address.url, self._timeout)
        return UnixLink(self.address.socket_path, self._timeout)

    def _give_back(self, client: Any) -> None:
        with self._lock:
            if len(self._idle) < IDLE:
                self._idle.append(client)
                return
        client.close()


def _words(error: requests.exceptions.HTTPError) -> str:
    if isinstance(error, docker.errors.APIError) and error.explanation:
        return str(error.explanation)
    try:
        return str(error.response.json()["message"])
    except (KeyError, TypeError, ValueError):
        return error.response.text.strip()[:500] or str(error)
