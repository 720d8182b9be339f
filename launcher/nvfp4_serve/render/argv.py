"""A Plan as the words of one command, in JSON."""

import json

from nvfp4_serve.plan.types import Plan
from nvfp4_serve.render.exported import Exported, common_warnings, refuse_secrets
from nvfp4_serve.render.shell import render_shell


def export_argv(plan: Plan, *, shell: bool) -> Exported:
    """Return the command as a list of words, or as a shell script.

    The list can be given to ``execvp`` as it is: ``env`` sets the variables.

    Raises:
        UsageError: The plan holds a secret.
    """
    refuse_secrets(plan)
    if shell:
        text = render_shell(plan)
    else:
        variables = [f"{name}={value}" for name, value in plan.env]
        words = [*(["env", *variables] if variables else []), "vllm", "serve"]
        text = json.dumps([*words, *plan.argv], indent=2, ensure_ascii=False)
    return Exported(f"{text}\n", common_warnings(plan, None))
