"""`python -m flows` is the command `g2rpo`."""

from flows.cli.app import main

main()
