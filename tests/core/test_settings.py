"""What people see of settings and results: types, help, signatures, hashes, reprs, and what a misspelling may mean."""

from __future__ import annotations

import inspect
import pydoc
import time
from typing import Any

import pytest

from samebox import AsyncSandbox, ConfigError, ExecResult, FileInfo, Sandbox, SandboxConfig, load_config
from samebox.config.settings import SandboxSettings


def test_types_and_model_have_the_same_settings() -> None:
    """What editors complete is what there is."""
    assert list(SandboxSettings.__annotations__) == list(SandboxConfig.model_fields)


def test_signature_is_as_the_types_are_written() -> None:
    """It is for people, and says nothing of how values are read."""
    text = str(inspect.signature(SandboxConfig))
    assert "memory: Size | None = 2147483648, memory_swap: Size | None = None" in text
    assert "Validator" not in text


@pytest.mark.parametrize("form", [Sandbox, AsyncSandbox])
def test_help_lists_the_settings(form: type) -> None:
    """Each with what it means."""
    text = pydoc.render_doc(form, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    for name, field in SandboxConfig.model_fields.items():
        assert f"    {name} (" in text
        assert " ".join((field.description or "none").split()) in text


@pytest.mark.parametrize(
    "settings", [{}, {"env": {"A": "1"}, "tmpfs": ["/x"]}, {"mounts": ["/a:/b"], "options": {"a": [1]}, "memory": "1g"}]
)
def test_equal_configs_are_one_key(settings: dict[str, Any]) -> None:
    """A config can be put in a set, dictionaries in it or not."""
    assert {SandboxConfig(**settings): 1}[SandboxConfig(**settings)] == 1
    assert len({SandboxConfig(**settings), SandboxConfig(hostname="other", **settings)}) == 2


def test_image_by_position() -> None:
    """What may have been meant is said."""
    with pytest.raises(ConfigError) as caught:
        Sandbox("busybox")  # type: ignore[arg-type]
    words = "Sandbox takes a SandboxConfig, or settings by their names, not 'busybox'; is image='busybox' meant?"
    assert str(caught.value) == words
    with pytest.raises(ConfigError, match=r"settings by their names, not \{'memory': '1g'\}$"):
        AsyncSandbox({"memory": "1g"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SAMEBOX_MEMROY", r"SAMEBOX_MEMROY: there is no such setting; did you mean 'SAMEBOX_MEMORY'\?"),
        ("SAMEBOX_", r"SAMEBOX_: there is no such setting; there are: SAMEBOX_ENGINE, SAMEBOX_IMAGE, "),
        ("SAMEBOX_ENVV", "did you mean 'SAMEBOX_ENV'"),
    ],
)
def test_unknown_variable(name: str, words: str) -> None:
    """A misspelt limit would be none; its value, which may be a secret, is not shown."""
    with pytest.raises(ConfigError, match=words) as caught:
        load_config("/", {name: "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_variables_that_are_no_settings() -> None:
    """The registry, the suite and samebox's tests have some, and others begin otherwise."""
    names = ["SAMEBOX_DISABLED_ENGINES", "SAMEBOX_TEST_USER", "SAMEBOX_CONFORMANCE_HOST", "MY_SAMEBOX_MEMROY"]
    assert load_config("/", dict.fromkeys(names, "x")).config == SandboxConfig()


def test_default_in_words_is_no_demand() -> None:
    """An engine without registries has nothing to refuse."""
    with Sandbox(engine="local", isolation="none", pull="missing") as box:
        assert box.exec(["true"]).ok


def test_result_has_no_truth() -> None:
    """It would always be true, and so would be taken for success."""
    with pytest.raises(TypeError, match="neither true nor false: ask for its `ok`"):
        assert ExecResult(1)
    assert (ExecResult(1, b"a", b"\xffb").stderr_text, ExecResult(1, b"a\n", b"b").output) == ("\ufffdb", "a\nb")


def test_reprs() -> None:
    """They show what matters, with modes as people write them."""
    info = FileInfo("a", "file", 5, 0o644, 0, 1, 2, 3, 1)
    assert repr(info) == "FileInfo('a', file, size=5, mode=0o644, uid=1, gid=2)"
    link = FileInfo("a", "symlink", 5, 0o777, 0, 1, 2, 3, 1, "b")
    assert repr(link) == "FileInfo('a' -> 'b', symlink, size=5, mode=0o777, uid=1, gid=2)"
    box = Sandbox(engine="local", isolation="none")
    assert repr(box) == f"<Sandbox {box.name!r}, not started>"
    with box:
        assert repr(box) == f"<Sandbox {box.name!r} on local>"
        with box.spawn(["sh", "-c", "read line; exit 3"]) as process:
            assert repr(process) == f"<Process pid={process.pid} argv=\"sh -c 'read line; exit 3'\" running>"
            assert process.returncode is None
            process.stdin.close()
            deadline = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.returncode == 3
            assert repr(process).endswith(" exited with 3>")
    assert repr(box) == f"<Sandbox {box.name!r} on local, closed>"
