"""The embedded world: coloured shapes, their captions, judges, a verifying rule and a base policy."""
