"""A device that is not there: tensors that compute on the CPU and say that they lie on `elsewhere:0`.

Every operation of aten that reaches them is counted, with the bytes that it reads and writes, and so is what a GPU
would wait for: numbers and masks that the host asks for, tensors that it sends or makes where the others are not. What
is one kernel on a GPU and several operations here (attention, norms) is counted as it is there; autocast casts as
CUDA's does. No kernel is timed, and none of Triton's runs. For a process of its own: torch knows one such device at a
time.
"""

import collections
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._foreach_utils import _foreach_supported_types
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

aten = torch.ops.aten
FREE = {  # beside views, which their schemas tell: no kernel
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh",
    "_local_scalar_dense", "is_same_size", "resize_", "set_", "is_pinned",
}  # fmt: skip
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim",
         "unique_consecutive"}  # fmt: skip
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
PICKS = {"index", "gather", "index_select", "embedding"}  # read of the first tensor as much as they write
NARROW = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv2d", "convolution")  # CUDA's autocast: as it is set
WIDE = ("exp", "log", "log1p", "pow", "rsqrt", "softplus", "softmax", "log_softmax", "cumsum", "cumprod", "prod",
        "norm", "nll_loss", "logsumexp")  # fmt: skip # float32


@dataclass
class Counts:
    """Operations by name; bytes that they read and write; by the line that asked: waits of the host for the device,
    copies from the host, tensors of two devices in one operation, and all operations.
    """

    operations: collections.Counter[str] = field(default_factory=collections.Counter)
    bytes: int = 0
    waits: collections.Counter[str] = field(default_factory=collections.Counter)
    copies: collections.Counter[str] = field(default_factory=collections.Counter)
    mixes: collections.Counter[str] = field(default_factory=collections.Counter)
    lines: collections.Counter[str] = field(default_factory=collections.Counter)

    def plain(self) -> dict[str, int]:
        """The sums."""
        found = {"kernels": self.operations, "waits": self.waits, "copies": self.copies, "mixes": self.mixes}
        return {name: counter.total() for name, counter in found.items()} | {"bytes": self.bytes}


_counts = Counts()
_inside = torch.device("cpu")
_LIBRARIES: list[torch.library.Library] = []  # what is registered lasts as long as they do


@contextlib.contextmanager
def counted(values: bool = True) -> Iterator[Counts]:
    """What happens within, counted; tensors may be made `elsewhere` here. Without values nothing is computed but
    shapes: for models of any size whose operations depend on no number.
    """
    global _counts, _inside
    before = _counts, _inside
    _counts, _inside = Counts(), torch.device("cpu" if values else "meta")
    try:
        with _Mode():
            yield _counts
    finally:
        _counts, _inside = before


def elsewhere() -> torch.device:
    """The device, registered at the first call."""
    if torch._C._get_privateuse1_backend_name() != "elsewhere":
        _setup_privateuseone_for_python_backend("elsewhere", _Backend())
        _foreach_supported_types.append(_There)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes one on the CPU and sends it
        _register()
    return torch.device("elsewhere", 0)


def moved(module: nn.Module) -> None:
    """Put the parameters of a module there; not counted."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(_There(parameter.detach().clone()), parameter.requires_grad))


def sent(z: Tensor) -> Tensor:
    """The tensor there, not counted."""
    return _There(z)


def back(z: Tensor) -> Tensor:
    """The tensor here, not counted."""
    return _here(z.detach())  # type: ignore[no-any-return]


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _There(Tensor):
    """`here` holds the values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "_There":
        made: Any = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device=torch.device("elsewhere", 0),
        )  # fmt: skip
        made.here = here
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        _counts.waits[f"tolist {_line()}"] += 1
        return self.here.tolist()

    def numpy(self, **options: Any) -> Any:
        raise TypeError("can't convert a tensor that lies elsewhere to numpy; use Tensor.cpu() first")


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _here(z: Any) -> Any:
    return z.here if isinstance(z, _There) else z


