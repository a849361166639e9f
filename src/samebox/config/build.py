"""ImageBuild and Runtime: images that are built on the engine, once for each content."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    field_validator,
    model_validator,
)

from samebox.config.environment import check_env, masked, without_values
from samebox.config.paths import absolute_path
from samebox.config.reference import check_new_name
from samebox.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGE = {
    # PEP 508 names with extras and version clauses; no URLs, no options.
    "pip": re.compile(
        r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?((==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!_-]+(,(==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!_-]+)*)?"
    ),
    "npm": re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*(@[A-Za-z0-9^~.<>=*+-]+)?"),
    "apt": re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?"),
    "cargo": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(@[A-Za-z0-9.+-]+)?"),
}
_INSTALL: dict[str, list[list[str]]] = {
    "pip": [["python3", "-m", "pip", "install", "--no-cache-dir", "--"]],
    "npm": [["npm", "install", "--global", "--no-fund", "--no-audit", "--"]],
    "apt": [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "--"]],
    "cargo": [["cargo", "install", "--locked", "--"]],
}
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/@-]{0,254}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _without_values(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            made = handler(value)
            made._fit_together()  # noqa: SLF001 - its own; an error of a validator around this one would have the values
        except ValueError as error:
            wrong = without_values(error, cls.__name__)
        else:
            return made
        raise wrong  # out here, so that the error with the values is not its context

    def _fit_together(self) -> None:
        """Check settings that exclude or need one another; raise ValueError."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(value) if name in {"env", "args"} else value


