"""The servers and the worker that `g2rpo up` starts on this machine."""
