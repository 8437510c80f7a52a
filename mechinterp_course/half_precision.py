"""Matrix products and convolutions in bf16 where the processor has instructions for it, else in fp32.

Where it has none, bf16 is emulated: a training step then takes three times as long as in fp32, not half.
"""

import torch


def fast_products(device: torch.device | str = "cpu") -> torch.autocast:
    """Return a context in which products are in bf16 if that is fast on `device`; sums stay in fp32."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=kind != "cpu" or cpu_has_bf16())


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 ("avx512_bf16", "amx_bf16" and the like)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(name.endswith("bf16") and has for name, has in capabilities.items())
