"""Stored layouts of NVFP4 checkpoints, and the one that loaders know.

Standard library only, and pure: the engine's plugin uses it on the weight stream,
``nvfp4-serve repair`` on files. It is shipped with both.
"""
