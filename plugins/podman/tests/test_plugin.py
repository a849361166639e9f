"""The plugin registers without a daemon and without podman-py, and its options say what is wrong with them."""

from __future__ import annotations

import pytest

from interpreter import printed
from samebox.errors import ConfigError
from samebox_podman.engine import PodmanEngine
from samebox_podman.plugin import samebox_register_engine


def test_registers_the_class() -> None:
    """The hook returns the class, named like the entry point."""
    assert samebox_register_engine() is PodmanEngine
    assert PodmanEngine.name == "podman"


def test_registering_and_making_import_no_client_library() -> None:
    """Whoever does not use Podman pays for no import of podman-py and requests."""
    code = (
        "import sys, samebox_podman.plugin as plugin\n"
        "plugin.samebox_register_engine()({'url': 'unix:///nowhere'})\n"
        "print(sorted({'podman', 'requests', 'urllib3'} & set(sys.modules)))"
    )
    assert printed(code) == "[]\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "npipe:////./pipe/podman"}, "a service's address is unix:///path, tcp://host:port or ssh://user@host"),
        ({"url": "unix://relative/path"}, "a service's address is unix:///path"),
        ({"url": "tcp://host"}, "a service's address is unix:///path, tcp://host:port"),
        ({"url": "tcp://host:port"}, "a service's address is unix:///path, tcp://host:port"),
        ({"url": "ssh://core@host"}, "ssh://user@host:port/path/of/podman.sock"),
        ({"url": "ssh://me:secret@host/run/podman.sock"}, "an address has no password in it; ssh uses keys"),
        ({"url": "ssh://-oProxyCommand=x/run/podman.sock"}, "neither user nor host begins with '-'"),
        ({"url": "unix:///a", "connection": "b"}, "url and connection both say which service; give one of them"),
        ({"identity": "/nowhere/key"}, "there is no such file"),
        ({"runtime": "--debug"}, "runtime"),
        ({"socket": "/run/podman.sock"}, "socket"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], said: str) -> None:
    """The text names the option and what is accepted."""
    with pytest.raises(ConfigError) as caught:
        PodmanEngine(options)
    assert said in str(caught.value)
    assert "options for engine 'podman'" in str(caught.value)
