"""Torch made to run a module in operators that a graph can hold, where it has faster ones in eager mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextmanager
def plainly() -> Iterator[None]:
    """While a module is traced.

    Attention is matrix products and a softmax, not a fused kernel that has no derivative to decompose; and
    decompositions that call others keep the batch's length a symbol.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), enable_python_dispatcher(), _Rewritten():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Rewritten(TorchFunctionMode):
    """Two functions in other words, that mean the same.

    A linear layer of (n, …, c) is one product of matrices: torch's own way asks for the length of the batch
    where its input is transposed, as it is behind attention. The mean over all pixels is a mean: torch's own
    way sets strides where channels come last, as they do behind a layer norm, and ONNX has none.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is torch.nn.functional.linear and args and args[0].dim() > 2:
            x: Tensor = args[0]
            flat = func(x.reshape(-1, x.shape[-1]), *args[1:], **kwargs)
            return flat.view(*x.shape[:-1], flat.shape[-1])
        if func in _ADAPTIVE_POOLS and len(args) == 2 and args[1] in (1, (1, 1), [1, 1]):
            return args[0].mean((-2, -1), keepdim=True)
        return func(*args, **kwargs)


_ADAPTIVE_POOLS = (torch.nn.functional.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d)
