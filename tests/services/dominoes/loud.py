"""A module that prints past Python when it is loaded, as libraries in C do, and its domino."""

import os

from orrery_kernels.domino.domino import domino

os.write(1, b"this library greets whoever loads it\n")


@domino(version=1)
def halved(x: float) -> float:
    return x / 2.0
