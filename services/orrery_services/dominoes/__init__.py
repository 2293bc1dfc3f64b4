"""Chains of dominoes over every new snapshot: found where known, computed where not.

Reading order: steps (what is to be done, plain functions), running (one chain on one snapshot),
worker (a process that does so on request), pool (those processes), app, asking (why, what moved).
"""
