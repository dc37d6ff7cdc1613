"""The files of this project as a clone has them."""

import shutil
import subprocess

from tiny import ROOT


def copy_working_tree(to):
    """Copy every file that git tracks, or would track, with its time."""
    words = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
