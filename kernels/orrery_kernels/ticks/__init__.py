"""The catalog: kernels over ticks, one module per family."""
