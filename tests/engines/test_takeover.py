"""Code of the agent's own user tries to take over the next connection: it ends every agent, and traces the next one."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from samebox import Sandbox, SandboxError

if TYPE_CHECKING:
    from targets import Target

SECONDS = 8
_ATTACK = """
import ctypes, os, sys, time

SEIZE = 0x4206
libc = ctypes.CDLL(None)
own, tries, won = {1, os.getpid()}, set(), set()
if os.fork():
    sys.exit()
os.setsid()
own.add(os.getpid())
end = time.time() + float(sys.argv[1])
while time.time() < end:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in own:
            continue
        pid = int(name)
        tries.add(pid)
        if libc.ptrace(SEIZE, pid, 0, 0) == 0:
            won.add((pid, "traced"))
        for what in ("environ", "mem", "fd/0"):
            try:
                os.close(os.open(f"/proc/{pid}/{what}", os.O_RDONLY))
                won.add((pid, what))
            except OSError:
                pass
        try:
            os.kill(pid, 9)
        except OSError:
            pass
with open("report", "w") as file:
    print(len(tries), sorted(won), file=file)
"""


def test_the_next_connection_can_not_be_taken_over(target: Target) -> None:
    """No agent is traced, and nothing of it is read, in a few hundred tries while it starts."""
    with Sandbox(**target.settings("debian"), user="1000:1000") as box:
        box.write_text("attack.py", _ATTACK)
        with contextlib.suppress(SandboxError):  # the agent may have been ended before it could answer
            box.exec(["python3", "attack.py", str(SECONDS)])
        end = time.monotonic() + SECONDS + 1
        while time.monotonic() < end:
            with contextlib.suppress(SandboxError):
                box.exists("nothing")
        tries, _, won = box.read_text("report").partition(" ")
    assert won == "[]\n", f"{won} of {tries}"
    assert int(tries) > (1 if target.engine == "bubblewrap" else 30)
