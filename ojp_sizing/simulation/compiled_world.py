"""The world as the compiled clock passes it about: one address.

Passing fourteen arrays by value to every small function, each counted up and down, costs five times the work itself.
So numba is taught a type that is the address of a header with the address and length of every table;
``world.pods`` becomes a view of that memory, which LLVM keeps in a register or two. The header and the tables are
owned by the Python object, which outlives every call into the kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload_attribute,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.numpy_support import from_dtype

from ojp_sizing.behaviour.world import LAYOUTS, World

_COLUMNS: dict[str, np.dtype[Any]] = {**LAYOUTS, "latencies_s": np.dtype(np.float64), "chances": np.dtype(np.float64)}


class CompiledWorld:
    """The tables of a world, and the header that the kernel reads: two 64-bit words per table, address and length."""

    def __init__(self, tables: World) -> None:
        self.tables = tables
        words = []
        for name, layout in _COLUMNS.items():
            array: np.ndarray[Any, np.dtype[Any]] = getattr(tables, name)
            if array.dtype != layout or not array.flags.c_contiguous:
                raise TypeError(f"table {name} is not of its layout")
            words += [array.ctypes.data, len(array)]
        self._header = np.array(words, np.int64)
        self.address = int(self._header.ctypes.data)


class _WorldType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="CompiledWorld")


_WORLD = _WorldType()


@typeof_impl.register(CompiledWorld)  # type: ignore[untyped-decorator]
def _typeof(value: Any, context: Any) -> Any:
    return _WORLD


@register_model(_WorldType)
class _WorldModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("header", types.intp)])


@unbox(_WorldType)  # type: ignore[untyped-decorator]
def _unbox(of: Any, value: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(value, "address")
    world = cgutils.create_struct_proxy(of)(c.context, c.builder)
    world.header = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(world._getvalue(), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


def _teach(position: int, name: str, layout: np.dtype[Any]) -> None:
    array_type = types.Array(from_dtype(layout), 1, "C")

    def typed(typing_context: Any, world: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            proxy = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            words = builder.inttoptr(proxy.header, cgutils.intp_t.as_pointer())

            def word(offset: int) -> Any:
                loaded = builder.load(cgutils.gep_inbounds(builder, words, 2 * position + offset))
                # The header never changes while a kernel runs.
                loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
                return loaded

            array = context.make_array(array_type)(context, builder)
            context.populate_array(
                array,
                data=builder.inttoptr(word(0), array.data.type),
                shape=[word(1)],
                strides=[context.get_constant(types.intp, layout.itemsize)],
                itemsize=context.get_constant(types.intp, layout.itemsize),
                meminfo=None,
            )
            return array._getvalue()

        return array_type(world), generate

    table = intrinsic(typed)

    # numba compares the two lambdas by the names of their arguments.
    overload_attribute(_WorldType, name)(lambda world: lambda world: table(world))  # noqa: PLW0108


for _position, (_name, _dtype) in enumerate(_COLUMNS.items()):
    _teach(_position, _name, _dtype)
