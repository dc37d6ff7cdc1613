"""What a repetition of a round must reproduce of its metrics."""


def same_numbers(metrics):
    """All but time and memory."""
    return {k: v for k, v in metrics.items() if not k.startswith(("seconds/", "peak_bytes/")) and k != "cpu_seconds"}
