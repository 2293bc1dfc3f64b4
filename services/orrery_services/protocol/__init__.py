"""The rules of the road as plain functions: what every service knows, and what touches nothing.

Reading order: vectors (how far a partition has read its sources), ticks (one message of the log),
fold (which messages count), rows (which rows count), facts (what is written down), marks (how far a
node holds the answers).
"""
