"""A private Docker daemon, with a containerd of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed import host
from testbed.api import EngineApi
from testbed.failure import TestbedError
from testbed.process import end_processes, inherited_environment, start, tail, wait_until
from testbed.state import write_atomically

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.state import State

__all__ = ["Docker"]

READY_WITHIN = 60


class Docker:
    """The private Docker daemon: own data, own containerd, own bridge, own cgroup, no hand on the firewall.

    :param layout: where it lives
    :param state: where it records what it starts
    """

    name = "docker"

    def __init__(self, layout: Layout, state: State) -> None:
        self._layout = layout
        self._state = state
        self._data = layout.state / "docker"
        self._socket = layout.run / "docker.sock"
        self._containerd_socket = layout.run / "containerd" / "containerd.sock"
        self.url = f"unix://{self._socket}"
        self.api = EngineApi(self._socket)
        self.save = "/images/get?names={}"

    def answers(self) -> bool:
        """:returns: whether the daemon answers"""
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
        parts = [info["Driver"], f"cgroup v{info.get('CgroupVersion', '1')} {info['CgroupDriver']}"]
        parts += [info["DefaultRuntime"]]
        return str(info["ServerVersion"]), ", ".join(parts)

    def ensure(self) -> None:
        """Start what does not run.

        :raises TestbedError: when it does not come up; the end of its log is in the text
        """
        if self._state.daemon("dockerd") is not None and self.answers():
            return
        self.stop()
        self._start_containerd()
        # An empty file, because /etc/docker/daemon.json belongs to another daemon.
        config = self._data / "daemon.json"
        write_atomically(config, "{}\n")
        log = self._layout.logs / "dockerd.log"
        parent = self._layout.cgroup if not host.systemd_runs() else f"{self._layout.cgroup}.slice"
        argv = [
            "dockerd",
            *("--config-file", config),
            *("--data-root", self._data / "data"),
            *("--exec-root", self._layout.run / "docker"),
            *("--pidfile", self._layout.run / "docker.pid"),
            *("--host", self.url),
            *("--containerd", self._containerd_socket),
            *("--cgroup-parent", parent),
            *("--bridge", self._layout.docker_bridge),
            # Rules and the forwarding switch are shared by the whole machine, another engine's included.
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
        ]
        record = start(argv, log=log, env=inherited_environment())
        self._state.set_daemon("dockerd", record)
        if not wait_until(lambda: self.answers() or not record.alive, READY_WITHIN) or not record.alive:
            raise TestbedError(f"start dockerd at {self.url}", f"it does not answer: {tail(log)}", f"Read {log}.")

    def _start_containerd(self) -> None:
        """Start a containerd: by itself dockerd would share the machine's own, and the names of containers in it."""
        run_dir = self._containerd_socket.parent
        config = self._data / "containerd.toml"
        log = self._layout.logs / "containerd.log"
        text = (
            "version = 2\n"
            f'root = "{self._data}/containerd"\n'
            f'state = "{run_dir}"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            "[grpc]\n"
            f'address = "{self._containerd_socket}"\n'
        )
        write_atomically(config, text)
        record = start(["containerd", "--config", config], log=log, env=inherited_environment())
        self._state.set_daemon("containerd", record)
        ready = wait_until(lambda: self._containerd_socket.exists() or not record.alive, READY_WITHIN)
        if not ready or not record.alive:
            raise TestbedError("start containerd", f"it makes no socket: {tail(log)}", f"Read {log}.")

    def clean(self) -> None:
        """Remove every container and network, so that nothing of them outlives the daemon.

        :raises TestbedError: when the daemon does not answer or refuses
        """
        for container in self.api.json("/containers/json?all=1"):
            self.api.delete(f"/containers/{container['Id']}?force=1&v=1")
        self.api.json("/networks/prune", method="POST")

    def stop(self) -> None:
        """End the daemon, then its containerd; neither running is no error.

        :raises TestbedError: when one survives
        """
        for name in ("dockerd", "containerd"):
            record = self._state.daemon(name)
            if record is not None:
                end_processes([record], grace=20)
            self._state.set_daemon(name, None)
