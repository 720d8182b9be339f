"""Names of tensors that no loader knows. Patterns only.

Where many experts are told by one name, a star stands for the number.
"""

import re
from typing import Final

#: A tensor of a quantizer of ModelOpt's: its module (or None), the quantizer, the rest.
#: Quantizers may be many, one for each expert or one after the other:
#: ``gate_up_proj_weight_quantizers.3._amax``, ``input_quantizer.0._amax``.
QUANTIZER: Final = re.compile(
    r"^(?:(.*)\.)?(\w+_quantizers?(?:\.(?:[0-9]+|\*))?)\.(_\w+)$"
)
#: The projection before the number (vllm#40885), in the name of a module.
PROJECTION_FIRST: Final = re.compile(r"\.experts\.([a-z]\w*)\.([0-9]+|\*)(?=\.|$)")
