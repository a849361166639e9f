"""samebox: one sandbox API with the same observable behaviour on every engine.

`Sandbox` is the way in, `AsyncSandbox` its twin for asyncio, `SandboxConfig` what both can be asked to be. The public
names stand in `__init__.pyi`, and are imported on their first use: the suite's pytest plugin is loaded into the runs of
everyone who has it installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
