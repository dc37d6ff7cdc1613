"""Record what three rounds of each method come to: `make golden REASON="why numbers are to change"`."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


def main() -> None:
    """Record all methods anew, and say of each how much has changed."""
    reason = " ".join(sys.argv[1:]).strip()
    if not reason:
        sys.exit('A reason is required for numbers to change, got none. Give it: make golden REASON="..."')
    from golden import FOLDER, GOLDEN, differences, golden_run, record, recorded, values_of

    for method in GOLDEN:
        before = recorded(method)["values"] if (FOLDER / f"{method}.json").is_file() else {}
        with tempfile.TemporaryDirectory() as store:
            os.environ["G2RPO_HOME"] = store
            present = values_of(golden_run(method))
        record(method, present, reason)
        print(f"{method}: {len(differences(before, present, to_the_bit=True))} of {len(present)} columns changed")


if __name__ == "__main__":
    main()
