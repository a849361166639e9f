"""`samebox run`: runs one command in a sandbox of its own, with its output as it comes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samebox.capabilities import Isolation
from samebox.cli.console import ended_in_order, err, fail, failures
from samebox.cli.relay import Relay
from samebox.config.model import STRONGEST
from samebox.config.sources import load_config
from samebox.config.untrusted import UNTRUSTED
from samebox.errors import ConfigError
from samebox.guest.results import ExecTimeoutError
from samebox.sandbox.lifecycle import silent
from samebox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from samebox.config.model import SandboxConfig

TIMED_OUT = 124
"""The exit code of a timeout, as coreutils' timeout has it."""


def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments; put `--` before them.")],
    engine: Annotated[str | None, typer.Option(help="Which engine; auto, the default: the first usable one.")] = None,
    image: Annotated[
        str | None, typer.Option(help="A container image, tar:PATH, dir:PATH or host; default: the engine's.")
    ] = None,
    env: Annotated[
        list[str], typer.Option("--env", "-e", help="NAME=VALUE, or NAME for the value that it has here.")
    ] = [],  # noqa: B006 - typer copies the list
    upload: Annotated[
        list[str],
        typer.Option(help="SOURCE[:DESTINATION]: copy in first; a directory's content goes to the workdir by default."),
    ] = [],  # noqa: B006
    download: Annotated[
        list[str], typer.Option(help="SOURCE[:DESTINATION]: copy out afterwards, whatever the exit code.")
    ] = [],  # noqa: B006
    timeout: Annotated[float | None, typer.Option(help="Seconds; then everything is ended, exit code 124.")] = None,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Run it on a terminal.")] = False,
    user: Annotated[str | None, typer.Option("--user", "-u", help="A name, uid or uid:gid.")] = None,
    workdir: Annotated[str | None, typer.Option("--workdir", "-w", help="Where it runs.")] = None,
    network: Annotated[
        str | None, typer.Option(help="none (the default), default (the engine's), or a network's name.")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", "-m", help="As 512m.")] = None,
    cpus: Annotated[float | None, typer.Option(help="As 1.5.")] = None,
    pids_limit: Annotated[int | None, typer.Option(help="Most processes at a time.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Make the root file system refuse writes.")] = False,
    tmpfs: Annotated[list[str], typer.Option(help="PATH[:OPTIONS], as /tmp:size=64m.")] = [],  # noqa: B006
    disk: Annotated[str | None, typer.Option(help="As 1g: the size of the writable layer.")] = None,
    max_lifetime: Annotated[
        float | None, typer.Option(help="Seconds after which the sandbox ends in any case.")
    ] = None,
    isolation: Annotated[
        str | None, typer.Option(help=f"The weakest wall to accept: {', '.join(Isolation)}; or {STRONGEST}.")
    ] = None,
    untrusted: Annotated[
        bool,
        typer.Option(
            "--untrusted", help="The strictest that works here, for hostile code; files of the project are not read."
        ),
    ] = False,
    name: Annotated[str | None, typer.Option(help="A name: attach to the sandbox that has it, or make it.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox there afterwards.")] = False,
    option: Annotated[list[str], typer.Option("--option", "-o", help="NAME=VALUE for the engine itself.")] = [],  # noqa: B006
    trust: Annotated[
        bool, typer.Option("--trust", help="Take settings from files that open the sandbox, as mounts, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Don't say which engine is used.")] = False,
) -> None:
    """Run a command in a sandbox, with its output as it comes, and exit with its exit code.

    Stdin is passed on. Exit code 124 is a timeout, 125 a failure of samebox itself. Settings come from pyproject.toml,
    samebox.toml, SAMEBOX_ variables and these options, as `samebox config show` shows them; later ones win.
    """
    given = {
        "engine": engine,
        "image": image,
        "user": user,
        "workdir": workdir,
        "network": {"none": False, "default": True}.get(network, network) if network is not None else None,
        "memory": memory,
        "cpus": cpus,
        "pids_limit": pids_limit,
        "read_only": read_only or None,
        "disk": disk,
        "max_lifetime": max_lifetime,
        "isolation": isolation,
        "name": name,
        "keep": keep or None,
    }
    settings: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    with failures():
        if option:
            settings["options"] = _pairs(option, "--option")
        if env:
            settings["env"] = _environment(env)
        if tmpfs:
            settings["tmpfs"] = dict(text.partition(":")[::2] for text in tmpfs)
        uploads = [_transfer(text, host_first=True) for text in upload]
        downloads = [_transfer(text, host_first=False) for text in download]
        config = _load(settings, trust=trust, untrusted=untrusted, say=_say(quiet))
        with ended_in_order(), Sandbox(config, progress=_say(quiet)) as box:
            if not quiet and box.info is not None:
                err.print(f"samebox: {box.summary}", markup=False)
                for capability, reason in box.unenforced.items():
                    err.print(f"samebox: not enforced here: {capability}: {reason}", markup=False)
            for source, destination in uploads:
                box.upload(source, destination or ("." if Path(source).is_dir() else Path(source).name))
            try:
                code = Relay(box, command, timeout=timeout, tty=tty).run()
            except ExecTimeoutError as error:
                code = TIMED_OUT
                err.print(f"samebox: {error}", markup=False)
            for source, destination in downloads:
                box.download(source, destination or Path(source).name or "download")
    sys.exit(code)


def _say(quiet: bool) -> Callable[[str], None]:  # noqa: FBT001
    return silent if quiet else lambda line: err.print(f"samebox: {line}", markup=False)


def _load(settings: dict[str, Any], *, trust: bool, untrusted: bool, say: Callable[[str], None]) -> SandboxConfig:
    """Return the effective config; fail if a file opens the sandbox and `trust` is false.

    With `untrusted` nothing comes from files: what only narrows a sandbox still chooses the engine, as a limit does
    that the one with the strongest wall lacks.
    """
    if trust and untrusted:
        fail("--trust takes settings from files and --untrusted takes none: give one of them")
    loaded = load_config(base=UNTRUSTED if untrusted else {}, files=not untrusted, **settings)
    for path, names in loaded.left_out.items():
        say(f"not taken from {path} with --untrusted: {', '.join(names)}; give options for what is needed")
    for path, names in loaded.openings().items():
        if not trust:
            fail(
                f"{path} sets {', '.join(names)}, by which the sandbox reaches more than by default. Look at the file; "
                "if it is to be so, say --trust"
            )
    for path, names in loaded.from_files().items():
        say(f"from {path}: {', '.join(names)}")
    return loaded.config


def _pairs(texts: list[str], flag: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            found = f"{name}=" if equals else "a text without '='"
            raise ConfigError(f"{flag} takes NAME=VALUE; it got {found}")  # which may be a value alone
        pairs[name] = value
    return pairs


def _environment(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            raise ConfigError(f"--env {name}: there is no such variable here; give --env {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def _transfer(text: str, *, host_first: bool) -> tuple[str, str]:
    """Return the source and the destination of an --upload or --download, "" being the default destination."""
    source, _, destination = text.partition(":")
    if host_first and not Path(source).exists():
        fail(f"--upload {text}: there is no {source!r} here")
    return source, destination
