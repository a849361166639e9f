"""HostRootfs: the host's own programs, read-only, and nothing else of it."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from samebox.engine.oci.users import Identity, resolve_user
from samebox.errors import EngineError
from samebox_bubblewrap.paths import components, read_inside, resolve_inside
from samebox_bubblewrap.rootfs import ImageRootfs, Rootfs, sized_tmpfs
from samebox_bubblewrap.stage import open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from samebox_bubblewrap.bwrap import Word
    from samebox_bubblewrap.rootfs import Names

__all__ = ["HostLayerRootfs", "HostRootfs", "host_mount_points"]

_PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# An allowlist: what programs need to start, to name things and to check certificates, and what has no secret on any
# distribution.
_ETC = (
    "alternatives",
    "ca-certificates/extracted",
    "crypto-policies",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
_OWN_FILES = ("passwd", "group", "nsswitch.conf", "hosts", "hostname", "resolv.conf", "mtab")
_SMALL = 128 << 10
_MOST_TURNS = 40
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"  # noqa: S105
_GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
_SANDBOX = "sandbox:x:{uid}:{gid}:sandbox:/home/sandbox:/bin/sh\n"
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"


class HostRootfs(Rootfs):
    """/usr and what programs need of /etc, read-only, in an otherwise empty root."""

    environment: Mapping[str, str] = {"LANG": "C.UTF-8"}

    def identity(self, user: str | None) -> Identity:
        """Resolve a user: `sandbox` (uid and gid 1000) unless another is asked for."""
        name, _, group = (user or "sandbox").partition(":")
        passwd = (_PASSWD + _SANDBOX.format(uid=1000, gid=1000)).encode()
        if name.isdecimal() and int(name) not in {0, 1000, 65534}:
            # Whoever is asked for by number is the sandbox's user, and has its home.
            passwd = (_PASSWD + _SANDBOX.format(uid=int(name), gid=group if group.isdecimal() else int(name))).encode()
        return resolve_user(user or "sandbox", passwd, (_GROUP + "sandbox:x:1000:\n").encode(), f"user={user!r}")

    def own_directories(self, identity: Identity) -> list[str]:
        """Return those for temporary files and the user's home."""
        home = [identity.home] if identity.home not in {"/", "/nonexistent"} else []
        return ["/tmp", "/var/tmp", *home]  # noqa: S108

    def base(self, mount_points: Iterable[str], own: Iterable[str], size: int | None) -> list[Word]:
        """Return the binds of the host's programs; the root is a tmpfs of the sandbox's own."""
        del mount_points
        # bwrap's own root is a tmpfs too, and has no option for a size.
        words: list[Word] = sized_tmpfs("/", size, 0o755) if size is not None else []
        words += [*_host_words(), "--perms", "0755", "--dir", "/home", "--perms", "0755", "--dir", "/var"]
        for path in own:
            words += sized_tmpfs(path, size, 0o1777 if path.endswith("/tmp") else 0o700)  # noqa: S108
        return words

    def is_directory(self, path: str) -> bool:
        """Say no: whatever is there is made anew."""
        del path
        return False

    def blocked(self, path: str) -> bool:
        """Tell whether it is one of the files of our own /etc."""
        first, *rest = components(path) or [""]
        return first == "etc" and rest[:1] in [[name] for name in _OWN_FILES]

    def files(self, identity: Identity, names: Names, *, read_only: bool) -> list[Word]:
        """Return an /etc of our own, and the directories that programs expect."""
        del read_only
        words: list[Word] = []
        # The user `sandbox` is there for root too: a snapshot begins with it again.
        own = identity.name not in {"root", "nobody"}
        uid, gid = (identity.uid, identity.gid) if own else (1000, 1000)
        passwd = _PASSWD + _SANDBOX.format(uid=uid, gid=gid)
        group = _GROUP + (f"sandbox:x:{gid}:\n" if gid not in {0, 5, 65534} else "")
        files = {
            "passwd": passwd.encode(),
            "group": group.encode(),
            "nsswitch.conf": _NSSWITCH,
            **names.files,
        }
        for name, data in files.items():
            words += ["--perms", "0444", "--file", data, f"/etc/{name}"]
        for path in ("/tmp", "/var/tmp"):  # noqa: S108
            words += ["--perms", "1777", "--dir", path]
        words += ["--dir", "/run", "--symlink", "/run", "/var/run", "--symlink", "/proc/mounts", "/etc/mtab"]
        home = identity.home if identity.home != "/nonexistent" else "/"
        return words + (["--perms", "0700", "--dir", home] if home != "/" else [])

    def fixed(self, path: str) -> str:
        """Return which of the host's directories a path is in."""
        return _host_directory(path)

    def resolve(self, path: str) -> str:
        """Resolve what leads into the host's programs or a link of ours; the rest is a tree without links."""
        first, *rest = components(path) or [""]
        if first == "usr" or first in _PROGRAMS:
            return resolve_inside("/", path)
        if [first, *rest[:1]] == ["var", "run"]:
            return "/" + "/".join(["run", *rest[1:]])
        return path


