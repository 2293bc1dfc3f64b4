"""What can go wrong in the lab, as a tree.

OrreryError
├── ParameterError      a parameter breaks its rule
├── ColumnError         a column is missing, doubled or of a type without a declared conversion
├── OrderError          time runs backwards where it must not
├── StateError          bytes of a state do not fit the kernel that should continue from them
├── StepError           the body of a kernel uses what the lab does not allow
├── CurveError          quotes from which no curve can be built
├── SnapshotError       names, values or pieces of a snapshot that do not hold together
└── DominoError         a task, or a chain of tasks, that breaks its rule
    └── SealError       ... by touching what may change under it

A message says what must hold, what was, where, and what to do about it.
"""


class OrreryError(Exception):
    """Anything the lab refuses."""


class ParameterError(OrreryError, ValueError):
    pass


class ColumnError(OrreryError, KeyError):
    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


class OrderError(OrreryError, ValueError):
    pass


class StateError(OrreryError, ValueError):
    pass


class StepError(OrreryError, TypeError):
    pass


class CurveError(OrreryError, ValueError):
    pass


class SnapshotError(OrreryError, ValueError):
    pass


class DominoError(OrreryError, ValueError):
    pass


class SealError(DominoError):
    pass
