"""The code interpreter: runs Python that a model wrote, with state, in a jail.

On Linux two levels are known, and the better one that works is taken: `strong` (bubblewrap's namespaces around
Landlock, seccomp and limits) and `medium` (those three alone). Where neither works nothing runs. It is not a virtual
machine: a flaw in the kernel would break it; `RemoteCodeInterpreter` runs code in virtual machines, elsewhere. macOS
has `SeatbeltInterpreter`, which nobody has tried yet. Within a session, code can forge its own results: they are
untrusted text.
"""

from agentic.types.content import File

from .interpreter import CodeInterpreter, check, toolgroup
from .limits import Limits
from .remote import RemoteCodeInterpreter
from .result import Result
from .seatbelt import SeatbeltInterpreter

__all__ = [
    "CodeInterpreter",
    "File",
    "Limits",
    "RemoteCodeInterpreter",
    "Result",
    "SeatbeltInterpreter",
    "check",
    "toolgroup",
]
