"""The `orrery` command: one file a verb, registered in main.py by one line."""
