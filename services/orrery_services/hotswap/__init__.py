"""Chains of stages of which never more than two are in memory: two slots, swapped in place.

Reading order: chain (what is to be run), pods (what is seen), steps (what to do next), app (the
loop; watching is its ears), port (the five methods behind it), runner (what waits inside a slot).
"""
