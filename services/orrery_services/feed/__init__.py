"""Rows into the row topics: captures of exchanges, tables, or a generated market."""
