"""Suite: packages of one release of Debian, this machine's own or another, which are unpacked and not installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from testbed.failure import TestbedError, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

MERGED = ("bin", "lib", "lib64", "sbin")
"""The directories that are links into /usr; a package's script would make the links, and no scripts are run."""

ALTERNATIVES = tuple(
    f"{family}{action}" for family in ("iptables", "ip6tables") for action in ("", "-save", "-restore")
)
"""The links that a script of the package iptables would make."""


@dataclass(frozen=True)
class Package:
    """A downloaded package."""

    name: str
    version: str
    path: Path
    sha256: str


class Suite:
    """A release of Debian, reached by an apt configuration of its own: this machine's sources are only read.

    Args:
        name: The release's name, as "trixie".
        directory: The directory for apt's lists and the packages, made if need be. Files that are there are not
            downloaded again.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory
        self._remedy = f"See that this machine reaches Debian's {name}: `apt-get update` says whether it reaches any."
        self._config = directory / "apt.conf"

    def closure(self, packages: tuple[str, ...]) -> list[str]:
        """Return the names of packages and of all packages that they need, as on a machine that has none of them yet.

        Raises:
            TestbedError: apt finds no set of packages that fit together.
        """
        self._ensure_lists()
        words = ["--simulate", "--no-install-recommends", "install", *packages]
        return re.findall(r"^Inst (\S+)", self._apt(*words), re.MULTILINE)

    def download(self, packages: list[str]) -> list[Package]:
        """Download packages, unless they are there already.

        Args:
            packages: The packages' names.

        Returns:
            The packages, verified by apt.

        Raises:
            TestbedError: There is no such package, or it cannot be downloaded.
        """
        self._ensure_lists()
        # apt runs in a directory without packages, as it prints nothing about packages that are there already.
        lines = self._apt("--print-uris", "download", *packages, below="archives").splitlines()
        matches = [re.fullmatch(r"'\S+' (\S+?_(\S+)_\S+\.deb) \d+ SHA256:([0-9a-f]{64})", line) for line in lines]
        found = [match for match in matches if match is not None]
        if len(found) != len(set(packages)):
            text = f"apt named {len(found)} files with their SHA256"
            raise TestbedError(tried=f"find {len(packages)} packages of {self._name}", found=text, remedy=self._remedy)
        self._apt("download", *packages)
        return [
            Package(match[1].partition("_")[0], match[2].replace("%3a", ":"), self._directory / match[1], match[3])
            for match in found
        ]

    def _ensure_lists(self) -> None:
        """Write apt's configuration and fetch the lists, unless they are there already."""
        if self._config.exists() and any((self._directory / "lists").glob("*Packages*")):
            return
        (self._directory / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self._directory / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()
        source = f"deb [signed-by={KEYRING}] {_mirror()} {self._name} main\n"
        (self._directory / "sources.list").write_text(source, encoding="utf-8")
        self._config.write_text(
            # Hooks of the machine's own configuration would empty its caches.
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n"
            f'Dir::State::lists "{self._directory}/lists";\n'
            f'Dir::State::status "{self._directory}/status";\n'
            f'Dir::Cache "{self._directory}";\n'
            f'Dir::Etc::sourcelist "{self._directory}/sources.list";\n'
            'Dir::Etc::sourceparts "-";\nDir::Etc::preferences "-";\nDir::Etc::preferencesparts "-";\n'
            'APT::Sandbox::User "root";\n',
            encoding="utf-8",
        )
        self._apt("update")

    def _apt(self, *words: str, below: str = ".") -> str:
        # `apt-get download` writes into its current directory.
        argv = [
            "env",
            f"--chdir={self._directory / below}",
            "apt-get",
            "--quiet",
            f"--config-file={self._config}",
            *words,
        ]
        return run(argv, remedy=self._remedy, timeout=1200)


def unpack(packages: list[Package], root: Path) -> None:
    """Unpack packages into a directory, without their scripts.

    Args:
        packages: The packages to unpack.
        root: An empty directory.

    Raises:
        TestbedError: A package is broken.
    """
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    script = 'dpkg-deb --fsys-tarfile "$0" | tar --extract --directory="$1" --keep-directory-symlink --same-permissions'
    for package in packages:
        run(["bash", "-o", "pipefail", "-c", script, package.path, root])
    tables = root / "usr" / "sbin" / "xtables-nft-multi"
    for name in ALTERNATIVES if tables.exists() else ():
        if not (tables.parent / name).is_symlink():
            (tables.parent / name).symlink_to(tables.name)


def _mirror() -> str:
    """Return the address of the mirror from which this machine gets its Debian packages."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    own = next((line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")), "")
    words = ["indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    for line in run(["apt-get", *words]).splitlines():
        release, component, uri = line.split(" ", 2)
        if (release, component) == (own, "main"):
            return uri
    raise TestbedError(
        tried="find out where this machine gets its Debian packages from",
        found=f"apt has no source of {own or 'a release without a name'}",
        remedy="Add one, as in sources.list(5).",
    )
