"""What a benchmark prints, as its readers take it."""

import io
import json
from contextlib import redirect_stdout


def last_line_of(main, *words):
    """Run a benchmark with these words; return the JSON object that is its last line."""
    told = io.StringIO()
    with redirect_stdout(told):
        main(words)
    return json.loads(told.getvalue().splitlines()[-1])
