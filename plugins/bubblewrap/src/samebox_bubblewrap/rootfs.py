"""Rootfs: the root file systems that a sandbox can have, each telling bwrap how to mount it."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from samebox.engine.mistakes import is_blocked
from samebox.engine.oci.users import FILE_LIMIT, Identity, resolve_user
from samebox.errors import EngineError
from samebox_bubblewrap.paths import components, read_inside, resolve_inside
from samebox_bubblewrap.stage import HostPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from samebox_bubblewrap.bwrap import Word

__all__ = ["NAME_FILES", "ImageRootfs", "Names", "Rootfs", "host_resolver", "sized_tmpfs"]

NAME_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Files that are made anew for each sandbox."""

_OWNER = (0, 0)
"""Whose files of an image are the sandbox user's where root makes it: what root has unpacked is all root's."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the sandbox and others are called inside."""

    hostname: str
    extra_hosts: Mapping[str, str]
    """Further names and their addresses."""
    resolver: bytes | None
    """/etc/resolv.conf, if there is one."""

    @property
    def files(self) -> dict[str, bytes]:
        """The files of /etc that say so."""
        # Further names first, as the first line with a name wins.
        hosts = [f"{address}\t{name}\n" for name, address in self.extra_hosts.items()]
        hosts += [f"127.0.0.1\tlocalhost {self.hostname}\n", "::1\tlocalhost ip6-localhost ip6-loopback\n"]
        files = {"hosts": "".join(hosts).encode(), "hostname": f"{self.hostname}\n".encode()}
        return files | ({"resolv.conf": self.resolver} if self.resolver is not None else {})


class Rootfs(ABC):
    """A root file system to make a sandbox of."""

    environment: Mapping[str, str]
    """What commands have in their environment unless the config says otherwise."""

    @abstractmethod
    def identity(self, user: str | None) -> Identity:
        """Resolve the config's user; None is the image's own.

        Raises:
            ConfigError: There is no such user.
        """

    @abstractmethod
    def own_directories(self, identity: Identity) -> list[str]:
        """Return the directories that an ordinary user may write to; the rest of the root is read-only for one.

        There is one uid in the sandbox, so that the kernel takes everything for that user's own, the root directory
        and /etc included.
        """

    @abstractmethod
    def base(self, mount_points: Iterable[str], own: Iterable[str], size: int | None) -> list[Word]:
        """Return bwrap's words for the root itself, with room for mount points that are to be made or written to.

        Args:
            mount_points: Where something is to be mounted or made.
            own: Directories that stay writable when the root is made read-only.
            size: The size in bytes of each memory file system; None: the kernel's default, half of the memory. The
                layers of an image have none: bwrap keeps them all in one whose size it has no option for.
        """

    @abstractmethod
    def is_directory(self, path: str) -> bool:
        """Tell whether the image has a directory there."""

    @abstractmethod
    def blocked(self, path: str) -> bool:
        """Tell whether something that is no directory is at a resolved path, or above it."""

    def fixed(self, path: str) -> str:
        """Return the mount of the host's that a resolved path is in, where nothing can be made or written; "" if none.

        An image has none: its sandbox has a layer over all of it.
        """
        del path
        return ""

    @abstractmethod
    def files(self, identity: Identity, names: Names, *, read_only: bool) -> list[Word]:
        """Return the words for the files that tell the sandbox about itself."""

    @abstractmethod
    def resolve(self, path: str) -> str:
        """Return the path of a mount point, without links."""


