"""What NVFP4 needs of vLLM's CPU engine, as a vLLM plugin. Imports nothing itself."""

__version__ = "0.1.0"
