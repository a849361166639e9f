"""Podman: a private Podman service, rootful or rootless."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import host
from testbed.api import EngineApi
from testbed.failure import TestbedError
from testbed.network import free_subnet
from testbed.process import daemon_environment, end_processes, find_processes, tail, wait_until
from testbed.programs import Programs
from testbed.state import write_atomically

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.state import State

READY_WITHIN = 60
"""How long the service may take to answer, in seconds."""

REGISTRIES = """\
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"
[[registry]]
location = "127.0.0.1"
insecure = true
"""
"""The text of registries.conf, so that, as with Docker, `busybox` is docker.io's and loopback needs no certificate."""


class Podman:
    """A private Podman service, with storage, state and configuration of its own.

    Args:
        layout: The bed's paths and names.
        state: The record of the daemons that are started.
        user: The uid and gid of the ordinary user for a rootless service; None for a rootful service.
        programs: The service's programs; default: the machine's own.
    """

    def __init__(
        self, layout: Layout, state: State, user: tuple[int, int] | None = None, programs: Programs | None = None
    ) -> None:
        self._layout = layout
        self._state = state
        self._user = user
        self._programs = programs or Programs()
        self.name = "podman" if user is None else "podman-rootless"
        #: The directory of storage and configuration.
        self._data = layout.state / self.name
        #: The service's XDG_RUNTIME_DIR.
        self._run = layout.run / self.name
        # To set up a bridge, a rootless Podman hides /var/lib from itself, unless there is a /var/lib/cni.
        self._networks = (self._data if user is None else self._run) / "networks"
        self._socket = self._run / "podman.sock"
        self.url = f"unix://{self._socket}"
        self.api = EngineApi(self._socket, "/v4.0.0/libpod")

    def describe(self) -> tuple[str, str]:
        """Return the service's version, and the facts that matter on this host.

        Raises:
            TestbedError: The service does not answer.
        """
        info = self.api.call("/info", timeout=10)
        this = info["host"]
        kind = "rootless" if this["security"]["rootless"] else "rootful"
        cgroups = f"cgroup {this['cgroupVersion']} {this['cgroupManager']}"
        limits = "" if this.get("cgroupControllers") else " without controllers"
        parts = [kind, info["store"]["graphDriverName"], cgroups + limits, this["ociRuntime"]["name"]]
        return str(info["version"]["Version"]), ", ".join(parts)

    def ensure(self) -> None:
        """Start the service unless it runs.

        Raises:
            TestbedError: The service does not come up; the end of its log is in the error's text.
        """
        if self._state.daemon(self.name) is not None and self.api.answers():
            return
        self.stop()
        self._make_directories()
        environment = self._configure()
        self._socket.unlink(missing_ok=True)
        log = self._layout.logs / f"{self.name}.log"
        argv = ["podman", "system", "service", "--time=0", self.url]
        record = self._programs.start(argv, log=log, env=environment, user=self._user)
        self._state.set_daemon(self.name, record)
        if not wait_until(lambda: self.api.answers() or not record.alive, READY_WITHIN) or not record.alive:
            found = f"it does not answer: {tail(log)}"
            raise TestbedError(tried=f"start Podman at {self.url}", found=found, remedy=f"Read {log}.")

    def _make_directories(self) -> None:
        for path in (self._data, self._run, self._data / "storage", self._networks):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
            if self._user is not None:
                os.chown(path, *self._user)
        # The specification of XDG_RUNTIME_DIR demands this mode.
        self._run.chmod(0o700)

    def _configure(self) -> dict[str, str]:
        """Write the service's configuration, and return its environment."""
        files = {
            "CONTAINERS_CONF": ("containers.conf", self._containers_conf()),
            "CONTAINERS_STORAGE_CONF": ("storage.conf", self._storage_conf()),
            "CONTAINERS_REGISTRIES_CONF": ("registries.conf", REGISTRIES),
        }
        environment = daemon_environment()
        for variable, (name, text) in files.items():
            write_atomically(self._data / name, text)
            environment[variable] = str(self._data / name)
        if self._user is None:
            network = self._networks / f"{self._layout.podman_network}.json"
            if not network.exists():
                write_atomically(network, self._network())
            # With this XDG_RUNTIME_DIR, Podman doesn't find the auth.json that the machine's own root has.
            return {**environment, "HOME": "/root", "XDG_RUNTIME_DIR": str(self._run)}
        own = {"HOME": str(self._layout.home), "USER": self._layout.user, "XDG_RUNTIME_DIR": str(self._run)}
        return {**environment, **own}

    def _containers_conf(self) -> str:
        containers, engine, network = ["[containers]"], ["[engine]"], ["[network]"]
        ulimits = host.attainable_ulimits()
        if ulimits is not None and self._user is None:
            containers.append(f"default_ulimits = {json.dumps(ulimits)}")
        if host.hybrid_cgroups():
            engine.append('runtime = "runc"')
        if self._user is not None or not host.systemd_runs():
            # A rootless service outside of a login session has no systemd to ask either.
            engine += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
            containers.append('log_driver = "k8s-file"')
        engine += [
            f'tmp_dir = "{self._run}/libpod"',
            # All Podmans that a user runs share the locks in shared memory.
            'lock_type = "file"',
            # After each exec two processes stay for this many seconds; the default is 300.
            "exit_command_delay = 1",
        ]
        network.append(f'network_config_dir = "{self._networks}"')
        if self._user is None:
            network.append(f'default_network = "{self._layout.podman_network}"')
            # The default of newer Podmans, with which alone a network stays isolated when another one is removed. The
            # machine's own Podman may not know it.
            network.append(f'firewall_driver = "{"nftables" if self._programs.alone else "iptables"}"')
            # Two services don't know of each other's networks, and would choose the same subnets.
            pool = f"10.{89 + self._layout.first_subnet % 100}.0.0/16"
            network.append(f'default_subnet_pools = [{{base = "{pool}", size = 24}}]')
        return "\n".join([*containers, *engine, *network, ""])

    def _storage_conf(self) -> str:
        # The store keeps the first choice of a driver, so it has to be right at once: vfs, the last resort, is slow.
        driver, options = "overlay", []
        if not host.overlay_mounts(self._data / "storage", self._user):
            fuse = shutil.which("fuse-overlayfs")
            if fuse is not None and Path("/dev/fuse").exists():
                options = ["[storage.options.overlay]", f'mount_program = "{fuse}"']
            else:
                driver = "vfs"
        paths = [f'graphroot = "{self._data}/storage"', f'runroot = "{self._run}/storage"']
        return "\n".join(["[storage]", f'driver = "{driver}"', *paths, *options, ""])

    def _network(self) -> str:
        """Return the default network's definition, with another bridge and subnet than the machine's own Podman has."""
        subnet = free_subnet(self._layout)
        content = {
            "name": self._layout.podman_network,
            "id": hashlib.sha256(self._layout.podman_network.encode()).hexdigest(),
            "driver": "bridge",
            "network_interface": self._layout.podman_bridge,
            "subnets": [{"subnet": subnet, "gateway": subnet.replace(".0/24", ".1")}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        return json.dumps(content, indent=2) + "\n"

    def clean(self) -> None:
        """Remove every pod, container and network, so that no part of them outlives the service.

        Raises:
            TestbedError: The service does not answer, or refuses.
        """
        for pod in self.api.call("/pods/json") or []:
            self.api.delete(f"/pods/{pod['Id']}?force=true")
        for container in self.api.call("/containers/json?all=true") or []:
            self.api.delete(f"/containers/{container['Id']}?force=true&v=true&timeout=0")
        self.api.call("/networks/prune", method="POST")

    @property
    def died(self) -> bool:
        """Whether the service was started and ended without being told to, so that its containers may still run."""
        return self._state.recorded(self.name) is not None and self._state.daemon(self.name) is None

    def stop(self) -> None:
        """End the service; nothing happens if it does not run.

        Raises:
            TestbedError: A process of the service survives.
        """
        # All processes are ended: a rootless service has two, and a killed `up` may not have recorded its service.
        end_processes(find_processes("podman", "service", self.url))
        self._state.set_daemon(self.name, None)
