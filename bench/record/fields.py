"""The tables of fields in STORE.md, from the records. `python -m bench.record.fields` writes them there."""

from pathlib import Path

from msgspec import inspect as kinds
from tabulate import tabulate

from bench.record import columns as tables
from bench.record import records
from bench.record.encoding import fields_of

STORE = Path(__file__).parents[1] / "STORE.md"
HEADING = "## Fields\n"  # all that follows is written here
FILES = {
    "result.json": (records.StoredResult, records.Lengthened),
    "metrics.jsonl": (records.Evaluation,),
    "diagnostics.jsonl": (records.StoredReading,),
    "probe.json": (records.StoredProbes, records.Diagnostic),
    "sweep.json": (records.Commands, records.Question),
    "plan.json": (records.Planned,),
    "looks.json": (records.Looks,),
}
TABLES = {"results": tables.RESULT_TYPES, "curves": tables.CURVE_TYPES, "diagnostics": tables.DIAGNOSTICS_TYPES,
          "timing": tables.TIMING_TYPES}  # fmt: skip

JSON = {"Int": "integer", "Float": "number", "Str": "text", "Bool": "boolean", "None": "null", "Dict": "object"}


def describe() -> str:
    """Return the section of STORE.md that describes every field and column."""
    parts = [f"{HEADING}\nWritten by `python -m bench.record.fields`, from [records.py](record/records.py)."]
    for title, (first, *others) in FILES.items():
        for record in (first, *others):
            rows = [
                (f"`{about['prefix']}*`", _type(kind.value_type), meaning)
                if "prefix" in about
                else (f"`{name}`", _type(kind), meaning)
                for name, (kind, meaning, about) in fields_of(record).items()
            ]
            parts.append(f"### {title}" if record is first else f"### {title}, `{record.__name__}`")
            parts.append(tabulate(rows, ["field", "type", "meaning"], "github"))
    for title, columns in TABLES.items():
        said = ("", "may be empty", "may be missing")
        about = [
            (f"`{name}`", column.dtype, said[column.may_be_empty + column.may_be_missing], column.meaning)
            for name, column in columns.items()
        ]
        parts += [f"### {title}.parquet", tabulate(about, ["column", "type", "", "meaning"], "github")]
    return "\n\n".join(parts) + "\n"


def _type(kind: kinds.Type) -> str:
    """Name a type: integer or null, list of number."""
    match kind:
        case kinds.UnionType(types=several):
            return " or ".join(map(_type, several))
        case kinds.ListType(item_type=item) | kinds.VarTupleType(item_type=item):
            return f"list of {_type(item)}"
        case kinds.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case kinds.StructType(cls=record):
            return f"`{record.__name__}`"
    return JSON[type(kind).__name__.removesuffix("Type")]


if __name__ == "__main__":
    STORE.write_text(STORE.read_text(encoding="utf-8").partition(HEADING)[0] + describe(), encoding="utf-8")
