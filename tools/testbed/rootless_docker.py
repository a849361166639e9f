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
    """A Docker daemon in a user namespace, with a network without rights over the machine's; rootlesskit makes both.

    Args:
        layout: The bed's paths and names.
        state: The record of the daemons that are started.
        programs: The daemon's programs.
        user: The uid and gid of the ordinary user.
    """

    name = "docker-rootless"

    def __init__(self, layout: Layout, state: State, programs: Programs, user: tuple[int, int]) -> None:
        super().__init__(layout, state, programs)
        self._user = user
        #: The user's XDG_RUNTIME_DIR, with a short name, as a socket's path has to be short.
        self._run = layout.run / "user"
        self._place(layout.state / self.name, self._run / "docker.sock")

    def ensure(self) -> None:
        """Start the daemon unless it runs.

        Raises:
            TestbedError: The daemon does not come up; the end of its log is in the error's text.
        """
        if self._state.daemon(self.name) is not None and self.api.answers():
            return
        self.stop()
        for path in (self._data, self._run):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, *self._user)
        # The specification of XDG_RUNTIME_DIR demands this mode.
        self._run.chmod(0o700)
        write_atomically(self._config, "{}\n")
        argv = [
            # Debian puts the script into a directory that is in no PATH.
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
        """Whether the daemon was started and ended without being told to, so that its containers may still run."""
        return self._state.recorded(self.name) is not None and self._state.daemon(self.name) is None

    def stop(self) -> None:
        """End the daemon, and its namespaces with it; nothing happens if the daemon does not run.

        Raises:
            TestbedError: A process of the daemon survives.
        """
        # rootlesskit is two processes and passes the signal on; the daemon is in the inner process's namespaces.
        end_processes(find_processes("rootlesskit", f"--config-file={self._config}"), grace=20)
        end_processes(find_processes("dockerd", f"--config-file={self._config}"), grace=20)
        self._state.set_daemon(self.name, None)
