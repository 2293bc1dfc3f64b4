"""The frozen market: names for bytes, trees of leaves, snapshots, and decisions about them."""
