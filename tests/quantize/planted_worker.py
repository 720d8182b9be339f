"""The real worker, with a ModelOpt that does not know fused experts."""

import contextlib
import runpy
import sys
from pathlib import Path

with contextlib.redirect_stdout(sys.stderr):
    import modelopt.torch.quantization.plugins.huggingface as theirs

theirs.CUSTOM_MODEL_PLUGINS.discard(theirs.register_fused_experts_on_the_fly)
_LAUNCHER = Path(__file__).resolve().parents[2] / "launcher"
runpy.run_path(str(_LAUNCHER / "nvfp4_serve/quantize/worker.py"), run_name="__main__")
