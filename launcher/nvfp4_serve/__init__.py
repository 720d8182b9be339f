"""Serve any NVFP4 checkpoint, right, on the machine in front of you."""

__version__ = "0.1.0"
