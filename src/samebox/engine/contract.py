"""Engine and ByteStream: the interfaces that a plugin implements.

An engine only creates, starts, stops and removes sandboxes, delivers the agent and opens a byte stream to the agent.
Commands and file operations go through the agent and are the same code on every engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig, config_error
from samebox.config.reference import image_capability
from samebox.engine.images import find_image
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.ports import HostPort
    from samebox.engine.images import ImageStatus


State = Literal["created", "running", "stopped"]


class ByteStream(ABC):
    """A duplex stream of bytes to one agent.

    A stream with a file descriptor returns the descriptor from `fileno`, never blocks in `recv` or `send`, and samebox
    waits for the descriptor with a selector. A stream without a descriptor (a websocket) returns None from `fileno` and
    blocks in `recv`, and samebox reads from a thread of its own.
    """

    @abstractmethod
    def fileno(self) -> int | None:
        """Return the descriptor to wait on, or None."""

    @abstractmethod
    def recv(self, size: int) -> bytes:
        """Return up to about `size` bytes; b"" when the other side has ended the stream.

        Raises:
            BlockingIOError: There is nothing to read at the moment.
            OSError: The stream is broken.
        """

    @abstractmethod
    def send(self, data: bytes | memoryview) -> int:
        """Send some of `data` and return how many bytes were taken.

        Raises:
            BlockingIOError: Nothing can be taken at the moment.
            OSError: The stream is broken.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the stream, also while another thread is in `recv`. May be called again."""

    def diagnostics(self) -> str:
        """Return what the engine said beside the stream, as why the agent's process did not start; "" if nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The facts about an engine on this host, as `probe` found them."""

    name: str
    version: str
    """The version of the daemon or program that does the work."""
    isolation: Isolation
    address: str = ""
    """Where the engine was reached: a socket's URL or a program's path. Without secrets."""
    rootless: bool = False
    missing: Mapping[Capability, str] = field(default_factory=dict)
    """The claimed capabilities that this host lacks, each with the reason."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Other facts that help to understand a report, as the OCI runtime or the storage driver."""


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """The engine's facts about one sandbox."""

    id: str
    name: str
    state: State
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    """The exit code of the sandbox's first process, once the sandbox has stopped."""
    out_of_memory: bool = False
    """Whether the kernel ended the sandbox for its memory limit."""
    created: float | None = None
    """When the sandbox was created, in seconds since 1970."""
    paused: bool = False
    """Whether the sandbox runs, and its processes are held until somebody lets them go on."""


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """The engine's facts about one named volume."""

    name: str
    created: float | None = None
    """When the volume was created, in seconds since 1970."""
    labels: Mapping[str, str] = field(default_factory=dict)


