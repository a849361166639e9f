"""The config: docker's spellings, one clear error, secrets that don't show, and round trips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samebox import ConfigError, Isolation, SandboxConfig
from samebox.config.sources import load_config
from samebox.config.trust import OPENS, opens
from samebox.config.units import parse_size


def test_defaults_are_secure() -> None:
    """Nothing asked for means: no network, no capabilities, no new privileges, a pids limit."""
    config = SandboxConfig()

    assert (config.network, config.cap_drop, config.cap_add, config.no_new_privileges, config.pids_limit) == (
        False, ("ALL",), (), True, 512,
    )  # fmt: skip
    assert (config.privileged, config.mounts, config.isolation) == (False, (), Isolation.PROCESS)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("1k", 1024), ("512m", 512 << 20), ("1.5g", 3 << 29), ("64KiB", 65536), ("2GB", 2 << 30), (7, 7)],
)
def test_sizes_are_spelled_as_docker_does(text: object, size: int) -> None:
    """Powers of 1024, whatever the case."""
    assert parse_size(text) == size


def test_docker_spellings() -> None:
    """Lists as docker's command line takes them mean the same as mappings."""
    config = SandboxConfig(
        env=["A=1=2"],
        ports=["8080:80", "127.0.0.2:53:53/udp", "90"],
        mounts=["/data:/data:ro,Z", "cache:/cache"],
        ulimits=["nofile=10:20", "nproc=5"],
        tmpfs=["/t:size=1m,mode=700,noexec"],
        cap_add=["cap_net_raw", "package-manager", "CHOWN"],
        devices=["/dev/fuse"],
        extra_hosts=["db:10.0.0.1"],
    )

    assert config.env == {"A": "1=2"}
    assert {port: (host.address, host.port) for port, host in config.ports.items()} == {
        "80/tcp": ("127.0.0.1", 8080), "53/udp": ("127.0.0.2", 53), "90/tcp": ("127.0.0.1", None),
    }  # fmt: skip
    assert [(mount.type, mount.read_only, mount.selinux) for mount in config.mounts] == [
        ("bind", True, "private"), ("volume", False, None),
    ]  # fmt: skip
    assert {name: (limit.soft, limit.hard) for name, limit in config.ulimits.items()} == {
        "nofile": (10, 20),
        "nproc": (5, 5),
    }
    assert (config.tmpfs["/t"].size, config.tmpfs["/t"].mode, config.tmpfs["/t"].exec) == (1 << 20, 0o700, False)
    assert (config.cap_add, config.devices[0].target, config.extra_hosts) == (
        ("NET_RAW", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID"),
        "/dev/fuse",
        {"db": "10.0.0.1"},
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"memory": "lots"},
            "wrong config: memory = 'lots': a size is a number of bytes or a text such as '512m' or '2g'",
        ),
        (
            {"memory": "1k"},
            "wrong config: memory = '1k': a sandbox needs 16 MiB of memory at least, .* for no limit give 'unlimited'",
        ),
        ({"pids_limit": 1}, "wrong config: pids_limit = 1: a sandbox needs 16 processes and threads at least"),
        ({"file_limit": 0}, "wrong config: file_limit = 0: Input should be greater than 0"),
        ({"memroy": 1}, r"wrong config: memroy: there is no such setting; did you mean 'memory'\?$"),
        ({"xyzzy": 1}, r"wrong config: xyzzy: there is no such setting; there are: engine, image, "),
        ({"mounts": [{"xyzzy": 1}]}, r"mounts: there is no such setting$"),
        ({"workdir": "x"}, "wrong config: workdir = 'x': it is an absolute path below '/'"),
        ({"workdir": "/a/../b"}, "without '.', '..'"),
        ({"name": "-x"}, "a name begins with a letter or digit"),
        ({"user": "a b"}, "a user is a name, a uid or uid:gid"),
        ({"cap_add": ["NET_RAWR"]}, r"a name of capabilities\(7\) such as NET_RAW, or ALL"),
        ({"tmpfs": {"/x": "uid=5"}}, "a tmpfs option is size=, mode=, exec or noexec, not 'uid=5'"),
        ({"ports": {"99999": 1}}, "a port is 1 to 65535"),
        ({"mounts": ["./a:/b"]}, "a bind mount's source is an absolute path"),
        ({"mounts": ["/a:/.samebox"]}, "/.samebox is the agent's own place"),
        ({"ulimits": {"nofiles": 1}}, "a ulimit is one of core, cpu, "),
        ({"ulimits": {"nofile": (2, 1)}}, "soft value is at most its hard one"),
        ({"security_opt": ["no-new-privileges"]}, "use no_new_privileges"),
        ({"labels": {"samebox.owner": "me"}}, "names that start with 'samebox.' are reserved"),
        ({"isolation": "strong"}, "isolation = 'strong': Input should be 'none', 'process'"),
        ({"memory_swap": "1g"}, r"it needs `memory` \(2 GiB by default\), and is at least as large"),
        ({"memory_swap": "1g", "memory": None}, "it needs `memory`"),
        ({"image": "-v"}, "it is empty, begins with '-' or has a NUL"),
        ({"image": "x", "build": "python-minimal"}, "two ways to say the same"),
    ],
)
def test_a_mistake_names_field_value_and_what_is_accepted(settings: dict[str, Any], words: str) -> None:
    """The one error that a user sees, before any engine is contacted."""
    with pytest.raises(ConfigError, match=words):
        SandboxConfig(**settings)


