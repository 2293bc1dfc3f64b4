"""Starts the real servers and the services on one machine, without Docker and without root.

Reading order: plan (what and where), part (one part as data), parts (all of them, in order),
runner (one part kept alive), supervisor (all of them), stack (from outside), faults (what tests
do to it).
"""

from . import faults
from .plan import Plan, free_port_base, make_plan
from .stack import Stack

__all__ = ["Plan", "Stack", "faults", "free_port_base", "make_plan"]
