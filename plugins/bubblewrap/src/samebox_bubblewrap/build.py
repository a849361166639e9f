"""BubblewrapBuilder: images built by running a Dockerfile's steps in sandboxes over an unpacked base."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import secrets
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebox.capabilities import Capability
from samebox.errors import EngineError, SandboxError, UnsupportedError
from samebox.images.builder import BuildLog, ImageBuilder
from samebox.images.syntax import LINK, MOUNT, check_needs
from samebox_bubblewrap.images import HOST
from samebox_bubblewrap.network import network_missing
from samebox_bubblewrap.paths import resolve_inside
from samebox_bubblewrap.plan import DEFAULT_PATH
from samebox_bubblewrap.recipe import ROOT, Copy, MakeDirectory, Recipe, Run, check_instructions
from samebox_bubblewrap.rootfs import ImageRootfs
from samebox_bubblewrap.sandboxes import registry
from samebox_bubblewrap.snapshot import commit
from samebox_bubblewrap.unpack import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from samebox.config.build import ImageBuild
    from samebox.config.model import SandboxConfig
    from samebox.guest.process import OutputStream
    from samebox.images.context import BuildContext
    from samebox.sandbox.sandbox import Sandbox
    from samebox_bubblewrap.images import ImageStore

__all__ = ["BubblewrapBuilder"]

_MOST_LINE = 4096
_HOST_FACTS = ("/etc/os-release", "/usr/lib/os-release")


class BubblewrapBuilder(ImageBuilder):
    """Builds with the images of one cache.

    Args:
        images: The cache.
        options: The engine's options, for the sandboxes that run the steps.
    """

    step = re.compile(r"Step \d+/\d+ : ")
    chatter = ()

    def __init__(self, images: ImageStore, options: Mapping[str, Any]) -> None:
        super().__init__(f"bubblewrap with the cache {images.directory}")
        self._images = images
        self._options = options

    def check(self, build: ImageBuild) -> None:
        """Refuse what can't be done; see `samebox.images.builder.ImageBuilder.check`."""
        runtime = build.runtime
        if runtime is not None and runtime.package_manager == "apt" and runtime.packages:
            reason = (
                f"runtime {runtime.name!r}: apt becomes other users and gives files to them, and a sandbox of "
                "bwrap has one uid; use a tar: image that has the packages, or engines docker and podman"
            )
            raise UnsupportedError(Capability.BUILD, "bubblewrap", reason)
        check_needs(build, {MOUNT, LINK}, engine="bubblewrap", builder="bubblewrap")
        check_instructions(build)

    def find(self, name: str) -> str | None:
        """Return what `create` takes; None if there is no image of that name."""
        return self._images.made(name)

    def base(self, image: str, config: SandboxConfig, progress: Callable[[str], None]) -> str:
        """Make an image available, and return what tells it from a later one of the same reference."""
        del config  # neither `pull` nor `platform` is for this engine
        found = self._images.ensure(image, progress)
        if found == HOST:
            return f"{HOST} {_digest(path.read_bytes() for path in map(Path, _HOST_FACTS) if path.is_file())}"
        return f"{found} {_fingerprint(found.removeprefix('dir:'))}" if found.startswith("dir:") else found

    def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        self._images.name(image, name)

    def run(self, config: SandboxConfig, name: str, context: BuildContext, log: BuildLog, *, fresh: bool) -> None:
        """Run the steps, and keep what they have made."""
        del fresh  # nothing but whole images is ever used again
        from samebox.images.dockerfile import base_images  # noqa: PLC0415 - a Dockerfile's parser, for builds alone

        assert config.build is not None  # noqa: S101 - what else was asked for
        (base,) = base_images(config.build.text, config.build.args)
        rootfs = self._images.rootfs(self._images.ensure(base, lambda _line: None))
        user = rootfs.user if isinstance(rootfs, ImageRootfs) else "sandbox"
        with tempfile.TemporaryDirectory(prefix="samebox-build-") as files:
            Unpacker(Path(files)).add(context.file, layer=False)
            for unwanted in context.unwanted:
                Path(files, unwanted).unlink(missing_ok=True)
            environment = {"PATH": DEFAULT_PATH, **rootfs.environment}
            recipe = Recipe(
                config.build, environment, user, [*_names(files)], lambda name: _source(Path(files), name).exists()
            )
            _Kitchen(self, recipe, Path(files), log).cook(base, name)

    @contextlib.contextmanager
    def sandbox(self, image: str, user: str, cwd: str) -> Iterator[Sandbox]:
        """Make a sandbox for steps, with a network if this host can give one."""
        from samebox.sandbox.sandbox import Sandbox  # noqa: PLC0415 - which needs engines

        settings: dict[str, Any] = {} if cwd == "/" else {"workdir": cwd}
        if not network_missing():
            settings["network"] = True
        with Sandbox(engine="bubblewrap", options=dict(self._options), image=image, user=user, **settings) as box:
            yield box

    def keep(self, box: Sandbox, name: str, recipe: Recipe) -> None:
        """Keep a sandbox's files as an image."""
        commit(registry.find(box.id), self._images, name, environment=recipe.set, user=recipe.user)

    def forget(self, name: str) -> None:
        """Remove an image."""
        self._images.named.remove(name)


