"""The sealed lab: pure computing over columns. No I/O, no clock, no dice."""
