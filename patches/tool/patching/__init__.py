"""What ``series.py`` is made of. Standard library only; never imports vLLM."""
