"""Computes chains over `ticks` and writes what comes out, exactly once.

Reading order: steps (pure), lane (one partition), committer (the one writer), app (the Faust
shell).
"""
