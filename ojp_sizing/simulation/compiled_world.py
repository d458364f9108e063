"""The world as the compiled clock passes it about: one address.

Passing fourteen arrays by value to every small function, each counted up and down, costs five times the work itself.
So numba is taught a type that is the address of a header with the address and length of every table, and a type for the
tables: ``world.pods[p]`` becomes an address, without numba's care for negative indices, which no transition has. Whether an
index is within its table is checked where tests ask for it (``kernel_cache.CHECKS_BOUNDS``). The header and the tables are
owned by the Python object, which outlives every call into the kernel.
"""

from __future__ import annotations

import operator
from math import inf
from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload,
    overload_attribute,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.numpy_support import from_dtype

from ojp_sizing.behaviour.world import LAYOUTS, World
from ojp_sizing.simulation.kernel_cache import CHECKS_BOUNDS

#: An entry of the agenda: the bits of its time, which are in the order of the times, and in one word what else it is.
ENTRY = np.dtype([("time_bits", np.int64), ("word", np.int64)])
AGENDA = np.dtype([("count", np.int64), ("sequence", np.int64), ("events", np.int64)])
#: The time of places behind the last entry.
NEVER_BITS = int(np.float64(inf).view(np.int64))

_COLUMNS: dict[str, np.dtype[Any]] = {
    **LAYOUTS,
    "latencies_s": np.dtype(np.float64),
    "chances": np.dtype(np.float64),
    "entries": ENTRY,
    "agenda": AGENDA,
}


class CompiledWorld:
    """The tables of a world, the agenda of its events, and the header that the kernel reads.

    The header is two 64-bit words per table, address and length.
    """

    def __init__(self, tables: World, room: int) -> None:
        self.agenda = np.zeros(1, AGENDA)
        self._tables: dict[str, Any] = {**tables._asdict(), "entries": np.zeros(0, ENTRY), "agenda": self.agenda}
        for name, layout in _COLUMNS.items():
            array: np.ndarray[Any, np.dtype[Any]] = self._tables[name]
            if array.dtype != layout or not array.flags.c_contiguous:
                raise TypeError(f"table {name} is not of its layout")
        self._header = np.zeros(2 * len(_COLUMNS), np.int64)
        self.address = int(self._header.ctypes.data)
        self.make_room(room)

    @property
    def room(self) -> int:
        """Entries of the agenda."""
        return len(self._tables["entries"])

    @property
    def next_s(self) -> float:
        """The time of the first entry of the agenda."""
        return float(self._tables["entries"]["time_bits"][:1].view(np.float64)[0])

    def make_room(self, entries: int) -> None:
        """Room for so many more entries of the agenda."""
        grown = np.zeros(entries, ENTRY)
        grown["time_bits"] = NEVER_BITS
        self.replace("entries", np.concatenate([self._tables["entries"], grown]))

    def replace(self, name: str, table: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Have another array for a table, while no kernel runs."""
        self._tables[name] = table
        self._header[:] = [word for name in _COLUMNS for word in self._words(name)]

    def _words(self, name: str) -> tuple[int, int]:
        table = self._tables[name]
        return table.ctypes.data, len(table)


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


class _TableType(types.Type):
    """A table of the world; its value is the address of its first row."""

    def __init__(self, name: str, layout: np.dtype[Any]) -> None:
        super().__init__(name=f"Table({name})")
        self.row, self.row_bytes = from_dtype(layout), layout.itemsize


@register_model(_TableType)
class _TableModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("data", types.intp), ("length", types.intp)])


@intrinsic  # type: ignore[untyped-decorator]
def _row(typing_context: Any, table: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = signature.args[0]
        data = cgutils.create_struct_proxy(of)(context, builder, value=arguments[0]).data
        address = builder.add(data, builder.mul(arguments[1], context.get_constant(types.intp, of.row_bytes)))
        pointer = builder.inttoptr(address, context.get_data_type(of.row).as_pointer())
        return context.unpack_value(builder, of.row, pointer)

    return table.row(table, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _length(typing_context: Any, table: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0]).length

    return types.intp(table), generate


def _get(table: Any, index: Any) -> Any:
    if not isinstance(table, _TableType):
        return None
    name = table.name

    def checked(table: Any, index: Any) -> Any:
        if index < 0 or index >= len(table):
            raise IndexError(name, index, len(table))
        return _row(table, index)

    def unchecked(table: Any, index: Any) -> Any:
        return _row(table, index)

    return checked if CHECKS_BOUNDS else unchecked


# numba compares each pair of functions by the names of their arguments.
overload(operator.getitem)(_get)
overload(len)(lambda table: (lambda table: _length(table)) if isinstance(table, _TableType) else None)  # noqa: PLW0108


def _teach(position: int, name: str, layout: np.dtype[Any]) -> None:
    table_type = _TableType(name, layout)

    def typed(typing_context: Any, world: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            proxy = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            words = builder.inttoptr(proxy.header, cgutils.intp_t.as_pointer())

            def word(offset: int) -> Any:
                loaded = builder.load(cgutils.gep_inbounds(builder, words, 2 * position + offset))
                # The header never changes while a kernel runs.
                loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
                return loaded

            table = cgutils.create_struct_proxy(table_type)(context, builder)
            table.data, table.length = word(0), word(1)
            return table._getvalue()

        return table_type(world), generate

    table = intrinsic(typed)

    overload_attribute(_WorldType, name)(lambda world: lambda world: table(world))  # noqa: PLW0108


for _position, (_name, _dtype) in enumerate(_COLUMNS.items()):
    _teach(_position, _name, _dtype)
