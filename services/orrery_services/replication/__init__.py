"""Brings the facts of other nodes here, and says what is here.

Reading order: steps (pure: what a message is, when a gap is asked for, when a disk is an old one),
incarnation (who this database is), asking (gaps), app (the loop).
"""
