"""`python -m flows` is the command `g2rpo`."""

from flows.cli import main

main()
