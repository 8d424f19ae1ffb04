"""Parquet files of packed circuits: written whole or not at all, and read as files of strangers.

A file holds plain columns alone, no pickled objects and no extension types. Its pages have checksums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

from circuitlang.base.deferred import np
from circuitlang.base.diagnostics import Finding, InputError
from circuitlang.base.plain_files import open_plain
from circuitlang.results.ownership import PACKED_MARKER
from circuitlang.results.packed.rows import PackedCircuit, PackedMask, counts, row, unpack

if TYPE_CHECKING:
    import pyarrow

_VERSION = b"1"
# Circuits in a row group, which is read as a whole.
GROUP = 64
# More bytes than a row group takes when it is read, in any network.
_LARGEST = 1 << 31
_MASK = ("layer", "kernels", "scores", "effective")
# Columns of texts; all others but the unit and the masks are numbers.
_TEXTS = ("id", "label", "target", "layer", "images", "criterion", "size", "verdict", "weights", "identity", "summary")
_OTHERS = ("unit", "crops")


class DamagedError(ValueError):
    """A file that can't be read as one of packed circuits, and why."""


def arrow() -> ModuleType:
    """Return pyarrow. Raises InputError if it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        cure = "pip install 'circuitlang[atlas]'"
        label = "packed runs need it"
        raise InputError(Finding("E361", "pyarrow is not installed", None, label, cure)) from None
    module: ModuleType = pa
    return module


def table(circuits: Sequence[PackedCircuit]) -> pyarrow.Table:
    """Return circuits as a table of pyarrow."""
    pa = arrow()
    rows = [row(packed) for packed in circuits]
    names = list(dict.fromkeys(name for values in rows for name in values))
    columns = {name: pa.array([values.get(name) for values in rows], column_type(name)) for name in names}
    columns["masks"] = _mask_array(circuits)
    fields = [pa.field(name, array.type) for name, array in columns.items()]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields, {PACKED_MARKER: _VERSION}))


def column_type(name: str) -> pyarrow.DataType:
    """Return the type of a column of plain values."""
    pa = arrow()
    if name in _TEXTS:
        return pa.string()
    if name in _OTHERS:
        return pa.int32() if name == "unit" else pa.binary()
    return pa.int64() if counts(name) else pa.float64()


def _mask_type() -> pyarrow.DataType:
    pa = arrow()
    kinds = pa.string(), pa.list_(pa.int32()), pa.list_(pa.float16()), pa.list_(pa.bool_())
    return pa.list_(pa.struct(list(zip(_MASK, kinds, strict=True))))


def _mask_array(circuits: Sequence[PackedCircuit]) -> pyarrow.Array:
    """Return the masks of circuits, built of whole arrays: there may be tens of thousands of kernels in each."""
    pa = arrow()
    masks = [mask for packed in circuits for mask in packed.masks]
    offsets = pa.array(np.cumsum([0, *(len(mask.kernels) for mask in masks)]), pa.int32())

    def lists(name: str, kind: pyarrow.DataType) -> pyarrow.Array:
        values = np.concatenate([getattr(mask, name) for mask in masks]) if masks else np.zeros(0)
        return pa.ListArray.from_arrays(offsets, pa.array(values).cast(kind))

    layers = pa.array([layer.path for packed in circuits for layer in packed.summary.layers], pa.string())
    parts = lists("kernels", pa.int32()), lists("scores", pa.float16()), lists("effective", pa.bool_())
    structs = pa.StructArray.from_arrays([layers, *parts], names=list(_MASK))
    rows = pa.array(np.cumsum([0, *(len(packed.masks) for packed in circuits)]), pa.int32())
    return pa.ListArray.from_arrays(rows, structs)


def unified(schemas: Sequence[pyarrow.Schema]) -> pyarrow.Schema:
    """Return a schema with the columns of all files: circuits may differ in the numbers that they have."""
    names = list(dict.fromkeys(name for schema in schemas for name in schema.names if name != "masks"))
    last = [name for name in ("crops", "weights", "identity", "summary") if name in names]
    names = [*(name for name in names if name not in last), *last]
    pa = arrow()
    fields = [pa.field(name, column_type(name)) for name in names]
    return pa.schema([*fields, pa.field("masks", _mask_type())], {PACKED_MARKER: _VERSION})


def conformed(part: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """Return a table with the columns of a schema, null where it had none."""
    pa = arrow()
    columns = [
        part.column(field.name).cast(field.type)
        if field.name in part.schema.names
        else pa.nulls(part.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def writer(file: IO[bytes] | Path, schema: pyarrow.Schema) -> Iterator[pyarrow.parquet.ParquetWriter]:
    """Provide a writer of row groups, with the encodings that keep masks small."""
    pa = arrow()
    texts = [name for name in schema.names if name in _TEXTS and name not in ("id", "summary", "identity")]
    numbers = [name for name in schema.names if name not in (*_TEXTS, "crops", "masks")]
    # Scores are plain: not every reader knows another encoding of half precision.
    deltas = "masks.list.element.kernels.list.element"
    with pa.parquet.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=9,
        use_dictionary=[*texts, "masks.list.element.layer"],
        column_encoding={deltas: "DELTA_BINARY_PACKED"},
        write_statistics=["id", *texts, *numbers],
        write_page_checksum=True,
        version="2.6",
    ) as output:
        yield output


class PackedFile:
    """A Parquet file of circuits, which anybody may have written. Raises DamagedError."""

    def __init__(self, path: Path) -> None:
        pa = arrow()
        self.path = path
        with self._reading():
            source = open_plain(path)
            try:
                self._file = pa.parquet.ParquetFile(
                    source,
                    page_checksum_verification=True,
                    thrift_string_size_limit=1 << 24,
                    thrift_container_size_limit=1 << 22,
                    **_no_extensions(pa),
                )
            except BaseException:
                source.close()
                raise
            self._source = source
        try:
            with self._reading():
                self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PackedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)
        self._source.close()

    @property
    def schema(self) -> pyarrow.Schema:
        """The schema of pyarrow."""
        return self._file.schema_arrow

    @property
    def groups(self) -> int:
        """The number of row groups."""
        return int(self._file.num_row_groups)

    def read(self, group: int, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return a row group as a table, all or some of its columns."""
        with self._reading():
            return self._file.read_row_group(
                group, columns=None if columns is None else list(columns), use_threads=False
            )

    def _check(self) -> None:
        """Raise DamagedError if the columns are others, or more is in a row group than memory holds."""
        schema = self.schema
        wanted = {"masks": _mask_type(), **{name: column_type(name) for name in schema.names if name != "masks"}}
        for name in ("id", "identity", "summary", *wanted):
            if schema.names.count(name) != 1:
                raise DamagedError(f"it has not one column {name}")
            if not _same(schema.field(name).type, wanted[name]) and not _is_number(name, schema.field(name).type):
                raise DamagedError(f"its column {name} is {schema.field(name).type}")
        for group in range(self.groups):
            about = self._file.metadata.row_group(group)
            if about.total_byte_size > _LARGEST or about.num_rows > _LARGEST:
                raise DamagedError(f"its row group {group} is too large")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        pa = arrow()
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise DamagedError(reason[:200]) from None


