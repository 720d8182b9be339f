"""Put the launcher into an image, beside the engine that is there.

``python3 -I unpack.py WHEELS``: the engine's Python runs it, as root, while the image
is built. The launcher uses the packages that the engine has; what one of them is not
new enough for stops the build here, and not a server later.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sys
import zipfile
from pathlib import Path

# ``-I`` leaves the script's folder out of the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from needs import unmet

HERE = Path(__file__).resolve().parent
IMAGE = Path("/opt/nvfp4-serve")
LAUNCHER = IMAGE / "launcher"
PROGRAMS = Path("/usr/local/bin")
#: An image has its engine and starts no container: 70 MB that nothing would use.
NOT_NEEDED = frozenset({"docker", "uv"})
START = """#!{python} -I
import sys

sys.path.insert(0, "{launcher}")
from {module} import main

sys.exit(main())
"""


def main(arguments: list[str]) -> int:
    """Unpack the one wheel that the folder ``arguments[0]`` holds."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    wheels = sorted(Path(arguments[0]).glob("nvfp4_serve-*.whl"))
    if len(wheels) != 1:
        print(
            f"error: {len(wheels)} wheels of the launcher are in build/wheel.\n"
            "fix: `make wheel` puts exactly one there.",
            file=sys.stderr,
        )
        return 1
    # A wheel of pure Python without scripts is installed by being unpacked.
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(LAUNCHER)
    sys.path.insert(0, str(LAUNCHER))
    if wrong := unmet("nvfp4-serve", without=NOT_NEEDED):
        print("error: The engine's packages do not do for the launcher.")
        print("\n".join(f"  {line}" for line in wrong))
        print("fix: Add what is missing, pinned, to the Dockerfile.")
        return 1
    write_programs()
    # By content, not by time: layers may be written with other times.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compiled = compileall.compile_dir(LAUNCHER, quiet=1, invalidation_mode=mode)
    return 0 if compiled else 1


def write_programs() -> None:
    """Write what a container is started with, for this Python."""
    programs = {"nvfp4-serve": "nvfp4_serve.cli.main", "nvfp4-serve-engine": "start"}
    for name, module in programs.items():
        path = PROGRAMS / name
        path.write_text(
            START.format(python=sys.executable, launcher=LAUNCHER, module=module)
        )
        path.chmod(0o755)
    shutil.copyfile(HERE / "start_engine.py", LAUNCHER / "start.py")
    shutil.copyfile(HERE / "healthcheck.py", IMAGE / "healthcheck.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
