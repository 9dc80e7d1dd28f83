"""Plain tables of rows: plans, engines."""

from collections.abc import Mapping, Sequence

from rich.table import Table

COLUMNS = ("cell_id", "engine", "model", "quantization", "workload", "state")


def rows_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """One column for each key of the first row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def plan_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """The cells of a plan; the reason stands beside the state of what is not going to be measured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        wraps = name in ("engine", "model", "state")  # where a terminal is narrow, and no column may be squeezed out
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=not wraps, min_width=10 if wraps else None)
    for row in rows:
        engine = f"{row['engine']} {row['engine_version']} {row.get('engine_backend') or ''}".rstrip()
        named = (
            f"{row['state']}, {row['failure_class']} at {row['stage']}" if row.get("failure_class") else row["state"]
        )
        state = f"{named}: {row['reason']}" if row["reason"] else str(named)
        if row.get("trust_remote_code"):
            state += "; trust_remote_code: runs code that comes with the model"
        shown = {**row, "engine": engine, "state": state}
        table.add_row(*(str(shown[name]) for name in COLUMNS))
    return table