class HostLayerRootfs(ImageRootfs):
    """A snapshot of a sandbox on the host's programs: its own files, and what the host has now mounted in them."""

    def own_directories(self, identity: Identity) -> list[str]:
        """Return those for temporary files and the user's home, which are made where they are missing."""
        known = super().own_directories(identity)
        missing = [] if identity.home in {"/", "/nonexistent"} else [self.resolve(identity.home)]
        return [*dict.fromkeys([*known, *missing])]

    def base(self, mount_points: Iterable[str], own: Iterable[str], size: int | None) -> list[Word]:
        """Return the overlays, and the binds of the host's programs over them."""
        own = [*own]
        binds = [(source, self._resolve_layer(target)) for source, target in _host_binds()]
        kept = [path for path in own if self.is_directory(path)]
        words = super().base([*mount_points, *(target for _, target in binds)], kept, size)
        for source, target in binds:
            words += ["--ro-bind", source, target]
        for path in own:
            words += sized_tmpfs(path, size, 0o700) if path not in kept else []
        return words

    def fixed(self, path: str) -> str:
        """Return which of the host's directories a path is in."""
        return _host_directory(path)

    def resolve(self, path: str) -> str:
        """Resolve a path in the layer, and what leads into the host's programs there."""
        for _ in range(_MOST_TURNS):
            place = self._resolve_layer(path)
            if components(place)[:1] == ["usr"]:
                place = resolve_inside("/", place)
            if place == path:
                return place
            path = place
        raise EngineError(f"{path!r} leads in circles between the image in {self.root} and the host's /usr")

    def _resolve_layer(self, path: str) -> str:
        return resolve_inside(self.root, path)


def host_mount_points() -> list[str]:
    """Return where paths of the host are mounted in a sandbox on its programs."""
    return [target for _, target in _host_binds()]


def _host_directory(path: str) -> str:
    if components(path)[:1] not in [["usr"], ["etc"], *([name] for name in _PROGRAMS)]:
        return ""  # without a look at the host's files
    return next((target for target in host_mount_points() if f"{path}/".startswith(f"{target}/")), "")


def _host_binds() -> list[tuple[str, str]]:
    words = [word if isinstance(word, str) else "" for word in _host_words()]
    return [(words[at + 1], words[at + 2]) for at, word in enumerate(words) if word == "--ro-bind"]


def _host_words() -> tuple[Word, ...]:
    """Return the words for what comes from the host, worked out anew when a file of it has changed."""
    return _words_of(tuple(_stamp(f"/etc/{name}") for name in _ETC))


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - Path costs more than the call
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1)
def _words_of(_stamps: tuple[tuple[int, int], ...]) -> tuple[Word, ...]:
    words: list[Word] = ["--ro-bind", "/usr", "/usr"]
    for name in _PROGRAMS:
        words += _copy(f"/{name}")
    words += ["--perms", "0755", "--dir", "/etc"]
    for name in _ETC:
        copied = _copy(f"/etc/{name}")
        if copied:
            words += _directories(f"/etc/{name}")
        words += copied
    return tuple(words)


def _directories(path: str) -> list[Word]:
    """Make the directories between /etc and a path, which bwrap would make for their owner only."""
    parents = [str(parent) for parent in PurePosixPath(path).parents][-3::-1]
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]


def _copy(path: str) -> list[Word]:
    """Show a path of the host in the sandbox: a link as a link, a small file as a copy, the rest as a read-only mount.

    A mount costs bwrap 0.15 ms, as it reads all of mountinfo for each; a copy of a small file next to nothing.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return []
    if stat.S_ISLNK(mode):
        target = os.readlink(path)  # noqa: PTH115
        inside = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120
        if inside.startswith("/usr/"):
            return ["--symlink", target, path]
    # A link to elsewhere, as to /nix or /etc/pki, would lead nowhere inside.
    real = os.path.realpath(path)
    if os.geteuid() == 0 and not open_to_all(real):
        return []  # nor would an ordinary user of the host see it
    if not os.path.isfile(real):  # noqa: PTH113
        return ["--ro-bind", real, path] if os.path.isdir(real) else []  # noqa: PTH112
    data = read_inside("/", real, _SMALL + 1) or b""
    return ["--perms", "0444", "--file", data, path] if len(data) <= _SMALL else ["--ro-bind", real, path]