@dataclass(frozen=True)
class ImageRootfs(Rootfs):
    """A directory with a whole system in it, below a layer of its own for each sandbox that is gone with it.

    There is one uid in the sandbox. What belongs to others outside belongs to nobody inside, and the kernel lets nobody
    copy it up to be changed; so a directory that has to be writable gets a layer of its own where it is another's.
    """

    root: str
    """The directory on the host."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """The image's own user; "": root."""
    owned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Directories by their owner's uid, as far as known."""

    def identity(self, user: str | None) -> Identity:
        """Resolve a user from the image's passwd and group files."""
        passwd, group = (read_inside(self.root, path, FILE_LIMIT) or b"" for path in ("/etc/passwd", "/etc/group"))
        if user is None and not self.user:
            return resolve_user("0:0", passwd, group, "user")
        what = f"the image's user {self.user!r}" if user is None else f"user={user!r}"
        return resolve_user(user or self.user, passwd, group, what)

    def own_directories(self, identity: Identity) -> list[str]:
        """Return those for temporary files, the user's home, and what the archive says is the user's."""
        candidates = ["/tmp", "/var/tmp", identity.home, *self.owned.get(str(identity.uid), ())]  # noqa: S108
        resolved = [self.resolve(path) for path in candidates]
        return [path for path in dict.fromkeys(resolved) if path != "/" and self.is_directory(path)]

    def base(self, mount_points: Iterable[str], own: Iterable[str], size: int | None) -> list[Word]:
        """Return the overlay, and more of them where a directory is another's or stays writable."""
        del size
        for path in ("/proc", "/dev", "/sys", "/.samebox"):
            self._check_mount_point(path)
        needed = [
            *mount_points,
            *(path for path in map(self.resolve, NAME_FILES) if not os.path.lexists(self.root + path)),
        ]
        needed += [self.resolve(path) for path in ("/tmp", "/var/tmp")]  # noqa: S108
        layers = {*own, *(nearest for path in needed if (nearest := self._nearest_foreign(path)))}
        words: list[Word] = ["--overlay-src", HostPath(self.root, _OWNER), "--tmp-overlay", "/"]
        # Sorted, and all of them before anything else is mounted: a layer hides what is mounted below it.
        for path in sorted(layers):
            words += ["--overlay-src", HostPath(self.root + path, _OWNER), "--tmp-overlay", path]
        # An overlay's top has the mode of its upper directory, which is bwrap's.
        for path in ["/", *sorted(layers)]:
            mode = stat.S_IMODE(os.stat(self.root + path).st_mode) & 0o1777 | 0o700  # noqa: PTH116
            words += ["--chmod", f"{mode:o}", path] if mode != 0o755 else []
        return words

    def is_directory(self, path: str) -> bool:
        """Tell whether the image has a directory there."""
        return os.path.isdir(self.root + path) and not os.path.islink(self.root + path)  # noqa: PTH112, PTH114

    def blocked(self, path: str) -> bool:
        """Look at what the image has on the way."""
        return is_blocked(self.root, path)

    def files(self, identity: Identity, names: Names, *, read_only: bool) -> list[Word]:
        """Return the files that name the host, as Docker puts them there.

        They are mounts and not copies: what the image has there may be another's, and not to be overwritten.
        """
        del identity
        option = "--ro-bind-data" if read_only else "--bind-data"
        data = {f"/etc/{name}": content for name, content in names.files.items()}
        words: list[Word] = []
        for path, content in data.items():
            words += ["--perms", "0644", option, content, self.resolve(path)]
        return words

    def _check_mount_point(self, path: str) -> None:
        try:
            mode = os.lstat(self.root + path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise EngineError(f"the image in {self.root} can't be used: its {path} is not a directory")

    def resolve(self, path: str) -> str:
        """Resolve a path inside the image."""
        return resolve_inside(self.root, path)

    def _nearest_foreign(self, path: str) -> str:
        """Return the nearest directory above or at a path that is there, if it is another's; "" if not.

        The root itself is always the sandbox's own: an overlay's top has the owner of its upper directory.
        """
        existing = components(path)
        while existing and not os.path.isdir(os.path.join(self.root, *existing)):  # noqa: PTH112, PTH118
            existing.pop()
        nearest = "/" + "/".join(existing)
        if not existing:
            return ""
        status = os.lstat(self.root + nearest)
        foreign = status.st_uid != os.geteuid() or not status.st_mode & stat.S_IWUSR
        return nearest if foreign else ""


def sized_tmpfs(path: str, size: int | None, mode: int) -> list[Word]:
    """Return the words that mount a memory file system.

    Args:
        path: Where.
        size: The most bytes in it; None: the kernel's default, half of the memory.
        mode: The permission bits of its root directory.
    """
    return [*(["--size", str(size)] if size is not None else []), "--perms", f"{mode:04o}", "--tmpfs", path]


def host_resolver() -> bytes:
    """Return the host's /etc/resolv.conf; b"" where it has none."""
    return read_inside("/", "/etc/resolv.conf", FILE_LIMIT) or b""
