"""Recipe: a Dockerfile as steps for a sandbox, all of it checked and worked out before the first one runs."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from e2b_dockerfile_utils import ShellLex, chomp_heredoc_content, parse_dockerfile_ast, parse_heredoc

from samebox.capabilities import Capability
from samebox.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from e2b_dockerfile_utils import DockerfileAst, DockerfileHeredoc, DockerfileInstruction

    from samebox.config.build import ImageBuild

__all__ = ["ROOT", "Copy", "MakeDirectory", "Recipe", "Run", "check_instructions"]

ROOT = "0:0"
"""Who copies files and makes directories, and runs commands unless the Dockerfile says otherwise."""
_PROXIES = frozenset(
    {name for word in ("http", "https", "ftp", "no", "all") for name in (f"{word}_proxy", f"{word}_proxy".upper())}
)
"""The arguments that a Dockerfile has without an ARG, as Docker's builder knows them."""
_INSTRUCTIONS = ("FROM", "ARG", "ENV", "RUN", "COPY", "ADD", "WORKDIR", "USER")
_REMOTE = ("http://", "https://", "git@", "ssh://", "git://", "ftp://")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class Run:
    """A command."""

    text: str
    """The instruction, for the log."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    user: str
    program: str = ""
    """A text that begins with #!, which is what the command runs, as "$0"; "": there is none."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Files of the context, as root."""

    text: str
    sources: tuple[str, ...]
    """Names in the context, without a leading slash; "": all of it."""
    target: str
    """A path inside."""
    into: bool
    """Whether the target is a directory that gets the files under their own names."""
    files: tuple[tuple[str, str], ...] = ()
    """Names and texts of files that the Dockerfile itself has."""
    mode: int | None = None
    """The permission bits for all that is copied; None: those of the sources."""
    user: str = ROOT


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """A directory with its parents, as root."""

    text: str
    path: str
    user: str = ROOT


def check_instructions(build: ImageBuild) -> DockerfileAst:
    """Read a Dockerfile, and refuse what can't be done.

    Raises:
        ConfigError: It can't be read.
        UnsupportedError: An instruction, or an option of one, that only Docker and Podman have; the text has it and its
            line.
    """
    try:
        parsed = parse_dockerfile_ast(build.text)
    except ValueError as error:
        raise ConfigError(f"wrong config: build: {error}") from None
    begun = False
    for instruction in parsed.instructions:
        _check(instruction)
        if begun and instruction.name == "FROM":
            raise _refused(instruction, "it builds one stage")
        begun |= instruction.name == "FROM"
        if not begun and instruction.name != "ARG":
            raise ConfigError(f"wrong config: build: line {instruction.start_line}: {instruction.name} before FROM")
    if not begun:
        raise ConfigError("wrong config: build: the Dockerfile has no FROM")
    return parsed


def _check(instruction: DockerfileInstruction) -> None:
    if instruction.name not in _INSTRUCTIONS:
        raise _refused(instruction, f"it knows {', '.join(_INSTRUCTIONS)}")
    for flag in instruction.flags:
        if instruction.name not in {"COPY", "ADD"} or not flag.startswith("--chmod="):
            raise _refused(instruction, f"it knows no option of {instruction.name}, as {flag}")
    if not instruction.args:
        line = f"line {instruction.start_line}: {instruction.name}"
        raise ConfigError(f"wrong config: build: {line} without an argument")


def _refused(instruction: DockerfileInstruction, why: str) -> UnsupportedError:
    where = f"{instruction.name} in line {instruction.start_line} of the Dockerfile"
    reason = f"{where}: a build in a sandbox can't do that, {why}; engines docker and podman build all of Dockerfiles"
    return UnsupportedError(Capability.BUILD, "bubblewrap", reason)


