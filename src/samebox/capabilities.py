"""Capability and Isolation: the observable behaviour that an engine may claim, and how strong its wall is."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One observable behaviour that some engines have and some lack; never the name of an engine.

    What every engine owes (exec and files as in the design) is no capability. Each capability is a question that the
    conformance suite answers by a test.
    """

    CONTAINER_IMAGE = "container-image"
    """Does `image="name:tag"` run a container image by its name?"""
    DIRECTORY_IMAGE = "directory-image"
    """Does `image="dir:/path"` run a root file system from a directory?"""
    ARCHIVE_IMAGE = "archive-image"
    """Does `image="tar:/path"` run a root file system, `docker save` or OCI archive?"""
    HOST_IMAGE = "host-image"
    """Does `image="host"` run on the host's own programs, read-only?"""
    ROOT_FILESYSTEM = "root-filesystem"
    """Has the sandbox a root file system of its own, so that the host's files are not there?"""
    PROCESS_ISOLATION = "process-isolation"
    """Are the host's processes invisible and out of reach from inside?"""
    USER = "user"
    """Does the config's `user` decide who commands run as?"""
    EXEC_USER = "exec-user"
    """Can one command run as another user than the sandbox's?"""
    NETWORK_NONE = "network-none"
    """Is there no network but loopback with `network=False`?"""
    NETWORK = "network"
    """Does `network=True` give a network with a way out?"""
    NETWORK_APART = "network-apart"
    """Is a sandbox with `network=True` out of other sandboxes' reach?"""
    NETWORK_NAMED = "network-named"
    """Can `network="name"` choose a mode or a network of the engine?"""
    HOSTNAME = "hostname"
    """Does `hostname` set the name that the sandbox sees?"""
    MEMORY_LIMIT = "memory-limit"
    """Is `memory` a limit of all that the sandbox uses together?"""
    CPU_LIMIT = "cpu-limit"
    """Does `cpus` limit the processor time of the sandbox as a whole?"""
    PIDS_LIMIT = "pids-limit"
    """Does `pids_limit` limit the number of processes in the sandbox?"""
    READ_ONLY_ROOT = "read-only-root"
    """Does `read_only` make the root file system refuse writes?"""
    TMPFS = "tmpfs"
    """Does `tmpfs` mount a memory file system with the size asked for?"""
    CAP_DROP = "cap-drop"
    """Are Linux capabilities dropped, all of them by default?"""
    CAP_ADD = "cap-add"
    """Can single Linux capabilities be given back with `cap_add`?"""
    NO_NEW_PRIVILEGES = "no-new-privileges"
    """Is the no_new_privs bit set, so that setuid programs gain nothing?"""
    SECCOMP = "seccomp"
    """Does a seccomp filter refuse dangerous system calls?"""
    PERSISTENT = "persistent"
    """Can a sandbox be kept, and attached to by its name from another process?"""
    PULL = "pull"
    """Is a container image fetched from a registry, with `pull` deciding when?"""
    PLATFORM = "platform"
    """Does `platform` choose among an image's platforms?"""
    PORTS = "ports"
    """Can ports of the sandbox be reached on the host with `ports`?"""
    DNS = "dns"
    """Do `dns` and `extra_hosts` decide how names resolve?"""
    SWAP_LIMIT = "swap-limit"
    """Does `memory_swap` limit memory and swap together?"""
    SHM_SIZE = "shm-size"
    """Does `shm_size` set the size of /dev/shm?"""
    ULIMITS = "ulimits"
    """Do `ulimits` limit each process?"""
    DISK_LIMIT = "disk-limit"
    """Does `disk` limit the writable layer?"""
    BIND_MOUNTS = "bind-mounts"
    """Can paths of the host be mounted?"""
    VOLUMES = "volumes"
    """Are there named volumes, which outlive a sandbox and can be shared?"""
    PRIVILEGED = "privileged"
    """Does `privileged` give all the host's devices and capabilities?"""
    SECCOMP_PROFILE = "seccomp-profile"
    """Can the seccomp filter be replaced by a profile in Docker's JSON format, or switched off?"""
    APPARMOR = "apparmor"
    """Can an AppArmor profile be chosen?"""
    SELINUX = "selinux"
    """Can an SELinux label be chosen?"""
    DEVICES = "devices"
    """Can devices of the host be given?"""
    GPUS = "gpus"
    """Can GPUs be given?"""
    USERNS = "userns"
    """Can the user namespace's mode be chosen?"""
    BUILD = "build"
    """Are images built, from a Dockerfile or a Runtime?"""
    SNAPSHOT = "snapshot"
    """Can the state of a sandbox's files be kept as an image?"""


class Isolation(StrEnum):
    """How strong the wall around a sandbox is: the tiers from weakest to strongest, which compare by that order."""

    NONE = "none"
    """An ordinary child process."""
    PROCESS = "process"
    """Namespaces, without a container engine's further layers."""
    CONTAINER = "container"
    """A container of an engine that runs as root."""
    ROOTLESS = "rootless"
    """A container of an engine that runs as an ordinary user: what escapes is that user."""
    USER_KERNEL = "user-kernel"
    """A container whose system calls are served by a kernel in user space (gVisor)."""
    VM = "vm"
    """A virtual machine with a kernel of its own."""

    @property
    def rank(self) -> int:
        """The tier's place in the order, from 0 for the weakest."""
        return list(Isolation).index(self)

    def __lt__(self, other: str) -> bool:
        return self.rank < Isolation(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Isolation(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Isolation(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Isolation(other).rank