def _no_extensions(pa: ModuleType) -> dict[str, bool]:
    """Return the argument that leaves extension types out, which versions before 21 don't know."""
    return {"arrow_extensions_enabled": False} if int(pa.__version__.partition(".")[0]) >= 21 else {}


def _is_number(name: str, kind: pyarrow.DataType) -> bool:
    """Return whether a column of numbers has numbers, of whatever type another version gave them."""
    types = arrow().types
    numbers = name not in (*_TEXTS, *_OTHERS, "masks")
    return numbers and bool(types.is_integer(kind) or types.is_floating(kind))


def _same(kind: pyarrow.DataType, wanted: pyarrow.DataType) -> bool:
    """Return whether a type is the wanted one, whatever the elements of its lists are called."""
    pa = arrow()
    if pa.types.is_list(kind) and pa.types.is_list(wanted):
        return _same(kind.value_type, wanted.value_type)
    if pa.types.is_struct(kind) and pa.types.is_struct(wanted):
        names = [[field.name for field in struct] for struct in (kind, wanted)]
        return names[0] == names[1] and all(_same(kind.field(name).type, wanted.field(name).type) for name in names[0])
    return bool(kind.equals(wanted))


def circuit_of(part: pyarrow.Table, number: int) -> PackedCircuit:
    """Return the circuit in a row of a table. Raises DamagedError."""
    try:
        crops = part.column("crops")[number].as_py() if "crops" in part.schema.names else b""
        structs = part.column("masks")[number].values
        fields = [structs.field(name) for name in _MASK]
        if any(field.null_count for field in fields):
            raise DamagedError("a mask lacks a part")
        masks = [
            PackedMask(
                fields[1][layer].values.to_numpy(zero_copy_only=False).astype(np.int64),
                fields[2][layer].values.to_numpy(zero_copy_only=False).astype(np.float16),
                fields[3][layer].values.to_numpy(zero_copy_only=False).astype(np.bool_),
            )
            for layer in range(len(structs))
        ]
        return unpack(part.column("summary")[number].as_py(), fields[0].to_pylist(), masks, crops or b"")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedError(str(error)[:200]) from None
