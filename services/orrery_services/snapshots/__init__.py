"""Freezes the market: fires the declared triggers, and names what the leaves of a cut make.

Reading order: steps (pure), cutting (the topic of cuts), making (cut and leaves to snapshot), app.
"""
