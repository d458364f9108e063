"""A record is defined once; its layout, its objects, its fresh values, its resets and its page are of one mind."""

from typing import Any

import numpy as np
import pytest
from worlds import deployment_of, trace_of

from ojp_sizing.behaviour.record import (
    Field,
    Own,
    Real,
    Record,
    Reset,
    Setting,
    Whole,
    field,
    new_rows,
    record,
    renewing,
)
from ojp_sizing.behaviour.world import TABLES, World
from ojp_sizing.simulation.building import as_objects, as_records, build_world
from scripts.make_records import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make records"


def test_every_table_has_its_record_and_every_field_its_words() -> None:
    assert [*TABLES, "latencies_s", "chances"] == list(World._fields)
    for of in TABLES.values():
        assert of.__doc__
        assert of.layout.names == tuple(of.fields)
        assert all(found.meaning for found in of.fields.values())


@pytest.mark.parametrize("name", TABLES)
def test_an_object_has_the_fields_of_its_row_and_no_other(name: str) -> None:
    of = TABLES[name]
    (thing,) = as_objects(name, np.ones(1, of.layout))
    assert {field: getattr(thing, field) for field in of.fields} == dict.fromkeys(of.fields, 1)
    with pytest.raises(AttributeError):
        thing.misspelt = 1


def _expected(world: World, row: Any, found: Field) -> object:
    if isinstance(found.fresh, Setting):
        return getattr(world.settings[0], found.fresh.name)
    return getattr(row, found.fresh.name) if isinstance(found.fresh, Own) else found.fresh


BACK = [
    (name, reset)
    for name, of in TABLES.items()
    for reset in (Reset.PROCESS, Reset.UNIT)
    if any(reset in found.resets for found in of.fields.values())
]


@pytest.mark.parametrize(("name", "reset"), BACK)
def test_a_reset_makes_its_fields_fresh_and_leaves_the_others(name: str, reset: Reset) -> None:
    of = TABLES[name]
    world = build_world(trace_of(), deployment_of(3), as_objects)
    (row,) = as_objects(name, np.full(1, 77, of.layout))
    renewing(of, reset)(world, row)
    for field_name, found in of.fields.items():
        expected = _expected(world, row, found) if reset in found.resets else 77
        assert getattr(row, field_name) == expected, field_name


@pytest.mark.parametrize("name", ["pods", "pools", "lanes", "stations", "memories", "breakers"])
def test_a_cold_world_is_as_after_the_end_of_a_process(name: str) -> None:
    world = build_world(trace_of(), deployment_of(3), as_records, warm=False)
    table: Any = getattr(world, name)
    again = table.copy().view(np.recarray)
    renewing(TABLES[name], Reset.PROCESS)(_with_columns(world), again)
    assert again.tobytes() == table.tobytes()


def _with_columns(world: World) -> Any:
    settings: Any = world.settings
    return world._replace(settings=settings.view(np.recarray))


@record
class Door(Record):
    """A record of this test."""

    width: Real = field("given")
    opening: Real = field("at first its width", Own("width"), Reset.PROCESS)
    opened: Whole = field("how often", 0)


def test_rows_are_fresh_where_they_are_not_given() -> None:
    assert new_rows(Door, 2, width=[1.0, 2.0], opened=3).tolist() == [(1.0, 1.0, 3), (2.0, 2.0, 3)]


def test_what_is_reset_has_a_fresh_value() -> None:
    with pytest.raises(TypeError, match="no fresh value to go back to: how wide"):
        field("how wide", resets=Reset.UNIT)
    with pytest.raises(TypeError, match="nothing of Door is reset by UNIT"):
        renewing(Door, Reset.UNIT)
