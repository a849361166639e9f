"""The raw client libraries, used as their documentation shows: what samebox is measured against."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = os.environ.get("SAMEBOX_TEST_IMAGE_BUSYBOX", "busybox")
_HARDENING: dict[str, Any] = {"network_mode": "none", "cap_drop": ["ALL"]}


class RawContainer:
    """A running container of docker-py or podman-py."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def exec_true(self) -> None:
        """Run `true` by exec_run."""
        result = self._container.exec_run(["true"])
        assert (result.exit_code if hasattr(result, "exit_code") else result[0]) == 0

    def files(self, payload: bytes) -> None:
        """Write a file by put_archive and read it by get_archive."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("bench")
            member.size = len(payload)
            tar.addfile(member, io.BytesIO(payload))
        assert self._container.put_archive("/tmp", archive.getvalue())
        stream, _ = self._container.get_archive("/tmp/bench")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            file = tar.extractfile("bench")
            assert file is not None
            assert file.read() == payload


class RawDocker:
    """docker-py."""

    def __init__(self, url: str | None) -> None:
        import docker  # noqa: PLC0415 - an engine that is not measured need not be installed

        self._client = docker.DockerClient(base_url=url) if url else docker.from_env()

    @contextlib.contextmanager
    def container(self) -> Iterator[RawContainer]:
        """Run a container for the block."""
        container = self._client.containers.create(IMAGE, ["sleep", "1000"], **_HARDENING)
        try:
            container.start()
            yield RawContainer(container)
        finally:
            container.kill()  # its `sleep` ignores SIGTERM as PID 1, which Podman waits ten seconds for
            container.remove(force=True)

    def create_and_start(self) -> float:
        """Create and start a container, and return how long that took; its removal is not counted."""
        began = time.perf_counter()
        container = self._client.containers.create(IMAGE, ["sleep", "1000"], **_HARDENING)
        container.start()
        took = time.perf_counter() - began
        container.kill()
        container.remove(force=True)
        return took


class RawPodman(RawDocker):
    """podman-py, through Podman's own API."""

    def __init__(self, url: str | None) -> None:
        import podman  # noqa: PLC0415

        self._client = podman.PodmanClient(base_url=url) if url else podman.PodmanClient()


def raw_engine(target: str) -> tuple[dict[str, Any], RawDocker | RawPodman | None]:
    """Return a target's samebox settings and its raw client; bubblewrap has no client library."""
    if target == "bubblewrap":
        return {"engine": "bubblewrap", "options": {}}, None
    engine = target.partition("-")[0]
    url = os.environ.get(f"SAMEBOX_TEST_{target.upper().replace('-', '_')}_URL")
    settings = {"engine": engine, "image": IMAGE, "options": {"url": url} if url else {}}
    return settings, RawDocker(url) if engine == "docker" else RawPodman(url)
