"""Layers one after another: read from words or a file, settled into sizes, costs and fields."""
