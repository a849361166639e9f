"""The version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("samebox")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"