@dataclass
class Recipe:
    """The steps of a Dockerfile over its base image.

    Args:
        build: What to build.
        environment: That of the base image's commands.
        user: The base image's user.
        names: What the context has.
        has: Tells whether the context has a path, which may go through its links.

    Raises:
        ConfigError: It can't be read, or names files that are not there.
        UnsupportedError: It needs what only Docker and Podman have.
    """

    build: ImageBuild
    environment: Mapping[str, str]
    user: str
    names: Sequence[str]
    has: Callable[[str], bool]
    steps: list[Run | Copy | MakeDirectory] = field(default_factory=list)
    set: dict[str, str] = field(default_factory=dict)
    """What the image adds to the environment."""

    def __post_init__(self) -> None:
        parsed = check_instructions(self.build)
        self._args: dict[str, str] = {}
        self._cwd = "/"
        self._runs_as = ROOT
        self._escape = parsed.escape_token
        stage = ""
        for instruction in parsed.instructions:
            if instruction.name == "FROM":
                self._args = {}  # arguments before it count for it alone
                stage = instruction.args[2] if len(instruction.args) == 3 else ""
                continue
            try:
                self._take(instruction)
            except ValueError as error:
                if isinstance(error, ConfigError):
                    raise
                raise self._wrong(instruction, str(error)) from None
        if self.build.target not in {None, stage, "0"}:
            raise ConfigError(f"wrong config: build: target={self.build.target!r} is no stage of the Dockerfile")

    def _take(self, instruction: DockerfileInstruction) -> None:
        name, args = instruction.name, instruction.args
        if name == "RUN":
            command, program = _command(instruction)
            # Both streams in one, so that the last lines of the log are the last that were written.
            argv = tuple(args) if instruction.json else ("/bin/sh", "-c", f"exec 2>&1\n{command}")
            undeclared = {key: value for key, value in self.build.args.items() if key in _PROXIES}
            env = {**undeclared, **self._args, **self.set}
            self.steps.append(Run(instruction.original, argv, env, self._cwd, self._runs_as, program))
        elif name == "ENV":
            for key, value in [(args[at], self._word(args[at + 1])) for at in range(0, len(args), 3)]:
                self.set[self._word(key)] = value
        elif name == "ARG":
            for word in args:
                key, equals, default = word.partition("=")
                if key in self.build.args or equals:
                    self._args[key] = self.build.args.get(key, self._word(default))
        elif name == "WORKDIR":
            self._cwd = posixpath.normpath(posixpath.join(self._cwd, self._word(args[0])))
            self.steps.append(MakeDirectory(instruction.original, self._cwd))
        elif name == "USER":
            self.user = self._runs_as = self._word(args[0])
        else:
            self._copy(instruction)

    @property
    def _values(self) -> dict[str, str]:
        return {**self.environment, **self._args, **self.set}

    def _word(self, text: str) -> str:
        return ShellLex(self._escape, env=self._values, skip_unset_env=False).process_word(text)

    def _text(self, heredoc: DockerfileHeredoc) -> str:
        text = _content(heredoc)
        if not heredoc.expand:
            return text
        return ShellLex("\\", skip_process_quotes=True, env=self._values, skip_unset_env=False).process_word(text)

    def _copy(self, instruction: DockerfileInstruction) -> None:
        *words, last = instruction.args
        if not words:
            raise self._wrong(instruction, "it needs a source and a destination")
        patterns = [self._word(word) for word in words if parse_heredoc(word) is None]
        files = tuple((heredoc.name, self._text(heredoc)) for heredoc in instruction.heredocs)
        target = self._word(last)
        into = target in {".", ".."} or target.endswith(("/", "/.", "/.."))
        found: list[str] = []
        for pattern in patterns:
            if pattern.startswith(_REMOTE):
                raise _refused(instruction, f"it fetches nothing, as {pattern}")
            matching = self._matching(pattern)
            if not matching:
                raise self._wrong(instruction, f"the context has no {pattern!r}, or .dockerignore leaves it out")
            found += matching
        if instruction.name == "ADD" and (archive := next((n for n in found if n.endswith(_ARCHIVES)), None)):
            raise _refused(instruction, f"it unpacks no archive, as {archive}; COPY copies it as it is")
        if len(found) + len(files) > 1 and not into:
            raise self._wrong(instruction, f"several files need a destination that ends in '/', not {target!r}")
        where = posixpath.normpath(posixpath.join(self._cwd, target))
        mode = self._mode(instruction)
        self.steps.append(Copy(instruction.original, tuple(dict.fromkeys(found)), where, into, files, mode))

    def _mode(self, instruction: DockerfileInstruction) -> int | None:
        mode = None
        for flag in instruction.flags:
            word = self._word(flag.partition("=")[2])
            if not re.fullmatch("[0-7]{1,4}", word):
                raise self._wrong(instruction, f"--chmod takes octal digits, as 755, not {word!r}")
            mode = int(word, 8)
        return mode

    def _matching(self, pattern: str) -> list[str]:
        """Return the names in the context that a pattern stands for; "" is the context itself."""
        wanted = posixpath.normpath("/" + pattern).lstrip("/")
        if not wanted:
            return [""]
        if wanted in self.names or self.has(wanted):
            return [wanted]
        return _topmost(name for name in self.names if PurePosixPath("/" + name).match("/" + wanted))

    def _wrong(self, instruction: DockerfileInstruction, why: str) -> ConfigError:
        return ConfigError(f"wrong config: build: line {instruction.start_line}: {instruction.name}: {why}")


def _command(instruction: DockerfileInstruction) -> tuple[str, str]:
    """Return the shell's script for a RUN, and the program that it runs, if a here-document is one."""
    command = instruction.args[0]
    if instruction.heredocs and parse_heredoc(command.strip()) is not None:  # nothing but the here-document
        text = _content(instruction.heredocs[0])
        return ('exec "$0"', text) if text.startswith("#!") else (text, "")
    return command + "".join(f"\n{each.content}{each.name}" for each in instruction.heredocs), ""


def _content(heredoc: DockerfileHeredoc) -> str:
    return chomp_heredoc_content(heredoc.content) if heredoc.chomp else heredoc.content


def _topmost(names: Iterable[str]) -> list[str]:
    """Leave out what comes with a directory that is there too."""
    found: list[str] = []
    for name in sorted(names):
        if not any(name.startswith(f"{other}/") for other in found):
            found.append(name)
    return found