@pytest.mark.parametrize(
    "env", [{"A": 5, "B": "hunter2"}, ["hunter2"], {"": "hunter2"}, {"A": "hunter2\0"}, {"A=": "hunter2"}]
)
def test_env_values_are_in_no_error(env: Any) -> None:
    """A mistake beside a secret must not print the secret."""
    with pytest.raises(ConfigError, match="env") as caught:
        SandboxConfig(env=env)
    assert "hunter2" not in str(caught.value)


def test_env_values_are_in_no_repr() -> None:
    """Reprs end up in logs and tracebacks."""
    config = SandboxConfig(env={"TOKEN": "hunter2"}, memory="1g")

    assert "hunter2" not in repr(config) + str(config)
    assert "TOKEN" in repr(config)


def test_a_config_survives_json() -> None:
    """What was set comes back, and what was not is still not asked for."""
    config = SandboxConfig(memory="1g", env={"A": "b"}, mounts=["v:/v"], tmpfs=["/t"], ports=["80"], pids_limit=20)
    again = SandboxConfig.model_validate_json(config.model_dump_json())

    assert (again, again.asked) == (config, config.asked)


def test_memory_has_a_limit_unless_it_is_said_that_it_has_none() -> None:
    """None and "unlimited" are the same; either is asked for, and comes back from a dump."""
    assert SandboxConfig().memory == 2 << 30
    assert SandboxConfig(memory="unlimited") == SandboxConfig(memory=None)
    again = SandboxConfig.model_validate_json(SandboxConfig(memory="unlimited").model_dump_json())
    assert (again.memory, sorted(again.asked)) == (None, ["memory"])
    bounds = [SandboxConfig(**each).files_in_memory for each in ({}, {"disk": "1g"}, {"memory": None})]
    assert bounds == [2 << 30, 1 << 30, None]


def test_a_config_is_frozen() -> None:
    """Two sandboxes may share one."""
    with pytest.raises(ValueError, match="frozen"):
        SandboxConfig().memory = 5  # type: ignore[misc]