class Runtime(_Model):
    """A language's environment as an image: a base, packages, and commands that set it up.

    No text of a Runtime reaches a Dockerfile unescaped: packages are checked against their manager's grammar, and every
    command is in exec form.
    """

    name: str
    """The Runtime's name; part of the image's name."""
    base_image: str
    """The image that the Runtime's image is built on."""
    packages: tuple[str, ...] = ()
    """The packages to install, with versions as the package manager writes them."""
    package_manager: Literal["pip", "npm", "apt", "cargo"] = "pip"
    """The package manager that installs `packages`."""
    setup_commands: tuple[tuple[str, ...], ...] = ()
    """The commands to run after the packages are installed, each a list of the program and its arguments."""
    env: dict[str, str] = Field(default_factory=dict)
    """The image's environment variables; they are stored in the image, so they are no place for secrets."""
    workdir: Annotated[str, Field(min_length=2)] = "/workspace"
    """The image's working directory."""
    image: str | None = None
    """The name that the image gets; None: a name made of the Runtime's name and the image's content."""
    cache: bool = True
    """Whether an image that was built of the same content before is used again."""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", value):
            raise ValueError("a runtime's name has lower case letters, digits, '.', '_' and '-'")
        return value

    @field_validator("base_image", "image")
    @classmethod
    def _image(cls, value: str | None) -> str | None:
        if value is not None and not _IMAGE.fullmatch(value):
            raise ValueError(f"an image reference is as name:tag, not {value!r}")
        return value

    @field_validator("env")
    @classmethod
    def _env(cls, value: dict[str, str]) -> dict[str, str]:
        check_env(value, "an image's environment")
        for name, text in value.items():
            if not _ENV_NAME.fullmatch(name) or re.search(r"[\0\r\n]", text):
                raise ValueError(
                    f"an image's environment has plain names and values of one line (see {name.partition('=')[0]!r})"
                )
        return value

    @field_validator("setup_commands")
    @classmethod
    def _commands(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if not all(command and all("\0" not in word for word in command) for command in value):
            raise ValueError("a setup command is a list of the program and its arguments")
        return value

    @field_validator("workdir")
    @classmethod
    def _workdir(cls, value: str) -> str:
        return absolute_path(value)

    def _fit_together(self) -> None:
        pattern = _PACKAGE[self.package_manager]
        for package in self.packages:
            if not pattern.fullmatch(package):
                raise ValueError(f"{package!r} is no package as {self.package_manager} names them; nothing was run")

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The commands that make the image, in order, each the program and its arguments."""
        install = [list(command) for command in _INSTALL[self.package_manager]] if self.packages else []
        if install:
            install[-1] += self.packages
        return (*map(tuple, install), *self.setup_commands)

    @property
    def dockerfile(self) -> str:
        """The Dockerfile's text, with every command in exec form."""
        lines = [f"FROM {self.base_image}"]
        lines += [f"ENV {name}={_quoted(text)}" for name, text in sorted(self.env.items())]
        lines += [f"RUN {json.dumps(step)}" for step in self.steps]
        lines.append(
            f"WORKDIR {_quoted(self.workdir) if re.search(r'[^a-zA-Z0-9_/.-]', self.workdir) else self.workdir}"
        )
        return "\n".join(lines) + "\n"


class ImageBuild(_Model):
    """An image to build: from a directory with a Dockerfile, from a Dockerfile's text, or from a Runtime.

    A text in place of the fields is a directory's path if it has a "/" or is ".", else a preset's name.
    """

    context: Path | None = None
    """The directory with the build's files; what its ignore file leaves out is not sent.

    That is DOCKERFILE.dockerignore, or else .dockerignore, or else .containerignore."""
    dockerfile: str | None = None
    """With a context, the Dockerfile's path relative to the context; without a context, the Dockerfile's text.

    None: Dockerfile in the context, or else Containerfile."""
    runtime: Runtime | None = None
    """The Runtime to build."""
    preset: str | None = None
    """The name of a preset; `samebox.images.presets` puts the Runtime in its place before an engine is asked."""
    args: dict[str, str] = Field(default_factory=dict)
    """The build arguments; they are stored in the image's history, so they are no place for secrets."""
    target: str | None = None
    """The stage of the Dockerfile to build; None: the last stage."""
    tag: str | None = None
    """The name that the image gets; None: a name made of the image's content."""

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, value: Any) -> Any:
        if isinstance(value, Runtime):
            return {"runtime": value}
        if isinstance(value, Path):
            return {"context": value}
        if isinstance(value, str):
            return {"context": Path(value)} if "/" in value or value == "." else {"preset": value}
        return value

    @field_validator("args")
    @classmethod
    def _args(cls, value: dict[str, str]) -> dict[str, str]:
        check_env(value, "a build's arguments")
        return value

    def _fit_together(self) -> None:
        """Check that exactly one source is given, and that the context's directory and Dockerfile are there."""
        written = self.context is not None or self.dockerfile is not None
        if sum((self.runtime is not None, self.preset is not None, written)) != 1:
            raise ValueError(
                "an image is built from a runtime, a preset, or a context and dockerfile: give one of them"
            )
        if self.context is not None and not self.context.is_dir():
            raise ValueError(f"{str(self.context)!r} is no directory")
        if self.context is not None and not (self.context / self.file).is_file():
            raise ValueError(f"{str(self.context)!r} has no {self.file}")
        if self.context is not None and self.dockerfile is not None and not _below(self.dockerfile):
            raise ValueError(f"a Dockerfile is below the context, as 'docker/Dockerfile', not {self.dockerfile!r}")

    @field_validator("tag")
    @classmethod
    def _tag(cls, value: str | None) -> str | None:
        if value is not None:
            check_new_name(value)
        return value

    @property
    def file(self) -> str:
        """The path of the Dockerfile in the context: Dockerfile, or Containerfile where there is no Dockerfile."""
        names = (self.dockerfile,) if self.dockerfile is not None else ("Dockerfile", "Containerfile")
        there = (name for name in names if self.context is not None and (self.context / name).is_file())
        return next(there, names[0])

    @property
    def text(self) -> str:
        """The Dockerfile's text.

        Raises:
            ConfigError: The build has the name of a preset that was not looked up yet, or the file is not UTF-8.
        """
        if self.preset is not None:
            msg = f"the preset {self.preset!r} is still a name: samebox.images.presets.with_runtime looks it up"
            raise ConfigError(msg)
        if self.runtime is not None:
            return self.runtime.dockerfile
        if self.context is not None:
            try:
                return (self.context / self.file).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte {error.start} is {error.object[error.start]:#04x}"
                found = f"{self.file} in {str(self.context)!r} is not UTF-8 ({byte})"
                msg = f"wrong config: build: {found}; save it as UTF-8"
                raise ConfigError(msg) from None
        return self.dockerfile or ""


def _quoted(text: str) -> str:
    """Return a text as one quoted word of a Dockerfile. JSON would not do: a Dockerfile knows no escapes by number."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


def _below(path: str) -> bool:
    """Return whether a relative path stays below the directory that it begins in."""
    return path == posixpath.normpath(path) and not path.startswith(("/", "../"))


def digest(*parts: bytes) -> str:
    """Return the SHA-256 of some parts, in hex; each part's length is hashed too, which tells the parts apart."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()
