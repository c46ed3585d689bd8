"""The sources of the machine code, in Numba\x27s Python; imported only to compile."""
