"""How strong the wall is that a config asks for: at least as strong as it says, or as strong as there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from samebox.capabilities import Capability, Isolation
from samebox.config.model import STRONGEST, SandboxConfig
from samebox.conformance.contract.harness import DEADLINE, requires, verifies
from samebox.conformance.contract.test_hardening import has_own_kernel
from samebox.errors import IsolationError
from samebox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from samebox.conformance.contract.conftest import NewBox
    from samebox.conformance.contract.harness import Harness


@verifies("isolation")
def test_weaker_walls_are_refused(harness: Harness) -> None:
    """A config that asks for a stronger wall than the engine's gets one that the engine has too, or IsolationError.

    Why: a sandbox that is weaker than was asked for is worse than none; and a runtime that is there should be found.
    Check: the tier, and the kernel as seen from inside, which from user-kernel on is not the host's.
    """
    for tier in Isolation:
        if tier <= harness.info.isolation:
            continue
        box = harness.sandbox(isolation=tier)
        try:
            box.start()
        except IsolationError as error:
            assert tier.value in str(error), error  # noqa: PT017 - either is right
        else:
            assert box.info is not None
            assert box.info.isolation >= tier, box.info
            assert has_own_kernel(box, harness) == (box.info.isolation >= Isolation.USER_KERNEL)
        finally:
            box.close()


@verifies("isolation")
def test_strongest_wall_is_found(harness: Harness) -> None:
    """`isolation="strongest"` gives the strongest tier that the engine has, and none below `process`.

    Why: whoever runs what they don't trust should not have to know the names of runtimes.
    Check: no tier above the one that was given can be had, by asking for each.
    """
    box = harness.sandbox(isolation=STRONGEST)
    if harness.info.isolation < Isolation.PROCESS:
        with pytest.raises(IsolationError, match="the config asks for process at least"):
            box.start()
        return
    with box:
        assert box.info is not None
        assert box.info.isolation >= harness.info.isolation, box.info
        has_own_kernel(box, harness)
        for tier in Isolation:
            if tier > box.info.isolation:
                stronger = harness.sandbox(isolation=tier)
                with pytest.raises(IsolationError):
                    stronger.start()
                stronger.close()


@requires(Capability.READ_ONLY_ROOT)
@verifies("disk", "read_only")
def test_disk_holds_under_a_read_only_root(new_box: NewBox) -> None:
    """With `read_only`, `disk` is kept on every engine: what can be written to then has it as its size.

    Why: on most hosts no engine can limit a writable layer, and a hostile sandbox fills the disk of the host.
    Check: filling the workdir.
    """
    box = new_box(disk="8m", read_only=True)
    box.write_bytes("fits", b"x" * (2 << 20))
    result = box.sh("dd if=/dev/zero of=fill bs=1M count=16 2>&1; wc -c < fill; rm -f fill", timeout=60)
    assert b"space" in result.stdout.lower(), result
    assert int(result.text.split()[-1]) <= 8 << 20, result


@requires(Capability.READ_ONLY_ROOT, Capability.TMPFS, Capability.NETWORK_NONE)
@verifies("isolation", "read_only", "tmpfs", "network", "disk", "max_lifetime")
def test_untrusted_is_strict_and_usable(harness: Harness) -> None:
    """`SandboxConfig.untrusted()` works on every engine, is strict from inside, and `summary` says what was chosen.

    Why: ten settings to get right are nine chances to forget one.
    Check: the root, the workdir, /tmp, the network and the tier, from inside; what is not enforced is named.
    """
    settings = harness.settings(isolation=STRONGEST)
    if harness.info.isolation < Isolation.PROCESS:
        settings["isolation"] = harness.info.isolation
    script = (
        "grep -q '^[^ ]* / [^ ]* rw' /proc/mounts && echo root; "
        "for path in . /tmp; do : > $path/try && echo $path $(stat -f -c '%b %S' $path); done; "
        "sed -n 's/^ *\\([^:]*\\):.*/net \\1/p' /proc/net/dev"
    )
    with Sandbox(SandboxConfig.untrusted(**settings)) as box:
        lines = [line.split() for line in box.sh(script, timeout=DEADLINE).text.splitlines()]
        sizes = {path: int(blocks) * int(size) for path, blocks, size in (line for line in lines if len(line) == 3)}
        assert ["root"] not in lines, lines
        assert sizes.keys() == {".", "/tmp"}, lines  # noqa: S108 - the sandbox's
        assert all(0 < size <= 1 << 30 for size in sizes.values()), sizes
        assert [line[1] for line in lines if line[0] == "net"] == ["lo"], lines
        assert box.info is not None
        assert f"({box.info.isolation}" in box.summary
        assert "at most 3600 s" in box.summary
        assert all(capability.value in box.summary for capability in box.unenforced), box.summary
