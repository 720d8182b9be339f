"""Plan -> text."""

from nvfp4_serve.render.data import render_json
from nvfp4_serve.render.kernels import kernel_lines
from nvfp4_serve.render.shell import render_shell

__all__ = ["kernel_lines", "render_json", "render_shell"]
