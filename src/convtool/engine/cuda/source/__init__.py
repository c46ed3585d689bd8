"""The kernels: Python that Numba compiles for the GPU, or runs in its simulator.

Every module has one kernel, written with loops over `unroll.unroll`, and is imported when a GPU
was asked for.
"""
