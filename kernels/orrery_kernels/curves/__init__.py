"""Interest-rate curves from market quotes, and what a desk reads off them."""
