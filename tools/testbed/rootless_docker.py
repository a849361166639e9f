"""RootlessDocker: a Docker daemon that an ordinary user runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testbed.dockerd import READY_WITHIN, Docker
from testbed.failure import TestbedError
from testbed.process import daemon_environment, end_processes, find_processes, tail, wait_until
from testbed.state import write_atomically

if TYPE_CHECKING:
    from testbed.layout import Layout
    from testbed.programs import Programs
    from testbed.state import State


class RootlessDocker(Docker):
    """A Docker daemon in a user namespace: rootlesskit makes that, and a network without any right over the machine's.

    Args:
        layout: Where it lives.
        state: Where it records what it starts.
        programs: Where its programs are.
        user: Uid and gid of the ordinary user.
    """

    name = "docker-rootless"

    def __init__(self, layout: Layout, state: State, programs: Programs, user: tuple[int, int]) -> None:
        super().__init__(layout, state, programs)
        self._user = user
        #: The user's XDG_RUNTIME_DIR; a short name, as paths of sockets have to be.
        self._run = layout.run / "user"
        self._place(layout.state / self.name, self._run / "docker.sock")

    def ensure(self) -> None:
        """Start it unless it runs.

        Raises:
            TestbedError: It does not come up; the end of its log is in the text.
        """
        if self._state.daemon(self.name) is not None and self.api.answers():
            return
        self.stop()
        for path in (self._data, self._run):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, *self._user)
        # As the specification of XDG_RUNTIME_DIR demands.
        self._run.chmod(0o700)
        write_atomically(self._config, "{}\n")
        argv = [
            # Debian puts it where nobody's PATH is.
            "/usr/share/docker.io/contrib/dockerd-rootless.sh",
            f"--config-file={self._config}",
            f"--data-root={self._data}/data",
            f"--exec-root={self._run}/docker",
            f"--pidfile={self._run}/docker.pid",
            f"--host={self.url}",
        ]
        log = self._layout.logs / f"{self.name}.log"
        own = {"HOME": str(self._layout.home), "USER": self._layout.user, "XDG_RUNTIME_DIR": str(self._run)}
        record = self._programs.start(argv, log=log, env=daemon_environment() | own, user=self._user)
        self._state.set_daemon(self.name, record)
        if not wait_until(lambda: self.api.answers() or not record.alive, READY_WITHIN) or not record.alive:
            found = f"it does not answer: {tail(log)}"
            raise TestbedError(tried=f"start dockerd-rootless.sh at {self.url}", found=found, remedy=f"Read {log}.")

    @property
    def died(self) -> bool:
        """Whether it was started, and ended without being told to: then its containers may still run."""
        return self._state.recorded(self.name) is not None and self._state.daemon(self.name) is None

    def stop(self) -> None:
        """End the daemon, and with it its namespaces. That it does not run is no error.

        Raises:
            TestbedError: It survives.
        """
        # rootlesskit passes the signal on; it is two processes, and the daemon is in the inner one's namespaces.
        end_processes(find_processes("rootlesskit", f"--config-file={self._config}"), grace=20)
        end_processes(find_processes("dockerd", f"--config-file={self._config}"), grace=20)
        self._state.set_daemon(self.name, None)
