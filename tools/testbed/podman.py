"""Private Podman services, rootful and rootless, each with its own storage, state and configuration."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from testbed import host
from testbed.api import EngineApi
from testbed.failure import TestbedError
from testbed.network import free_subnet
from testbed.process import end_processes, inherited_environment, start, tail, wait_until
from testbed.state import write_atomically

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.state import State

__all__ = ["Podman"]

READY_WITHIN = 60

#: So that `busybox` means the same image as on Docker. The service never pulls for the tests: they find it loaded.
REGISTRIES = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n'


class Podman:
    """A Podman service: rootful, or rootless when it is given a user.

    :param layout: where it lives
    :param state: where it records what it starts
    :param user: uid and gid of the ordinary user for a rootless service
    """

    def __init__(self, layout: Layout, state: State, user: tuple[int, int] | None = None) -> None:
        self._layout = layout
        self._state = state
        self._user = user
        self.name = "podman" if user is None else "podman-rootless"
        #: Storage and configuration.
        self._data = layout.state / self.name
        #: The user's XDG_RUNTIME_DIR, or what stands for it.
        self._run = layout.run / self.name
        self._socket = self._run / "podman.sock"
        self.url = f"unix://{self._socket}"
        self.api = EngineApi(self._socket, "/v4.0.0/libpod")
        self.save = "/images/{}/get?format=docker-archive"

    def answers(self) -> bool:
        """:returns: whether the service answers"""
        try:
            self.api.json("/version", timeout=10)
        except TestbedError:
            return False
        return True

    def describe(self) -> tuple[str, str]:
        """:returns: version, and what matters about this host

        :raises TestbedError: when it does not answer
        """
        info = self.api.json("/info", timeout=10)
        this = info["host"]
        kind = "rootless" if this["security"]["rootless"] else "rootful"
        limits = "+".join(this.get("cgroupControllers") or []) or "no controllers"
        parts = [kind, info["store"]["graphDriverName"], f"cgroup {this['cgroupVersion']} {this['cgroupManager']}"]
        return str(info["version"]["Version"]), ", ".join([*parts, limits, this["ociRuntime"]["name"]])

    def ensure(self) -> None:
        """Start the service unless it runs.

        :raises TestbedError: when it does not come up; the end of its log is in the text
        """
        if self._state.daemon(self.name) is not None and self.answers():
            return
        self.stop()
        self._make_directories()
        environment = self._configure()
        log = self._layout.logs / f"{self.name}.log"
        self._socket.unlink(missing_ok=True)
        argv = ["podman", "system", "service", "--time=0", self.url]
        record = start(argv, log=log, env=environment, user=self._user)
        self._state.set_daemon(self.name, record)
        if not wait_until(lambda: self.answers() or not record.alive, READY_WITHIN) or not record.alive:
            raise TestbedError(f"start Podman at {self.url}", f"it does not answer: {tail(log)}", f"Read {log}.")

    def _make_directories(self) -> None:
        for path in (self._data, self._run, self._data / "storage", self._data / "networks"):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
            if self._user is not None:
                os.chown(path, *self._user)
        # As the specification of XDG_RUNTIME_DIR demands, and Podman checks.
        self._run.chmod(0o700)

    def _configure(self) -> dict[str, str]:
        """Write the service's configuration.

        :returns: its environment
        """
        files = {
            "CONTAINERS_CONF": (self._data / "containers.conf", self._containers_conf()),
            "CONTAINERS_STORAGE_CONF": (self._data / "storage.conf", self._storage_conf()),
            "CONTAINERS_REGISTRIES_CONF": (self._data / "registries.conf", REGISTRIES),
        }
        environment = inherited_environment()
        for variable, (path, text) in files.items():
            write_atomically(path, text)
            environment[variable] = str(path)
        if self._user is None:
            network = self._data / "networks" / "samebox.json"
            if not network.exists():
                write_atomically(network, self._network())
            return {**environment, "HOME": "/root"}
        return {
            **environment,
            "HOME": str(self._layout.home),
            "USER": self._layout.user,
            "XDG_RUNTIME_DIR": str(self._run),
        }

    def _containers_conf(self) -> str:
        containers, engine, network = ["[containers]"], ["[engine]"], ["[network]"]
        ulimits = host.ulimits_podman_may_set()
        if ulimits is not None and self._user is None:
            containers.append(f"default_ulimits = {json.dumps(ulimits)}")
        if host.hybrid_cgroups():
            engine.append('runtime = "runc"')
        if self._user is not None or not host.systemd_runs():
            # A rootless service outside of a login session has no systemd to ask either.
            engine.append('cgroup_manager = "cgroupfs"')
            engine.append('events_logger = "file"')
            containers.append('log_driver = "k8s-file"')
        engine += [
            f'tmp_dir = "{self._run}/libpod"',
            # Locks in shared memory are one set for all rootful services of the machine.
            'lock_type = "file"',
            # Each exec leaves two processes for this many seconds; the default is 300.
            "exit_command_delay = 1",
        ]
        network.append(f'network_config_dir = "{self._data}/networks"')
        if self._user is None:
            network.append('default_network = "samebox"')
        return "\n".join([*containers, *engine, *network, ""])

    def _storage_conf(self) -> str:
        lines = [f'graphroot = "{self._data}/storage"', f'runroot = "{self._run}/storage"']
        # The first choice is kept in the store, so it has to be right at once: vfs, the fallback, is slow.
        if host.overlay_mounts(self._data / "storage", self._user):
            driver, options = "overlay", []
        elif shutil.which("fuse-overlayfs") and os.path.exists("/dev/fuse"):  # noqa: PTH110 - a device, not a path of ours
            driver, options = "overlay", ["[storage.options.overlay]", 'mount_program = "/usr/bin/fuse-overlayfs"']
        else:
            driver, options = "vfs", []
        return "\n".join(["[storage]", f'driver = "{driver}"', *lines, *options, ""])

    def _network(self) -> str:
        """:returns: the default network, on a bridge and a subnet that are not those of the machine's own Podman"""
        subnet = free_subnet()
        content = {
            "name": "samebox",
            "id": "5a3eb0" + "0" * 58,
            "driver": "bridge",
            "network_interface": self._layout.podman_bridge,
            "subnets": [{"subnet": subnet, "gateway": subnet.rpartition(".")[0] + ".1"}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        return json.dumps(content, indent=2) + "\n"

    def clean(self) -> None:
        """Remove every pod, container and network, so that nothing of them outlives the service.

        :raises TestbedError: when the service does not answer or refuses
        """
        for pod in self.api.json("/pods/json") or []:
            self.api.delete(f"/pods/{pod['Id']}?force=true")
        for container in self.api.json("/containers/json?all=true") or []:
            self.api.delete(f"/containers/{container['Id']}?force=true&v=true&timeout=0")
        self.api.json("/networks/prune", method="POST")

    def stop(self) -> None:
        """End the service; that it does not run is no error.

        :raises TestbedError: when it survives
        """
        record = self._state.daemon(self.name)
        if record is not None:
            end_processes([record])
        self._state.set_daemon(self.name, None)
