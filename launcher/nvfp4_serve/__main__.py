"""`python -m nvfp4_serve` is `nvfp4-serve`."""

from nvfp4_serve.cli.main import main

main()
