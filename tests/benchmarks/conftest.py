"""The benchmarks are scripts that import one another by name, as python finds them beside the one it runs."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
