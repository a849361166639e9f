"""samebox: one sandbox API with the same observable behaviour on every engine.

`Sandbox` is the way in, `AsyncSandbox` its twin for asyncio, `SandboxConfig` the settings of both. The public names
stand in `__init__.pyi` and are imported on their first use, as the suite's pytest plugin is loaded into every pytest
run of everyone who has samebox installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
