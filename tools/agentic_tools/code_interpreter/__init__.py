"""The code interpreter: runs Python that a model wrote, with state, in a jail.

On Linux two levels are known, and the better one that works is taken: `strong` (bubblewrap's namespaces around
Landlock, seccomp and limits) and `medium` (those three alone). Where neither works nothing runs. It is not a virtual
machine: a flaw in the kernel would break it. Within a session, code can forge its own results: they are untrusted text.
"""

from .interpreter import CodeInterpreter, check, toolgroup
from .limits import Limits
from .result import File, Result

__all__ = ["CodeInterpreter", "File", "Limits", "Result", "check", "toolgroup"]
