"""The sequencer: row topics in, batches of `ticks` out, and from there on the order is fixed."""
