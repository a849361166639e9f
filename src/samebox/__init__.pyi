# The public names of samebox, each with the module that it lives in: the one list, for type checkers and at run time.

from .capabilities import (
    Capability as Capability,
    Isolation as Isolation,
)
from .config.build import (
    ImageBuild as ImageBuild,
    Runtime as Runtime,
)
from .config.model import (
    SandboxConfig as SandboxConfig,
)
from .config.sources import (
    load_config as load_config,
)
from .errors import (
    BuildError as BuildError,
    ConfigError as ConfigError,
    ConnectionLostError as ConnectionLostError,
    EditError as EditError,
    EngineError as EngineError,
    EngineUnavailableError as EngineUnavailableError,
    FileTooLargeError as FileTooLargeError,
    ImageNotFoundError as ImageNotFoundError,
    IsolationError as IsolationError,
    NotARegularFileError as NotARegularFileError,
    OutputLimitError as OutputLimitError,
    PathEscapesError as PathEscapesError,
    PathExistsError as PathExistsError,
    PathIsADirectoryError as PathIsADirectoryError,
    PathNotADirectoryError as PathNotADirectoryError,
    PathNotFoundError as PathNotFoundError,
    PathPermissionError as PathPermissionError,
    ProtectedPathError as ProtectedPathError,
    ProtocolError as ProtocolError,
    SandboxClosedError as SandboxClosedError,
    SandboxError as SandboxError,
    SandboxExistsError as SandboxExistsError,
    SandboxGoneError as SandboxGoneError,
    SandboxNotFoundError as SandboxNotFoundError,
    SandboxOSError as SandboxOSError,
    SandboxTimeoutError as SandboxTimeoutError,
    SpawnError as SpawnError,
    UnsupportedError as UnsupportedError,
)
from .guest.process import (
    AsyncProcess as AsyncProcess,
    Process as Process,
)
from .guest.processes import (
    ProcessInfo as ProcessInfo,
)
from .guest.results import (
    CommandFailedError as CommandFailedError,
    ExecResult as ExecResult,
    ExecTimeoutError as ExecTimeoutError,
    FileInfo as FileInfo,
    GrepMatch as GrepMatch,
    GrepMatches as GrepMatches,
    TreeCount as TreeCount,
)
from .sandbox.inventory import (
    sandboxes as sandboxes,
)
from .sandbox.sandbox import (
    AsyncSandbox as AsyncSandbox,
    Sandbox as Sandbox,
)
from .version import (
    __version__ as __version__,
)