class _Kitchen:
    """One build: sandboxes for the steps, a new one over the last one's files for each change of the user."""

    def __init__(self, builder: BubblewrapBuilder, recipe: Recipe, files: Path, log: BuildLog) -> None:
        self._builder, self._recipe, self._files, self._log = builder, recipe, files, log

    def cook(self, base: str, name: str) -> None:
        """Run all steps over the base, and keep the image under that name.

        Raises:
            BuildError: A step failed.
        """
        part = f"{name}.part"
        steps = list(enumerate(self._recipe.steps, 1))
        image = base
        try:
            while True:
                user = steps[0][1].user if steps else ROOT
                cwd = next((step.cwd for _, step in steps[:1] if isinstance(step, Run) and user != ROOT), "/")
                with self._builder.sandbox(image, user, cwd) as box:
                    while steps and steps[0][1].user == user:
                        self._do(box, *steps.pop(0))
                    self._builder.keep(box, part if steps else name, self._recipe)
                if not steps:
                    return
                image = part
        except SandboxError as error:
            if isinstance(error, EngineError):
                raise
            raise self._failed(str(error)) from error
        finally:
            self._builder.forget(part)

    def _do(self, box: Sandbox, number: int, step: Run | Copy | MakeDirectory) -> None:
        self._log.add(f"Step {number}/{len(self._recipe.steps)} : {' '.join(step.text.split())}\n")
        if isinstance(step, Run):
            self._run(box, step)
        elif isinstance(step, Copy):
            self._copy(box, step)
        else:
            box.make_dir(step.path)

    def _run(self, box: Sandbox, step: Run) -> None:
        if not step.program:
            self._spawn(box, step, step.argv)
            return
        path = f"/tmp/.samebox-run-{secrets.token_hex(8)}"  # noqa: S108 - inside
        box.write_text(path, step.program, mode=0o700, exclusive=True)
        try:
            self._spawn(box, step, (*step.argv, path))
        finally:
            box.remove(path, missing_ok=True)

    def _spawn(self, box: Sandbox, step: Run, argv: tuple[str, ...]) -> None:
        lock = threading.Lock()
        with box.spawn(list(argv), cwd=step.cwd, env=step.env, stdin=False) as process:
            other = threading.Thread(target=self._follow, args=(process.stderr, lock))
            other.start()
            self._follow(process.stdout, lock)
            other.join()
            result = process.wait()
        if not result.ok:
            how = f"died of {result.signal}" if result.signal else f"exited with {result.exit_code}"
            raise self._failed(f"the command {how}")

    def _follow(self, stream: OutputStream, lock: threading.Lock) -> None:
        """Hand a stream's lines to the log; one without an end is cut."""
        begun = b""
        for data in stream:
            *whole, begun = (begun + data).split(b"\n")
            if len(begun) > _MOST_LINE:
                whole, begun = [*whole, begun], b""
            with lock:
                for line in whole:
                    self._log.add(line[:_MOST_LINE].decode(errors="replace") + "\n")
        if begun:
            with lock:
                self._log.add(begun.decode(errors="replace") + "\n")

    def _copy(self, box: Sandbox, step: Copy) -> None:
        with tempfile.TemporaryDirectory(prefix="samebox-copy-") as written:
            sources = [(name, _source(self._files, name)) for name in step.sources]
            for number, (name, text) in enumerate(step.files):
                path = Path(written, str(number))
                path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
                path.chmod(0o644)
                sources.append((name, path))
            for name, source in sources:
                self._send(box, step, name, source)

    def _send(self, box: Sandbox, step: Copy, name: str, source: Path) -> None:
        if not source.exists():
            raise self._failed(f"{name!r} is a link to what the context has not got")
        # Of a directory the content is copied, as Docker does it, and not the directory itself.
        into = not source.is_dir() and (step.into or _is_directory(box, step.target))
        target = f"{step.target}/{Path(name).name}" if into else step.target
        box.upload(source, target)
        if step.mode is not None:
            for below in _bottom_up(source):
                box.chmod(posixpath.join(target, below) if below else target, step.mode)

    def _failed(self, words: str) -> SandboxError:
        missing = network_missing()
        hint = f" The steps had no network: {missing}." if missing else ""
        one = " Steps run with one uid, so that programs which give files to others, or become others, fail."
        return self._log.failed(self._builder.engine, f"{words}.{one}{hint}")


def _names(directory: str) -> Iterator[str]:
    """Yield what is below a directory, by paths relative to it."""
    for where, directories, files in os.walk(directory):
        for name in directories + files:
            yield os.path.relpath(os.path.join(where, name), directory)  # noqa: PTH118


def _source(files: Path, name: str) -> Path:
    """Return the path of a file in the context; links are followed as if the context were all that there is."""
    return Path(f"{files}{resolve_inside(str(files), name)}")


def _bottom_up(source: Path) -> Iterator[str]:
    """Yield what was copied of a file or directory, but for links, by paths relative to it; "" is a file itself."""
    if not source.is_dir():
        yield ""
        return
    for where, directories, files in os.walk(source, topdown=False):
        for name in files + directories:
            path = Path(where, name)
            if not path.is_symlink():
                yield str(path.relative_to(source))


def _is_directory(box: Sandbox, path: str) -> bool:
    try:
        return box.stat(path).type == "directory"
    except FileNotFoundError:
        return False


def _digest(parts: Iterator[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()


def _fingerprint(root: str) -> str:
    """Return what changes when a file of a directory does: content is not read, which may be a whole system's."""
    found = hashlib.sha256()
    for directory, names, files in os.walk(os.fsencode(root)):
        names.sort()
        for name in [b".", *sorted(files + names)]:
            with contextlib.suppress(OSError):
                info = os.lstat(os.path.join(directory, name))  # noqa: PTH118 - bytes
                facts = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
                found.update(repr((directory, name, facts)).encode())
    return found.hexdigest()
