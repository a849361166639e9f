"""SyncGuest and AsyncGuest: the operations that Sandbox and AsyncSandbox offer, made from those of Guest and Files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samebox.guest.files import Files
from samebox.guest.forward import AsyncForward, Forward
from samebox.guest.guest import Guest
from samebox.guest.operation import awaits, awaits_as, drive, waits, waits_as
from samebox.guest.process import AsyncProcess, Process

if TYPE_CHECKING:
    from samebox.guest.files import Path


class SyncFiles:
    """File operations that wait."""

    async def _target(self) -> Any:
        raise NotImplementedError

    read_bytes = waits(Files.read_bytes)
    read_text = waits(Files.read_text)
    read_lines = waits(Files.read_lines)
    read_link = waits(Files.read_link)
    write_bytes = waits(Files.write_bytes)
    write_text = waits(Files.write_text)
    append = waits(Files.append)
    stat = waits(Files.stat)
    exists = waits(Files.exists)
    list_dir = waits(Files.list_dir)
    walk = waits(Files.walk)
    glob = waits(Files.glob)
    grep = waits(Files.grep)
    make_dir = waits(Files.make_dir)
    remove = waits(Files.remove)
    move = waits(Files.move)
    copy = waits(Files.copy)
    chmod = waits(Files.chmod)
    realpath = waits(Files.realpath)
    symlink = waits(Files.symlink)
    edit = waits(Files.edit)
    patch = waits(Files.patch)
    upload = waits(Files.upload)
    download = waits(Files.download)


class SyncGuest(SyncFiles):
    """Commands and file operations that wait."""

    exec = waits(Guest.exec)
    sh = waits(Guest.sh)
    spawn = waits_as(Guest.spawn, Process)
    processes = waits(Guest.processes)
    wait_for_port = waits(Guest.wait_for_port)

    def forward(self, port: int, *, host: str = "127.0.0.1", host_port: int = 0) -> Forward:
        """Make a port inside the sandbox reachable on this host's loopback, also with the network off.

        Args:
            port: The TCP port inside the sandbox; a server may begin to listen on the port later.
            host: The address inside the sandbox: an IP address or "localhost".
            host_port: The port of this host's loopback; 0: any free port.

        Returns:
            The forward, whose `port` is this host's port; `close` or its `with` block ends the forward.

        Raises:
            OSError: The host's port is taken.
        """
        return Forward(AsyncForward(lambda: drive(self._target()), port, host, host_port))

    def confined(self, root: Path) -> ConfinedFiles:
        """Return the file operations confined to one directory.

        A path that leads out of the directory is refused with `PathEscapesError`.
        """
        return ConfinedFiles(self, root)


class ConfinedFiles(SyncFiles):
    """File operations confined to one directory of a sandbox."""

    def __init__(self, guest: SyncGuest, root: Path) -> None:
        self._guest = guest
        self._root = root

    async def _target(self) -> Files:
        guest: Guest = await self._guest._target()  # noqa: SLF001 - one of a pair
        return guest.confined(self._root)


class AsyncFiles:
    """File operations to be awaited."""

    async def _target(self) -> Any:
        raise NotImplementedError

    read_bytes = awaits(Files.read_bytes)
    read_text = awaits(Files.read_text)
    read_lines = awaits(Files.read_lines)
    read_link = awaits(Files.read_link)
    write_bytes = awaits(Files.write_bytes)
    write_text = awaits(Files.write_text)
    append = awaits(Files.append)
    stat = awaits(Files.stat)
    exists = awaits(Files.exists)
    list_dir = awaits(Files.list_dir)
    walk = awaits(Files.walk)
    glob = awaits(Files.glob)
    grep = awaits(Files.grep)
    make_dir = awaits(Files.make_dir)
    remove = awaits(Files.remove)
    move = awaits(Files.move)
    copy = awaits(Files.copy)
    chmod = awaits(Files.chmod)
    realpath = awaits(Files.realpath)
    symlink = awaits(Files.symlink)
    edit = awaits(Files.edit)
    patch = awaits(Files.patch)
    upload = awaits(Files.upload)
    download = awaits(Files.download)


class AsyncGuest(AsyncFiles):
    """Commands and file operations to be awaited."""

    exec = awaits(Guest.exec)
    sh = awaits(Guest.sh)
    spawn = awaits_as(Guest.spawn, AsyncProcess)
    processes = awaits(Guest.processes)
    wait_for_port = awaits(Guest.wait_for_port)

    def forward(self, port: int, *, host: str = "127.0.0.1", host_port: int = 0) -> AsyncForward:
        """As `Sandbox.forward`; the forward is used in `async with`, or after `await forward.start()`."""
        return AsyncForward(lambda: drive(self._target()), port, host, host_port)

    def confined(self, root: Path) -> AsyncConfinedFiles:
        """Return the file operations confined to one directory.

        A path that leads out of the directory is refused with `PathEscapesError`.
        """
        return AsyncConfinedFiles(self, root)


class AsyncConfinedFiles(AsyncFiles):
    """File operations confined to one directory of a sandbox."""

    def __init__(self, guest: AsyncGuest, root: Path) -> None:
        self._guest = guest
        self._root = root

    async def _target(self) -> Files:
        guest: Guest = await self._guest._target()  # noqa: SLF001 - one of a pair
        return guest.confined(self._root)