def _there(z: Any) -> Any:
    return _There(z) if isinstance(z, Tensor) and not isinstance(z, _There) else z


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, on the CPU; its answer lies where it would."""
    given = [z for z in tree_leaves((args, kwargs)) if isinstance(z, Tensor)]
    far = any(isinstance(z, _There) for z in given)
    asked = kwargs.get("device")
    to = None if asked is None else torch.device(asked).type
    if not far and to != "elsewhere":
        return func(*args, **kwargs)
    name = func._schema.name.partition("::")[2]
    inside = kwargs | ({"device": _inside} if to == "elsewhere" else {})
    found = func(*tree_map(_here, args), **tree_map(_here, inside))
    _count(func, name, given, args, kwargs, found, to)
    if to == "cpu":
        return found
    found = tree_map(_there, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if far else found


def _count(
    func: Any, name: str, given: list[Tensor], args: Any, kwargs: dict[str, Any], found: Any, to: str | None
) -> None:
    line = _line()
    far = [isinstance(z, _There) for z in given]
    if to == "cpu" or (name == "copy_" and far == [False, True]):
        _counts.waits[f"{name} to the host {line}"] += 1
    elif given and not far[-1] and (name == "_to_copy" or (name == "copy_" and far == [True, False])):
        _counts.copies[line] += 1
    elif any(far) and any(z.ndim for z, there in zip(given, far, strict=True) if not there):
        _counts.mixes[f"{name} {line}"] += 1
    masks = name in INDEXED and any(z.dtype in (torch.bool, torch.uint8) for z in args[1] if z is not None)
    unsized = name == "repeat_interleave" and func._overloadname == "Tensor" and kwargs.get("output_size") is None
    if masks or unsized or name in WAITS:
        _counts.waits[f"{name} {line}"] += 1
    view = any(z.alias_info is not None and not z.alias_info.is_write for z in func._schema.returns)
    if not view and name not in FREE:
        made = [z for z in tree_leaves(found) if isinstance(z, Tensor)]
        read = sum(map(_bytes, given[1:] + made[:1] if name in PICKS else given))
        _work(name, read + sum(map(_bytes, made)), line)


def _work(name: str, moved_bytes: int, line: str, times: int = 1) -> None:
    _counts.operations[name] += times
    _counts.lines[line] += times
    _counts.bytes += moved_bytes


def _bytes(z: Tensor) -> int:
    """Of what is stored: an expanded axis once."""
    numbers = 1
    for size, stride in zip(z.shape, z.stride(), strict=True):
        numbers *= size if stride or not size else 1
    return numbers * z.element_size()


def _line() -> str:
    """The line of this package that asked."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        _, inside, name = frame.f_code.co_filename.rpartition("/l2m_design/")
        if inside:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "torch"


class _Fused(torch.autograd.Function):
    """One kernel forward and `backward` ones, whatever it takes here."""

    @staticmethod
    def forward(ctx: Any, name: str, backward: int, compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
        here = [z.here.detach() if isinstance(z, _There) else z for z in inputs]
        wanted = [isinstance(z, Tensor) and z.is_floating_point() for z in here]
        with torch.enable_grad():
            here = [z.requires_grad_() if want else z for z, want in zip(here, wanted, strict=True)]
            y = compute(*here)
        ctx.here, ctx.wanted, ctx.y, ctx.name, ctx.times = here, wanted, y, name, backward
        ctx.moved = sum(_bytes(z) for z in (*here, y) if isinstance(z, Tensor))
        _work(name, ctx.moved, _line())
        return _There(y.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        asked = [z for z, want in zip(ctx.here, ctx.wanted, strict=True) if want]
        made = iter(torch.autograd.grad(ctx.y, asked, gradients[0].here, allow_unused=True))
        _work(f"{ctx.name}_backward", 2 * ctx.moved, _line(), ctx.times)
        back = (next(made) if want else None for want in ctx.wanted)
        return (None, None, None, *(None if z is None else _There(z) for z in back))


def _attention(*inputs: Any) -> Tensor:
    query, key, value, mask, dropout, causal, scale, grouped = inputs
    return nn.functional.scaled_dot_product_attention(
        query, key, value, mask, dropout, causal, scale=scale, enable_gqa=grouped
    )


def _register() -> None:
    """What torch decomposes for a device without kernels of its own, and autocast."""
    rest, library = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    _LIBRARIES.extend([rest, library])
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")

    def attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
        is_causal: bool = False, *, scale: Any = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        rest = (attn_mask, dropout_p, is_causal, scale, enable_gqa)
        return _Fused.apply("attention", 3, _attention, query, key, value, *rest)

    def rms_norm(z: Tensor, shape: Any, weight: Any = None, eps: Any = None) -> Any:
        compute = lambda z, weight: nn.functional.rms_norm(z, shape, weight, eps)  # noqa: E731
        return _Fused.apply("rms_norm", 2, compute, z, weight)

    for key in ("AutogradPrivateUse1", "PrivateUse1"):
        library.impl("scaled_dot_product_attention", attention, key)
        library.impl("rms_norm", rms_norm, key)
    for name in (*NARROW, "scaled_dot_product_attention"):
        _autocast(library, name, None)
    for name in WIDE:
        _autocast(library, name, torch.float32)


def _autocast(library: Any, name: str, dtype: torch.dtype | None) -> None:
    """Cast the floating tensors of all forms of an operation before it."""
    packet = getattr(aten, name)
    for overload in packet.overloads():
        operation = getattr(packet, overload)
        if any(argument.alias_info for argument in operation._schema.arguments):
            continue  # in place, or into what is given
        library.impl(operation, _casting(operation, dtype), "AutocastPrivateUse1")


def _casting(operation: Any, dtype: torch.dtype | None) -> Callable[..., Any]:
    def cast(z: Any) -> Any:
        to = dtype or torch.get_autocast_dtype("elsewhere")
        fits = isinstance(z, Tensor) and z.is_floating_point() and z.dtype not in (to, torch.float64)
        return z.to(to) if fits else z

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    return call
