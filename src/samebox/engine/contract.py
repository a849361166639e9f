"""Engine and ByteStream: what a plugin writes.

An engine only creates, starts, stops and removes sandboxes, delivers the agent and opens a byte stream to it.
Commands and files go through the agent and are the same code on every engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from samebox.capabilities import Capability, Isolation
from samebox.config.model import SandboxConfig, config_error
from samebox.config.reference import image_capability
from samebox.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from samebox.config.ports import HostPort


State = Literal["created", "running", "stopped"]


class ByteStream(ABC):
    """A duplex stream of bytes to one agent.

    With a file descriptor, `fileno` returns it and both `recv` and `send` never block; samebox waits for it with a
    selector. Without one (a websocket), `fileno` returns None, `recv` blocks, and samebox reads from a thread of its
    own.
    """

    @abstractmethod
    def fileno(self) -> int | None:
        """Return the descriptor to wait on, or None."""

    @abstractmethod
    def recv(self, size: int) -> bytes:
        """Return up to about `size` bytes; b"" when the other side has ended.

        Raises:
            BlockingIOError: Nothing is there at the moment.
            OSError: The stream is broken.
        """

    @abstractmethod
    def send(self, data: bytes | memoryview) -> int:
        """Take some of `data` and return how many bytes.

        Raises:
            BlockingIOError: Nothing can be taken at the moment.
            OSError: The stream is broken.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the stream, also while another thread is in `recv`. May be called again."""

    def diagnostics(self) -> str:
        """Return what the engine said beside the stream, as on a failed start of the agent's process; "" if nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is on this host, as `probe` found it."""

    name: str
    version: str
    """The version of what does the work: the daemon's or the program's."""
    isolation: Isolation
    address: str = ""
    """Where it was reached: a socket's URL or a program's path. Without secrets."""
    rootless: bool = False
    missing: Mapping[Capability, str] = field(default_factory=dict)
    """Claimed capabilities that this host lacks, each with the reason."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else helps to understand a report, as the OCI runtime or the storage driver."""


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """What the engine knows of one sandbox."""

    id: str
    name: str
    state: State
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    """Of the sandbox's first process, once it has stopped."""
    out_of_memory: bool = False
    """Whether the kernel ended it for its memory limit."""
    created: float | None = None
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """What the engine knows of one named volume."""

    name: str
    created: float | None = None
    """Seconds since 1970."""
    labels: Mapping[str, str] = field(default_factory=dict)


