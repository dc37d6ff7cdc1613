"""The command line in this process."""

from typer.testing import CliRunner

from flows.cli.app import app


def said(*words, status=0):
    """What a command prints on standard output; a refusal is raised, as `main` is told of it."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout
