"""Which daemon is used: the order of discovery, contexts, and the texts when what names the daemon is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from samebox.errors import EngineUnavailableError
from samebox_docker.address import Address, Tls, find_address
from samebox_docker.options import DockerOptions

if TYPE_CHECKING:
    from pathlib import Path


def make_context(directory: Path, name: str, host: object, *, tls: bool = False) -> None:
    """Write a context as `docker context create` does."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = directory / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    if tls:
        files = directory / "contexts" / "tls" / identity / "docker"
        files.mkdir(parents=True)
        for file in ("ca.pem", "cert.pem", "key.pem"):
            (files / file).write_text("")


def test_order(tmp_path: Path) -> None:
    """Options come before DOCKER_HOST, that before DOCKER_CONTEXT, that before config.json, that before the socket."""
    make_context(tmp_path, "far", "ssh://far")
    make_context(tmp_path, "near", "unix:///near.sock")
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    found = [find_address(DockerOptions(), environ)]
    (tmp_path / "config.json").write_text('{"currentContext": "near"}')
    found.append(find_address(DockerOptions(), environ))
    environ["DOCKER_CONTEXT"] = "far"
    found.append(find_address(DockerOptions(), environ))
    environ["DOCKER_HOST"] = "tcp://host:2375"
    found.append(find_address(DockerOptions(), environ))
    found.append(find_address(DockerOptions(context="near"), environ))
    found.append(find_address(DockerOptions(url="unix:///given.sock"), environ))

    assert [
        Address("unix:///var/run/docker.sock", "the default socket"),
        Address("unix:///near.sock", f"the Docker context 'near', named by currentContext in {tmp_path}/config.json"),
        Address("ssh://far", "the Docker context 'far', named by DOCKER_CONTEXT"),
        Address("tcp://host:2375", "DOCKER_HOST"),
        Address("unix:///near.sock", "the Docker context 'near', named by options.context"),
        Address("unix:///given.sock", "options.url"),
    ] == found


def test_rootless_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rootless daemon's socket is used where the default one may not be."""
    (tmp_path / "docker.sock").touch()
    monkeypatch.setattr("samebox_docker.address.DEFAULT_SOCKET", str(tmp_path / "none.sock"))
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}

    assert Address(f"unix://{tmp_path}/docker.sock", "the rootless daemon's socket") == find_address(
        DockerOptions(), environ
    )


def test_tls_of_environment(tmp_path: Path) -> None:
    """DOCKER_CERT_PATH and DOCKER_TLS_VERIFY give the files and whether they are checked against."""
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / file).write_text("")
    files = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    environ = {"DOCKER_HOST": "tcp://host:2376", "DOCKER_CERT_PATH": str(tmp_path)}

    assert Tls(*files, verify=False) == find_address(DockerOptions(), environ).tls
    assert Tls(*files, verify=True) == find_address(DockerOptions(), {**environ, "DOCKER_TLS_VERIFY": "1"}).tls


def test_tls_of_context(tmp_path: Path) -> None:
    """A context brings its TLS files with it."""
    make_context(tmp_path, "far", "tcp://far:2376", tls=True)
    found = find_address(DockerOptions(context="far"), {"DOCKER_CONFIG": str(tmp_path)})

    assert found.tls is not None
    assert found.tls.verify
    assert found.tls.ca is not None
    assert found.tls.ca.is_file()


def test_unknown_context(tmp_path: Path) -> None:
    """A context that is not there is an error that names those that are, never the default one without a word."""
    make_context(tmp_path, "near", "unix:///near.sock")
    text = (
        f"there is no Docker context 'nearr' (named by DOCKER_CONTEXT) in {tmp_path}/contexts; there are: default, "
        f"near. "
        "Name one of them, or make it with `docker context create`."
    )
    with pytest.raises(EngineUnavailableError, match=f"^{re.escape(text)}$"):
        find_address(DockerOptions(), {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "nearr"})


def test_context_without_address(tmp_path: Path) -> None:
    """A context of something else, as a cluster, is refused by name."""
    make_context(tmp_path, "cluster", None)
    with pytest.raises(EngineUnavailableError, match=r"'cluster' \(named by options.context\) has no daemon's address"):
        find_address(DockerOptions(context="cluster"), {"DOCKER_CONFIG": str(tmp_path)})


def test_contexts_below_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts below the current directory have no say: there, docker-py 7.2 looks where no config.json is."""
    make_context(tmp_path / "here", "far", "tcp://attacker:2375")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(EngineUnavailableError, match="there is no Docker context 'far'"):
        find_address(DockerOptions(context="far"), {"DOCKER_CONFIG": str(tmp_path / "none")})


def test_wrong_docker_host() -> None:
    """A DOCKER_HOST that can't be one is named, with what is accepted."""
    text = (
        "DOCKER_HOST is no address that the Docker engine can use ('npipe:////./pipe/x'): npipe:// is a pipe of "
        "Windows, "
        "which samebox does not use; give unix:///path, tcp://host:port or ssh://user@host:port. Correct or unset it."
    )
    with pytest.raises(EngineUnavailableError, match=f"^{re.escape(text)}$"):
        find_address(DockerOptions(), {"DOCKER_HOST": "npipe:////./pipe/x"})
