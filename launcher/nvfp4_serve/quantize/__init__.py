"""A plain checkpoint -> an NVFP4 one, and the proof that it is one."""
