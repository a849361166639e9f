"""RegistryServer: a real registry (Debian's docker-registry) on loopback, and images made for it byte by byte."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from real_engine import not_here

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "docker-registry"
USER = "somebody"
PASSWORD = "correct-horse-battery"  # noqa: S105 - the one of the tests' registry
_HASHED = "$2y$04$abcdefghijklmnopqrstuupOWRSKKNe562z1DsLEArFuJDHVyRIMa"
READY = 20.0
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
OWN = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This host's processor architecture, in the registries' words."""
OTHER = "arm64" if OWN == "amd64" else "amd64"


class RegistryServer:
    """A registry of a test's own.

    Args:
        directory: Where it keeps everything, in a directory of its own.
        private: Whether it wants `USER` and `PASSWORD`.
    """

    def __init__(self, directory: Path, *, private: bool = False) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="registry-", dir=directory))
        self._private = private
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self._directory / "store")}},
            "http": {"addr": self.address},
        }
        if self._private:
            (self._directory / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self._directory / "htpasswd")}}
        (self._directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (self._directory / "log").open("wb") as log:
            argv = [PROGRAM, "serve", str(self._directory / "config.yml")]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + READY
        while True:
            try:
                self._call("GET", "/v2/").close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError((self._directory / "log").read_text()[-2000:]) from error
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def push(self, name: str, layer: bytes, tag: str = "latest") -> str:
        """Store an image of one layer and return its reference.

        Args:
            name: Its repository.
            layer: A tar archive.
            tag: Its tag.
        """
        return self._manifest(name, tag, _MANIFEST, self._image(name, layer, OWN))

    def push_index(self, name: str, layers: Mapping[str, bytes]) -> str:
        """Store an image of several platforms and return its reference.

        Args:
            name: Its repository.
            layers: The one layer for each processor architecture, as "arm64".
        """
        manifests = []
        for architecture, data in layers.items():
            content = json.dumps(self._image(name, data, architecture)).encode()
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self._call("PUT", f"/v2/{name}/manifests/{digest}", content, _MANIFEST).close()
            place = {"architecture": architecture, "os": "linux"}
            manifests.append({"mediaType": _MANIFEST, "size": len(content), "digest": digest, "platform": place})
        return self._manifest(name, "latest", _INDEX, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests})

    def _manifest(self, name: str, tag: str, media_type: str, content: dict[str, Any]) -> str:
        self._call("PUT", f"/v2/{name}/manifests/{tag}", json.dumps(content).encode(), media_type).close()
        return f"{self.address}/{name}:{tag}"

    def _image(self, name: str, layer: bytes, architecture: str) -> dict[str, Any]:
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        return {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(name, json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"),
            "layers": [
                self._blob(name, gzip.compress(layer, 1, mtime=0), "application/vnd.docker.image.rootfs.diff.tar.gzip")
            ],
        }

    def _blob(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self._call("POST", f"/v2/{name}/blobs/uploads/", b"") as answer:
            where = str(answer.headers["Location"]).partition(self.address)[2]
        self._call("PUT", f"{where}&digest={digest}", data, "application/octet-stream").close()
        return {"mediaType": media_type, "size": len(data), "digest": digest}

    def _call(self, method: str, path: str, data: bytes | None = None, media_type: str = "text/plain") -> Any:
        request = urllib.request.Request(f"http://{self.address}{path}", data, method=method)
        request.add_header("Content-Type", media_type)
        if self._private:
            request.add_header("Authorization", f"Basic {credentials()}")
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=READY)


class BreakingRelay:
    """Stands before a registry, and is gone for good after it has passed on so many bytes of answers.

    Args:
        address: The registry's.
        after: Bytes.
        stall: Whether it only says nothing any more then, and keeps its connections.
    """

    def __init__(self, address: str, after: int, *, stall: bool = False) -> None:
        self._stall = stall
        self._target = address.rpartition(":")
        self._left = after
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.broken = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Be gone."""
        self.broken.set()
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.broken.is_set():
                client, _ = self._listener.accept()
                self._open.append(client)
                registry = socket.create_connection((self._target[0], int(self._target[2])))
                self._open.append(registry)
                if self.broken.is_set():
                    self.close()
                    return
                threading.Thread(target=self._copy, args=(client, registry, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(registry, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:  # noqa: FBT001 - a thread's
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self._left -= len(data)
                    if self._left < 0:
                        if not self._stall:
                            self.close()
                        self.broken.wait()
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def credentials(password: str = PASSWORD) -> str:
    """Return the user and a password as `docker login` and `podman login` keep them."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


def auth_file(path: Path, address: str, password: str = PASSWORD) -> None:
    """Write what `docker login` (config.json) and `podman login` (auth.json) leave."""
    path.write_text(json.dumps({"auths": {address: {"auth": credentials(password)}}}))
    path.chmod(0o644)


def layer(text: str, size: int = 0, root: Path | None = None) -> bytes:
    """Return a layer with a file /mark.

    Args:
        text: What is in it.
        size: How many random bytes are in a further file; what can't be compressed takes its time.
        root: An archive of what else is in the layer.
    """
    out = io.BytesIO(root.read_bytes() if root is not None else b"")
    with tarfile.open(fileobj=out, mode="a" if root is not None else "w") as archive:
        for name, data in (("mark", text.encode()), ("big", os.urandom(size))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def require_registry() -> None:
    """Skip a test where there is no registry's program; fail where every engine is demanded."""
    if shutil.which(PROGRAM) is None:
        not_here(f"there is no program {PROGRAM} (Debian's package of that name; tools/engines.py installs it)")
