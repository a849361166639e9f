"""Daemon: one Docker daemon as this process knows it, shared by all engine objects with the same address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from samebox.engine.oci.made_images import MadeImages
from samebox_docker.agent_volume import AgentVolume
from samebox_docker.build import DockerBuilder
from samebox_docker.clients import ClientPool, Greeting
from samebox_docker.containers import Containers
from samebox_docker.images import Images
from samebox_docker.network import Network
from samebox_docker.users import Users
from samebox_docker.volumes import Volumes
from samebox_docker.workdir import WorkdirOwners

if TYPE_CHECKING:
    from samebox_docker.address import Address

_daemons: dict[tuple[int, Address, float], Daemon] = {}


def daemon_at(address: Address, timeout: float) -> Daemon:
    """Return the daemon at an address, always the same object in one process.

    Each sandbox has an engine object of its own; what it learns of the daemon and of images serves the next one, which
    saves 20 ms of its creation. A forked child begins anew, and leaves its parent's connections open, as TLS and ssh
    would say good-bye on them.

    Args:
        address: Where it is.
        timeout: How long to wait for one answer, in seconds.
    """
    key = os.getpid(), address, timeout
    # No lock: one that another thread held at a fork would never be free in the child.
    return _daemons.get(key) or _daemons.setdefault(key, Daemon(address, timeout))


class Daemon:
    """The parts that share the clients of one daemon. Importing this imports docker-py.

    Args:
        address: Where it is.
        timeout: How long to wait for one answer, in seconds.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.pool = ClientPool(address, timeout)
        self.network = Network(self.pool, self._identity)
        self.containers = Containers(self.pool, self.network)
        self.images = Images(self.pool)
        self.made_images = MadeImages(self.images)
        self.agent = AgentVolume(self.pool)
        self.users = Users(self.pool)
        self.volumes = Volumes(self.pool)
        self.builder = DockerBuilder(self.pool, self.images)
        self.workdirs = WorkdirOwners(self.pool)
        self._described: tuple[Greeting, dict[str, Any]] | None = None

    def _identity(self) -> str:
        """Return what tells the daemon from others of its host: the ID alone may be that of the host."""
        _, info = self.describe()
        return f"{info.get('ID')} {info.get('DockerRootDir')}"

    def describe(self) -> tuple[Greeting, dict[str, Any]]:
        """Return what the daemon says of itself, and of its host.

        It is greeted each time, which tells whether it is there. What it says of its host is asked for anew only when
        it is another version.

        Raises:
            EngineUnavailableError: It can't be reached.
        """
        greeting = self.pool.greet()
        described = self._described
        if described is None or described[0] != greeting:
            with self.pool.client() as client:
                described = self._described = greeting, client.info()
        return described
