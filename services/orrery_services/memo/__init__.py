"""The memo of a pod: says which slots are done, and finds on this node what was computed before.

Reading order: steps (paths, plain functions), store (where answers are kept), app (server).
"""