def test_later_sources_win_and_each_value_knows_its_origin(tmp_path: Path) -> None:
    """Defaults, pyproject.toml, samebox.toml, the environment, flags."""
    (tmp_path / "pyproject.toml").write_text('[tool.samebox]\nmemory = "1g"\ncpus = 1.0\nuser = "a"\nhostname = "h"\n')
    (tmp_path / "samebox.toml").write_text('cpus = 2.0\nuser = "b"\nhostname = "i"\n[env]\nA = "1"\n')
    (tmp_path / "below").mkdir()
    loaded = load_config(
        tmp_path / "below",
        {"SAMEBOX_USER": "1000", "SAMEBOX_HOSTNAME": "j", "SAMEBOX_PORTS": '{"80": null}'},
        hostname="k",
    )

    assert loaded.config == SandboxConfig(
        memory="1g", cpus=2.0, user="1000", hostname="k", env={"A": "1"}, ports={"80": None}
    )
    assert {name: Path(origin).name for name, origin in loaded.origins.items() if origin != "default"} == {
        "memory": "pyproject.toml", "cpus": "samebox.toml", "env": "samebox.toml", "user": "SAMEBOX_USER",
        "ports": "SAMEBOX_PORTS", "hostname": "flags",
    }  # fmt: skip


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    """A user with four sources has to know which one to correct."""
    (tmp_path / "samebox.toml").write_text('memory = "lots"\n')
    with pytest.raises(ConfigError, match=r"samebox\.toml: wrong config: memory = 'lots'"):
        load_config(tmp_path, {})
    (tmp_path / "samebox.toml").write_text("memory = = 1\n")
    with pytest.raises(ConfigError, match=r"samebox\.toml can't be read as TOML"):
        load_config(tmp_path, {})
    with pytest.raises(ConfigError, match=r"SAMEBOX_CPUS: wrong config: cpus = -1"):
        load_config(tmp_path / "..", {"SAMEBOX_CPUS": "-1"})


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ('engine = "docker"\nimage = "busybox"\nmemory = "1g"\nisolation = "vm"\nnetwork = false\n', []),
        ("privileged = true\n", ["privileged"]),
        ('mounts = ["/:/host"]\ncap_drop = []\nnetwork = "host"\n', ["mounts", "cap_drop", "network"]),
        ('image = "dir:/"\nisolation = "none"\n', ["image", "isolation"]),
        ('image = "host"\nuser = "0:1000"\n', ["image", "user"]),
        ('user = "1000"\nenv = { A = "1" }\nworkdir = "/w"\ncpus = 1\nidle_timeout = 5\nread_only = true\n', []),
        ("keep = true\nlabels = { traefik = 'on' }\nvolumes_remove = false\n", ["keep", "labels"]),
        ('output_limit = "1g"\nfile_limit = "1t"\npids_limit = 100000\n', ["output_limit", "file_limit", "pids_limit"]),
        ('output_limit = "1k"\nfile_limit = "1k"\npids_limit = 20\ndisk = "1g"\nmax_lifetime = 9\n', []),
        ('memory = "1g"\nmemory_swap = "2g"\nshm_size = "1g"\n', ["memory_swap", "shm_size"]),
        ('memory = "1g"\nmemory_swap = "1g"\nshm_size = "64m"\ntmpfs = ["/t:size=1g"]\n', []),
        ('memory = "1g"\ntmpfs = ["/t:size=1g", "/u:size=1k"]\n', ["tmpfs"]),
        ('memory = "1g"\ntmpfs = ["/t"]\n', ["tmpfs"]),
        ('no_new_privileges = false\ncap_drop = ["CHOWN"]\n', ["no_new_privileges", "cap_drop"]),
        ('cap_drop = ["ALL", "CHOWN"]\nisolation = "container"\n', []),
        ('isolation = "strongest"\ndisk = "2g"\nread_only = true\n', []),
        ('disk = "3g"\nread_only = true\n', ["disk"]),
        ('memory = "1g"\ndisk = "2g"\n', ["disk"]),
        ("ulimits = { memlock = 1 }\n", ["ulimits"]),
        ('name = "yours"\non_conflict = "replace"\n', ["name", "on_conflict"]),
        ('[options]\nurl = "tcp://elsewhere:2375"\n', ["options"]),
        ('build = "python-minimal"\n', ["build"]),
    ],
)
def test_what_a_file_opens_is_told(tmp_path: Path, text: str, opening: list[str]) -> None:
    """A project's file may come from whoever wrote the code that the sandbox is for."""
    (tmp_path / "samebox.toml").write_text(text)
    path = str(tmp_path / "samebox.toml")
    loaded = load_config(tmp_path, {"SAMEBOX_USERNS": "host"}, cap_add=["CHOWN"])

    assert {origin: sorted(names) for origin, names in loaded.openings().items()} == (
        {path: sorted(opening)} if opening else {}
    )
    assert set(opening) <= set(loaded.from_files()[path])


def test_every_setting_has_a_rule_of_what_opens() -> None:
    """A new setting that nobody has looked at would be taken from a stranger's file."""
    assert OPENS.keys() == SandboxConfig.model_fields.keys()


@pytest.mark.parametrize("name", SandboxConfig.model_fields)
def test_no_default_opens(name: str) -> None:
    """A file that says what holds anyway needs no trust."""
    default = SandboxConfig.model_fields[name].get_default(call_default_factory=True)
    assert not OPENS[name](SandboxConfig(), default, default)


def test_a_limit_is_compared_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the default is or becomes, more than that, or no limit, is what a stranger may not ask for."""
    monkeypatch.setattr(SandboxConfig.model_fields["memory"], "default", 2 << 30)
    for value, opening in ((None, True), (2 << 30, False), (1 << 30, False), ((2 << 30) + 1, True)):
        assert opens(SandboxConfig(memory=value), "memory") is opening, value
