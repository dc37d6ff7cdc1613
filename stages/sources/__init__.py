"""The external inputs of a run, base models and rewards; the hub and the device."""
