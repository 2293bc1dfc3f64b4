"""Importing this makes a process that is a service do without what only people need.

It comes before whatever takes such packages along.
"""

import sys

from .lean import without

if getattr(sys.modules["__main__"].__spec__, "name", "").startswith("orrery_services."):
    without("pandas", "rich", "scipy")
