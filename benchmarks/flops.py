"""Floating-point operations of the transformers, counted from their configurations, and the rates of a device.

A multiplication and an addition are two operations. The count has what every implementation must do: the matrices and
the attention of the network without its adapter. It has no norms, activations and rotations, nor what checkpointing
computes again.
"""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

_TIME_FEATURES = 256  # sines and cosines of a time or a guidance, in both families

_PEAKS = {  # dense bf16 with fp32 sums, in TFLOP/s, of the data sheets; the first name that fits counts
    "H200 NVL": 835.0,
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
}


def flux1_flops(config: Mapping[str, Any], *, image_tokens: int, text_tokens: int) -> int:
    """Return the operations of one row through FluxTransformer2DModel.

    Example: FLUX.1-dev with 2025 image tokens (720 x 720) and 512 of text takes 37.3 TFLOP.
    """
    width = config["num_attention_heads"] * config["attention_head_dim"]
    tokens = image_tokens + text_tokens
    square = 2 * width**2
    vectors = 2 if config["guidance_embeds"] else 1
    once = vectors * (2 * _TIME_FEATURES * width + square) + 2 * config["pooled_projection_dim"] * width + square
    ends = 2 * width * (2 * image_tokens * config["in_channels"] + text_tokens * config["joint_attention_dim"])
    attention = 4 * tokens**2 * width
    double = 12 * square + 12 * square * tokens + attention  # modulation; q, k, v, out and a feed-forward of 4
    single = 3 * square + 12 * square * tokens + attention
    return once + ends + 2 * square + config["num_layers"] * double + config["num_single_layers"] * single


def sd3_flops(config: Mapping[str, Any], *, image_tokens: int, text_tokens: int) -> int:
    """Return the operations of one row through SD3Transformer2DModel; with guidance a velocity is two rows.

    Example: SD3.5 medium with 4096 image tokens (1024 x 1024) and 333 of text takes 11.2 TFLOP.
    """
    width = config["num_attention_heads"] * config["attention_head_dim"]
    square = 2 * width**2
    patch = config["patch_size"] ** 2
    once = 2 * _TIME_FEATURES * width + 2 * config["pooled_projection_dim"] * width + 2 * square
    ends = 2 * width * image_tokens * patch * (config["in_channels"] + config["out_channels"])
    ends += 2 * text_tokens * config["joint_attention_dim"] * width
    attention = 4 * (image_tokens + text_tokens) ** 2 * width
    block = 12 * square + 12 * square * (image_tokens + text_tokens) + attention
    dual = 3 * square + 4 * square * image_tokens + 4 * image_tokens**2 * width
    last = 4 * square + 9 * square * text_tokens  # the last block hands on no text: two in place of six scales, no out
    return once + ends + 2 * square + config["num_layers"] * block + len(config["dual_attention_layers"]) * dual - last


def data_sheet_peak(device: torch.device) -> float | None:
    """Return the dense bf16 TFLOP/s of the data sheet, None if the device is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def clock(device: torch.device) -> Callable[[], float]:
    """Return a clock in seconds: of the wall on an accelerator, once its work is done; else of this process's CPUs."""
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def matmul_rate(device: torch.device, dtype: torch.dtype, *, seconds: float) -> float:
    """Return the operations per second of large square matrix products: the best of some sizes, each by its median."""
    now, best = clock(device), 0.0
    sides = (4096, 8192, 16384) if device.type == "cuda" else (512, 1024)
    for side in sides:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = left @ right
        spent: list[float] = []
        while sum(spent) < seconds / len(sides) or len(spent) < 3:
            began = now()
            for _ in range(4):
                torch.matmul(left, right, out=out)
            spent.append(now() - began)
        best = max(best, 4 * 2 * side**3 / median(spent))
    return best
