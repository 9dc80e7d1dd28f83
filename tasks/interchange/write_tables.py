"""What was measured as files for analysis: cells.parquet, CSV, and an SQLite file that Datasette shows."""

import contextlib
import csv
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.schema.result import CellResult
from tasks.interchange.cell_table import cell_table, keyed
from tasks.interchange.outcome_tables import capacity_table, failure_table
from tasks.interchange.point_table import point_table
from tasks.interchange.table import Column, Table

ARROW = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}
SQL = {"text": "TEXT", "integer": "INTEGER", "number": "REAL", "flag": "INTEGER"}
NESTED = ("points", "capacities")
TITLE = "LLM Dyno: what was measured"


def tables_of(cells: Sequence[CellResult]) -> dict[str, Table]:
    """cells, points, capacities, failures."""
    known = keyed(cells)
    made = (cell_table(known), point_table(known), capacity_table(known), failure_table(known))
    return {table.name: table for table in made}


def write_tables(folder: Path, cells: Sequence[CellResult]) -> list[Path]:
    """Writes cells.parquet, a CSV file a table, dyno.sqlite and metadata.json; the files. Each is written aside and
    renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = tables_of(cells)
    written = [_renamed(folder / "cells.parquet", lambda aside: pq.write_table(parquet_table(tables), aside))]
    for name, table in tables.items():
        written.append(_renamed(folder / f"{name}.csv", lambda aside, table=table: _write_csv(aside, table)))
    written.append(_renamed(folder / "dyno.sqlite", lambda aside: _write_sqlite(aside, tables)))
    described = json.dumps(datasette_metadata(tables), indent=1, ensure_ascii=False)
    written.append(_renamed(folder / "metadata.json", lambda aside: aside.write_text(described, encoding="utf-8")))
    return written


def _renamed(path: Path, write: Any) -> Path:
    aside = path.with_name(path.name + ".partial")
    aside.unlink(missing_ok=True)
    write(aside)
    aside.rename(path)
    return path


def parquet_table(tables: dict[str, Table]) -> pa.Table:
    """A row a cell, whole in itself: `points` and `capacities` are lists of what the tables of these names hold. Units
    and meanings stand in the metadata of the fields."""
    cells = tables["cells"]
    found = _arrow(cells, cells.columns)
    for name in NESTED:
        field, lists = _nested(tables[name], [str(row["cell"]) for row in cells.rows])
        found = found.append_column(field, lists)
    return found


def _arrow(table: Table, columns: Sequence[Column]) -> pa.Table:
    arrays = [pa.array([row[column.name] for row in table.rows], type=ARROW[column.kind]) for column in columns]
    return pa.Table.from_arrays(arrays, schema=pa.schema([_field(column) for column in columns]))


def _field(column: Column) -> pa.Field:
    return pa.field(column.name, ARROW[column.kind], metadata={"unit": column.unit, "description": column.meaning})


def _nested(table: Table, order: Sequence[str]) -> tuple[pa.Field, pa.Array]:
    """The table's rows as one list a cell. They stand in the order of the cells already."""
    columns = [column for column in table.columns if column.name not in ("cell", "cell_id")]
    inner = _arrow(table, columns).combine_chunks()
    rows_of = dict.fromkeys(order, 0)
    for row in table.rows:
        rows_of[str(row[table.parent])] += 1
    offsets = np.concatenate([[0], np.cumsum([rows_of[key] for key in order], dtype=np.int32)]).astype(np.int32)
    structs = pa.StructArray.from_arrays(
        [
            pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
            for column in inner.columns
        ],
        fields=list(inner.schema),
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
    return pa.field(table.name, lists.type, metadata={"description": table.meaning}), lists


def _write_csv(path: Path, table: Table) -> None:
    """An empty field is null."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in table.columns])
        writer.writeheader()
        writer.writerows(table.rows)


def _write_sqlite(path: Path, tables: dict[str, Table]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for table in tables.values():
            database.execute(_create(table))
            names = [column.name for column in table.columns]
            marks = ", ".join("?" * len(names))
            rows = ([row[name] for name in names] for row in table.rows)
            database.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
            if table.parent:
                database.execute(f'CREATE INDEX "{table.name}_{table.parent}" ON "{table.name}" ("{table.parent}")')


def _create(table: Table) -> str:
    columns = [
        f'"{column.name}" {SQL[column.kind]}' + (" PRIMARY KEY" if column.name == table.key else "")
        for column in table.columns
    ]
    links = [f'FOREIGN KEY ("{table.parent}") REFERENCES "cells" ("cell")'] if table.parent else []
    return f'CREATE TABLE "{table.name}" ({", ".join([*columns, *links])})'


def datasette_metadata(tables: dict[str, Table]) -> dict[str, Any]:
    """metadata.json: `datasette dyno.sqlite --metadata metadata.json`. Datasette reads `columns`; `dyno_units` is for
    programs, since the units of Datasette know no tokens."""
    described = {
        name: {
            "description": table.meaning,
            "columns": {column.name: column.described for column in table.columns},
            "dyno_units": {column.name: column.unit for column in table.columns if column.unit},
        }
        for name, table in tables.items()
    }
    return {"title": TITLE, "databases": {"dyno": {"tables": described}}}