class EngineOptions(BaseModel):
    """The base of a model of an engine's own options; without fields of its own, the model accepts no options."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class Engine(ABC):
    """Lifecycle of sandboxes on one engine. Synchronous; methods may be called from several threads at once.

    A plugin registers the class (see `samebox.engine.hookspecs`); making an instance contacts nothing. Every method
    that talks to the engine raises `EngineUnavailableError` where the engine can't be reached, with the address tried
    and the remedy, and `EngineError` with the engine's own words where the engine refuses.

    Args:
        options: The `options` of the config.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    name: ClassVar[str]
    """The engine's name, the same as the name of its entry point."""
    capabilities: ClassVar[frozenset[Capability]]
    """The capabilities that the engine claims on a host that lacks nothing."""
    lacks: ClassVar[Mapping[Capability, str]] = {}
    """The reason for each capability that the engine does not claim, and what to do instead; for errors."""
    default_image: ClassVar[str | None] = None
    """The image for a config that names no image; None: the config has to name an image."""
    options_model: ClassVar[type[EngineOptions]] = EngineOptions
    """The model of the config's `options`."""
    agent_delivered: ClassVar[bool] = True
    """Whether the agent is copied to the engine, so that its first exchange has to prove that the copy is whole."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        try:
            self.options = self.options_model.model_validate(dict(options or {}))
        except ValidationError as error:
            known = self.options_model.model_fields
            wrong = config_error(error, dict(options or {}), known, f"options for engine {self.name!r}")
        else:
            return
        raise wrong  # out here, so that pydantic's error, which has the values, is not its context

    @abstractmethod
    def probe(self) -> EngineInfo:
        """Reach the engine and return the facts about it, and which claimed capabilities this host lacks.

        The engine keeps the answer where finding it is costly.
        """

    def stronger(self) -> Sequence[Mapping[str, Any]]:
        """Return the options with which this engine has a stronger wall than `probe` tells, the weakest wall first.

        As another OCI runtime that the daemon has. Each is merged into the config's options, and an engine made with
        them is asked what it is and checked like any other. An engine whose options name the runtime has no more.
        """
        return ()

    def image_capability(self, image: str | None) -> Capability | None:
        """Return the capability that an image's reference asks of the engine; None for the engine's default image.

        A name asks for `Capability.CONTAINER_IMAGE`, unless the engine has an image of that name without having
        container images.
        """
        return image_capability(image)

    @abstractmethod
    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make the image of the config available and return what `create` needs to use it, as its id.

        Raises:
            ImageNotFoundError: The image is not on the engine, and the engine can't get it.
            ConfigError: The engine can't read a reference of this form.
        """

    @abstractmethod
    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Create a sandbox with the agent delivered, and `agent init` as its first process.

        `samebox.engine.program.init_argv` returns the command line of `agent init`.

        Args:
            config: The sandbox's config, already checked against the capabilities. The engine does not set the config's
                env: the agent client hands the env over, so that no value is stored in the engine's metadata.
            image: The image as `ensure_image` returned it.
            name: The sandbox's name.
            labels: All of its labels.

        Returns:
            The sandbox's id. A call that raises leaves nothing behind.

        Raises:
            SandboxExistsError: The name is taken.
        """

    @abstractmethod
    def start(self, sandbox_id: str) -> None:
        """Start a sandbox that is created or stopped; nothing happens to a running sandbox.

        Raises:
            SandboxNotFoundError: There is no such sandbox.
        """

    @abstractmethod
    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a sandbox's processes, after `grace` seconds by force; nothing happens to a stopped sandbox.

        Raises:
            SandboxNotFoundError: There is no such sandbox.
        """

    @abstractmethod
    def remove(self, sandbox_id: str) -> None:
        """End and remove a sandbox with all that belongs to it; nothing happens if there is no such sandbox."""

    @abstractmethod
    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return the engine's knowledge of a sandbox, by the sandbox's id or name.

        Raises:
            SandboxNotFoundError: There is no such sandbox.
        """

    @abstractmethod
    def list(self) -> list[SandboxStatus]:
        """Return the sandboxes that samebox made on this engine, stopped ones included, whoever owns them."""

    @abstractmethod
    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Open a byte stream to a new `agent serve` in a running sandbox.

        Args:
            sandbox_id: The sandbox.
            user: The user that the agent and so its commands run as; None: the sandbox's own user. Given only to an
                engine with `Capability.EXEC_USER`.

        Raises:
            SandboxGoneError: The sandbox does not run any more.
        """

    def workdir(self, sandbox_id: str, config: SandboxConfig) -> str:
        """Return where a sandbox's commands start: the config's workdir, where the sandbox has a root file system."""
        return config.workdir

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image on the engine and return what `create` needs to use it.

        An image is built once for each content and identity of its base images; two processes that build the same image
        at once build it once. `samebox.images.builder` does all of this for an engine with a build API of its own.
        Called only with `Capability.BUILD`.

        Args:
            config: The config, with `build`; its `pull` and `platform` are about the base images of the build.
            progress: Takes the lines of the build's log as they come.

        Raises:
            BuildError: A step failed; the error's text has the step and the last lines of the step's log.
            ImageNotFoundError: A base image is not on the engine, and the engine can't get it.
        """
        raise self._unsupported(Capability.BUILD)

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep the state of a sandbox's files as an image and return its reference. Needs `Capability.SNAPSHOT`."""
        raise self._unsupported(Capability.SNAPSHOT)

    def images(self) -> Sequence[ImageStatus]:
        """Return the images that samebox has made here, whoever asked for them: builds, snapshots, imports of files.

        An engine that makes images lists all of them, and none of anybody else's.
        """
        return ()

    def remove_image(self, name: str) -> None:
        """Remove an image that samebox has made here, with all of its names.

        Args:
            name: One of the image's names, or the image's id.

        Raises:
            ImageNotFoundError: There is no such image.
            EngineError: A sandbox has the image, or samebox did not make it.
        """
        find_image(self.images(), name, self.name)

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the host a published port is, which is named as "8080/tcp". Needs `Capability.PORTS`.

        Raises:
            EngineError: The port is not published.
        """
        raise self._unsupported(Capability.PORTS)

    def exposure(self, sandbox_id: str) -> str | None:
        """Return why other sandboxes can reach a running sandbox with `network=True`; None if they can't.

        An engine whose `probe` can tell has it among the missing capabilities, as `Capability.NETWORK_APART`. This
        method is for what only trying tells. Called for each sandbox with `network=True`, so that the engine keeps the
        answer.

        Raises:
            SandboxNotFoundError: There is no such sandbox.
        """
        return None

    def prune(self) -> Sequence[str]:
        """Remove what the engine has made for sandboxes that are gone, and return the names of what was removed.

        What somebody uses, or may be about to use, stays. Sandboxes, images and volumes are left alone.
        """
        return ()

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the named volumes that samebox made. Needs `Capability.VOLUMES`."""
        raise self._unsupported(Capability.VOLUMES)

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; nothing happens if there is no such volume. Needs `Capability.VOLUMES`.

        Raises:
            EngineError: The volume is in use, or samebox did not make it.
        """
        raise self._unsupported(Capability.VOLUMES)

    def _unsupported(self, capability: Capability) -> UnsupportedError:
        return UnsupportedError(capability, self.name, "no such thing on this engine")

    def heal_agent(self) -> bool:
        """Compare the delivered agent with the agent of this installation, and deliver the latter anew if they differ.

        Called when a new sandbox's agent does not start or does not prove its digest, as after a crash in the middle of
        a delivery.

        Returns:
            Whether the delivered agent was wrong, so that another try makes sense.
        """
        return False

    def close(self) -> None:
        """Close the engine object's connections, and end what the object itself started. Sandboxes are untouched."""
