"""Docker: a private Docker daemon."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from testbed import host
from testbed.api import EngineApi
from testbed.failure import TestbedError
from testbed.iptables import own_iptables
from testbed.process import daemon_environment, end_processes, find_processes, tail, wait_until
from testbed.programs import Programs
from testbed.state import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.gvisor import Gvisor
    from testbed.layout import Layout
    from testbed.process import ProcessRecord
    from testbed.state import State

READY_WITHIN = 60
"""How long the daemon may take to answer, in seconds."""


class Docker:
    """A private Docker daemon, with data, a containerd, a bridge and chains of the firewall of its own.

    A daemon with programs of its own leaves the firewall alone, so that some of the daemons under test do.

    Args:
        layout: The bed's paths and names.
        state: The record of the daemons that are started.
        programs: The daemon's programs; default: the machine's own.
        gvisor: gVisor, if it is to be a runtime of the daemon.
    """

    name = "docker"

    def __init__(
        self, layout: Layout, state: State, programs: Programs | None = None, *, gvisor: Gvisor | None = None
    ) -> None:
        self._layout = layout
        self._state = state
        self._programs = programs or Programs()
        self._gvisor = gvisor
        self._toml = layout.state / "docker" / "containerd.toml"
        self._containerd_socket = layout.run / "containerd" / "containerd.sock"
        self._place(layout.state / "docker", layout.run / "docker.sock")

    def _place(self, data: Path, socket: Path) -> None:
        """Set the paths of the daemon's data and its socket."""
        self._data = data
        # /etc/docker/daemon.json belongs to another daemon.
        self._config = data / "daemon.json"
        self.url = f"unix://{socket}"
        self.api = EngineApi(socket)

    def describe(self) -> tuple[str, str]:
        """Return the daemon's version, and the facts that matter on this host.

        Raises:
            TestbedError: The daemon does not answer.
        """
        info = self.api.call("/info", timeout=10)
        kind = "rootless" if "name=rootless" in info["SecurityOptions"] else "rootful"
        cgroups = f"cgroup v{info.get('CgroupVersion', '1')} {info['CgroupDriver']}"
        return str(info["ServerVersion"]), ", ".join([kind, info["Driver"], cgroups, info["DefaultRuntime"]])

    def ensure(self) -> None:
        """Start the daemon and its containerd, unless they run.

        Raises:
            TestbedError: The daemon does not come up; the end of its log is in the error's text.
        """
        running = self._state.daemon("dockerd")
        if running is not None and self.api.answers():
            self._reload(running)
            return
        self.stop()
        if not self._programs.alone:
            self._start_containerd()
        write_atomically(self._config, self._settings())
        pidfile = self._layout.run / "docker.pid"
        # A daemon that was killed leaves its pid file; dockerd refuses to start if another process has that pid now.
        pidfile.unlink(missing_ok=True)
        argv = [
            "dockerd",
            f"--config-file={self._config}",
            f"--data-root={self._data}/data",
            f"--exec-root={self._layout.run}/docker",
            f"--pidfile={pidfile}",
            f"--host={self.url}",
            f"--bridge={self._layout.docker_bridge}",
            f"--iptables={'false' if self._programs.alone else 'true'}",
            # The whole machine, other engines included, shares the forwarding switch.
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",
        ]
        environment = daemon_environment()
        if not self._programs.alone:
            argv.append(f"--containerd={self._containerd_socket}")
            own_iptables(self._layout, self._data / "bin")
            environment["PATH"] = f"{self._data}/bin:{environment['PATH']}"
        if not host.systemd_runs():
            # Under this cgroup `down` finds what is left; systemd removes cgroups of its own.
            argv.append(f"--cgroup-parent={self._layout.cgroup}")
        log = self._layout.logs / "dockerd.log"
        record = self._programs.start(argv, log=log, env=environment)
        self._state.set_daemon("dockerd", record)
        if not wait_until(lambda: self.api.answers() or not record.alive, READY_WITHIN) or not record.alive:
            found = f"it does not answer: {tail(log)}"
            raise TestbedError(tried=f"start dockerd at {self.url}", found=found, remedy=f"Read {log}.")

    def _settings(self) -> str:
        """Return the text of daemon.json, after making its runtimes available."""
        if self._gvisor is None:
            return "{}\n"
        self._gvisor.ensure()
        return json.dumps({"runtimes": self._gvisor.runtimes}, indent=1) + "\n"

    def _reload(self, running: ProcessRecord) -> None:
        """Give a running daemon these settings, if it was started with others, and leave its containers alone."""
        settings = self._settings()
        if self._config.read_text(encoding="utf-8") == settings:
            return
        write_atomically(self._config, settings)
        # https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior
        running.send(signal.SIGHUP)
        runtimes = json.loads(settings).get("runtimes", {})
        if not wait_until(lambda: runtimes.keys() <= self.api.call("/info")["Runtimes"].keys(), READY_WITHIN):
            log = self._layout.logs / "dockerd.log"
            found = f"it does not know {', '.join(runtimes)}: {tail(log)}"
            raise TestbedError(tried=f"give dockerd at {self.url} new settings", found=found, remedy=f"Read {log}.")

    def _start_containerd(self) -> None:
        """Start a containerd for this dockerd, which would else share the machine's own with another dockerd."""
        text = (
            "version = 2\n"
            f'root = "{self._data}/containerd"\n'
            f'state = "{self._containerd_socket.parent}"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            "[grpc]\n"
            f'address = "{self._containerd_socket}"\n'
        )
        write_atomically(self._toml, text)
        self._containerd_socket.unlink(missing_ok=True)
        log = self._layout.logs / "containerd.log"
        argv = ["containerd", f"--config={self._toml}"]
        record = self._programs.start(argv, log=log, env=daemon_environment())
        self._state.set_daemon("containerd", record)
        ready = wait_until(lambda: self._containerd_socket.exists() or not record.alive, READY_WITHIN)
        if not ready or not record.alive:
            found = f"it makes no socket: {tail(log)}"
            raise TestbedError(tried="start containerd", found=found, remedy=f"Read {log}.")

    def clean(self) -> None:
        """Remove every container and network, so that no part of them outlives the daemon.

        Raises:
            TestbedError: The daemon does not answer, or refuses.
        """
        for container in self.api.call("/containers/json?all=1"):
            self.api.delete(f"/containers/{container['Id']}?force=1&v=1")
        self.api.call("/networks/prune", method="POST")

    @property
    def died(self) -> bool:
        """Whether the daemon was started and ended without being told to, so that its containers may still run."""
        return self._state.recorded("dockerd") is not None and self._state.daemon("dockerd") is None

    def stop(self) -> None:
        """End the daemon, then its containerd; nothing happens if they don't run.

        Raises:
            TestbedError: A process survives.
        """
        # Both are found by their own words on the command line, as a killed `up` may not have written the record.
        for name, word in (("dockerd", f"--config-file={self._config}"), ("containerd", f"--config={self._toml}")):
            end_processes(find_processes(name, word), grace=20)
            self._state.set_daemon(name, None)
