"""server: a small HTTP server inside a sandbox, made of a program that the sandbox's image has."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

from samebox.conformance.contract.harness import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samebox.sandbox.sandbox import Sandbox

_PYTHON = (
    "import sys, http.server as h; "
    "h.ThreadingHTTPServer(('0.0.0.0', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)
_SCRIPT = f"""
if busybox httpd --help 2>&1 | grep -q Usage; then exec busybox httpd -f -p "$1"; fi
if command -v python3 > /dev/null; then exec python3 -c "{_PYTHON}" "$1"; fi
echo "the image has neither busybox's httpd nor python3, one of which this test needs" >&2; exit 99
"""


@contextlib.contextmanager
def server(box: Sandbox, text: str, port: int | None = None) -> Iterator[int]:
    """Run an HTTP server inside a sandbox that answers `GET /` with a text, and yield its port.

    Args:
        box: The sandbox.
        text: The text that the server answers with.
        port: The server's port; None: a random port from 20000 on.
    """
    port = port or random.randrange(20000, 30000)  # noqa: S311 - no secret
    box.write_text(f"www{port}/index.html", text)
    with box.spawn(["sh", "-c", _SCRIPT, "sh", str(port)], cwd=f"www{port}", stdin=False, timeout=60) as process:
        yield port
        ended = process.poll()
        said = process.stderr.read(2000).decode(errors="replace") if ended is not None else ""
        process.kill()
        process.wait(DEADLINE)
    box.remove(f"www{port}", recursive=True)
    assert ended is None, f"the server inside has ended with {ended.exit_code}: {said}"