class EngineOptions(BaseModel):
    """Base of an engine's own options; one without fields accepts none."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class Engine(ABC):
    """Lifecycle of sandboxes on one engine. Synchronous; methods may be called from several threads at once.

    A plugin registers the class (see `samebox.engine.hookspecs`); making an instance contacts nothing. Every method
    that talks to the engine raises `EngineUnavailableError` where it can't be reached, with the address tried and the
    remedy, and `EngineError` with the engine's own words where it refuses.

    Args:
        options: The config's `options`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    name: ClassVar[str]
    """The engine's name, the same as that of its entry point."""
    capabilities: ClassVar[frozenset[Capability]]
    """What it claims on a host that lacks nothing."""
    lacks: ClassVar[Mapping[Capability, str]] = {}
    """Why it does not claim what it lacks, and what to do instead; for errors."""
    default_image: ClassVar[str | None] = None
    """The image where the config has none; None: an image has to be named."""
    options_model: ClassVar[type[EngineOptions]] = EngineOptions
    """The model of the config's `options`."""
    agent_delivered: ClassVar[bool] = True
    """Whether the agent is copied to the engine, so that the first exchange has to prove that it is whole."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        try:
            self.options = self.options_model.model_validate(dict(options or {}))
        except ValidationError as error:
            raise config_error(error, dict(options or {}), f"options for engine {self.name!r}") from None

    @abstractmethod
    def probe(self) -> EngineInfo:
        """Reach the engine and tell what it is, and which claimed capabilities this host lacks.

        The engine keeps the answer where it is costly.
        """

    def image_capability(self, image: str | None) -> Capability | None:
        """Return what an image's reference asks of the engine: None where it is the engine's default.

        A name asks for `Capability.CONTAINER_IMAGE`, unless the engine has an image of that name without having those.
        """
        return image_capability(image)

    @abstractmethod
    def ensure_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make the image of the config available and return what `create` needs to use it, as its id.

        Raises:
            ImageNotFoundError: It is not there and can't be had.
            ConfigError: The engine can't read such a reference.
        """

    @abstractmethod
    def create(self, config: SandboxConfig, *, image: str, name: str, labels: Mapping[str, str]) -> str:
        """Create a sandbox with the agent delivered, and `agent init` as its first process.

        `samebox.engine.program.init_argv` has that process's command line.

        Args:
            config: What it is asked to be; already checked against the capabilities. Its env is not the engine's to
                set: the agent client hands it over, so that no value is stored in the engine's metadata.
            image: What `ensure_image` returned.
            name: The sandbox's name.
            labels: All of its labels.

        Returns:
            The sandbox's id. Nothing is left behind when this raises.

        Raises:
            SandboxExistsError: The name is taken.
        """

    @abstractmethod
    def start(self, sandbox_id: str) -> None:
        """Start a sandbox that is created or stopped; nothing happens to a running one.

        Raises:
            SandboxNotFoundError: It is not there.
        """

    @abstractmethod
    def stop(self, sandbox_id: str, grace: float = 0.0) -> None:
        """End a sandbox's processes, after `grace` seconds by force; nothing happens to a stopped one.

        Raises:
            SandboxNotFoundError: It is not there.
        """

    @abstractmethod
    def remove(self, sandbox_id: str) -> None:
        """End and remove a sandbox with all that belongs to it; nothing happens if it is not there."""

    @abstractmethod
    def inspect(self, sandbox_id: str) -> SandboxStatus:
        """Return what is known of a sandbox, by its id or name.

        Raises:
            SandboxNotFoundError: It is not there.
        """

    @abstractmethod
    def list(self) -> list[SandboxStatus]:
        """Return the sandboxes that samebox made on this engine, stopped ones included, whoever owns them."""

    @abstractmethod
    def connect(self, sandbox_id: str, user: str | None = None) -> ByteStream:
        """Open a byte stream to a new `agent serve` in a running sandbox.

        Args:
            sandbox_id: Which one.
            user: Who the agent and so its commands run as; None: the sandbox's own user. Asked for only of an engine
                with `Capability.EXEC_USER`.

        Raises:
            SandboxGoneError: It does not run any more.
        """

    def workdir(self, sandbox_id: str, config: SandboxConfig) -> str:
        """Return where commands of a sandbox start; the config's own, wherever the sandbox has a root file system."""
        return config.workdir

    def build_image(self, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Build the config's image on the engine and return what `create` needs to use it.

        Once for each content and identity of the images that it begins with; two processes that build the same at once
        build it once. An engine with a build API of its own has all that from `samebox.images.builder`. Asked for only
        with `Capability.BUILD`.

        Args:
            config: Has `build`; its `pull` and `platform` are about the images that the build begins with.
            progress: Takes the lines of the build's log as they come.

        Raises:
            BuildError: A step failed; the text has the step and the last lines of its log.
            ImageNotFoundError: An image that it begins with is not there and can't be had.
        """
        raise self._unsupported(Capability.BUILD)

    def commit(self, sandbox_id: str, image: str) -> str:
        """Keep the state of a sandbox's files as an image and return its reference. With `Capability.SNAPSHOT`."""
        raise self._unsupported(Capability.SNAPSHOT)

    def host_port(self, sandbox_id: str, port: str) -> HostPort:
        """Return where on the host a published port is, as "8080/tcp". With `Capability.PORTS`.

        Raises:
            EngineError: It is not published.
        """
        raise self._unsupported(Capability.PORTS)

    def volumes(self) -> Sequence[VolumeStatus]:
        """Return the named volumes that samebox made. With `Capability.VOLUMES`."""
        raise self._unsupported(Capability.VOLUMES)

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; nothing happens if it is not there. With `Capability.VOLUMES`.

        Raises:
            EngineError: It is in use, or samebox did not make it.
        """
        raise self._unsupported(Capability.VOLUMES)

    def _unsupported(self, capability: Capability) -> UnsupportedError:
        return UnsupportedError(capability, self.name, "no such thing on this engine")

    def heal_agent(self) -> bool:
        """Compare the delivered agent with the one of this installation, and deliver it anew if they differ.

        Called when a new sandbox's agent doesn't start or does not prove its digest, as after a crash in the middle
        of a delivery.

        Returns:
            Whether it was wrong, so that another try makes sense.
        """
        return False

    def close(self) -> None:
        """Give back connections and what the engine object itself started. Sandboxes are untouched."""
