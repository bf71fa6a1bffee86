"""Tables: what files become which columns, what is refused, and `crabnet-jit describe`."""

import bz2
import csv
import gzip
import importlib.util
import io
import json
import lzma
import random
import re
import subprocess
import sys
import tracemalloc
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crabnet_jit import NN, fit, load, save
from crabnet_jit.check import InvalidArgumentError
from crabnet_jit.cli.main import main
from crabnet_jit.cli.tables import Reading, auto_task, format_table, inputs_for, read_table, reading_of
from crabnet_jit.data.columns import is_frame
from crabnet_jit.data.table import Cells, Table, TableError
from crabnet_jit.kernels.cells import DECIMAL, EMPTY, OTHER, WHOLE
from crabnet_jit.kernels.text_entries import read_rows
from crabnet_jit.reading.cells import MISSING
from crabnet_jit.reading.texts import Rows, Texts, read_texts

#: pandas before 3 rounds numbers correctly only if it is asked to.
ROUNDED: Any = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
FAST = ["--iterations", "30", "--hidden", "3"]
NAN = float("nan")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table_of(content: str | bytes, name: str = "a.csv", **reading: Any) -> Table:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(name, Reading(**reading))


def column_of(cells: list[str], **reading: Any) -> Cells:
    """A column of these cells, in a file with another one."""
    return table_of("x;k\n" + "".join(f"{cell};0\n" for cell in cells), **reading).column("x")


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    try:
        code: Any = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


class Input:
    """Standard input with these bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


# ---- types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "+3", " 4 ", "007"], "integer", [1, -2, 3, 4, 7]),
        (["-0", "1"], "integer", [0, 1]),
        (["1", "2.0"], "number", [1, 2]),
        (["1.5", ".5", "5.", "1e3", "-1.25E-2"], "number", [1.5, 0.5, 5, 1000, -0.0125]),
        (["1", "", "3"], "integer", [1, NAN, 3]),
        (["1.5", "NA", "N/A", "NaN", "nan", "null", "NULL", "n/a", "?", " ? "], "number", [1.5] + [NAN] * 9),
        (["", "NA"], "number", [NAN, NAN]),
        (["9007199254740991", "-9007199254740991"], "integer", [2.0**53 - 1, 1 - 2.0**53]),
        (["9007199254740993", "1"], "other", [2.0**53, 1]),
        (["0.1234567890123456789012", "1"], "number", [0.1234567890123456789, 1]),
        (["true", "False", "TRUE"], "boolean", [True, False, True]),
        (["true", "", "false"], "boolean", [True, False, False]),
        (["a", "b", "1"], "text", ["a", "b", "1"]),
        (["a", "", " b "], "text", ["a", "", "b"]),
        (["yes", "no"], "text", ["yes", "no"]),
        (["inf", "inf"], "text", ["inf", "inf"]),
        (["1_000", "0x10"], "text", ["1_000", "0x10"]),
        (["true", "1", "false"], "text", ["true", "1", "false"]),
        (["١٢", "٣"], "text", ["١٢", "٣"]),
        (["None", "none"], "text", ["None", "none"]),
        (["2024-01-31", "1999-12-01"], "date", ["2024-01-31", "1999-12-01"]),
        (["2024-01-31T12:00:00Z", ""], "date", ["2024-01-31T12:00:00Z", ""]),
        (["2024-01-31 12:00", "2024-01-31 12:00:05.25+01:00"], "date", None),
        (["31.01.2024", "1.2.99"], "date", ["31.01.2024", "1.2.99"]),
        (["01/31/2024", "1/2/2024 3:04 PM"], "date", None),
        (["12:30", "09:05:30"], "date", None),
        (["2024-01-31", "soon"], "text", ["2024-01-31", "soon"]),
    ],
)
def test_types(cells: list[str], kind: str, values: list[Any] | None) -> None:
    column = column_of(cells)
    assert column.kind == kind
    if values is not None:
        np.testing.assert_array_equal(column.values, values)
        assert column.is_missing.tolist() == [cell.strip() in MISSING for cell in cells]
    assert column.values.dtype == {"boolean": bool, "text": object, "date": object}.get(kind, float)


def test_a_minus_zero_of_integers_is_zero() -> None:
    assert not np.signbit(column_of(["-0", "1"]).values).any()
    assert np.signbit(column_of(["-0.0", "1"]).values).tolist() == [True, False]


def test_own_texts_for_missing_values() -> None:
    column = column_of(["1", "-999", "none", " -999 ", "-999.0"], na_values=["-999", "none"])
    np.testing.assert_array_equal(column.values, [1, NAN, NAN, NAN, -999])
    assert column_of(["a", "b"], na_values=["b"]).is_missing.tolist() == [False, True]


def test_decimal_comma() -> None:
    table = table_of("a;b\n1,5;2\n-0,25;3,0\n1e-1;,5\n", decimal=",")
    assert table.column("a").values.tolist() == [1.5, -0.25, 0.1]
    assert table.column("b").values.tolist() == [2, 3, 0.5]
    assert column_of(["1.5", "a", "b", "c"], decimal=",").kind == "text"


@pytest.mark.parametrize(
    ("cells", "decimal", "message"),
    [
        (["1,234.5", "2"], ".", "line 2, column 'x': must be a finite number, got '1,234.5'; remove ','"),
        (["1", "1,234,567"], ".", "line 3, column 'x': must be .*; remove ',', which separates thousands"),
        (["1,234", "2,345"], ".", "remove ',', which .*; if it is the decimal sign, say --decimal ,$"),
        (["1.234,5", "1"], ",", "line 2, column 'x': must be a finite number, got '1.234,5'; remove '.'"),
        (["1.234,5", "1"], ".", "if ',' is the decimal sign, say --decimal ,$"),
        (["1 234", "5 678"], ".", "remove a space, which separates thousands"),
        (["1\u202f234,5", "1\u00a0234"], ",", "remove a space, which separates thousands"),
        (["1'234.5", "1"], ".", 'remove "\'", which separates thousands'),
        (["0,5", "1,25"], ".", "got '0,5'; if ',' is the decimal sign, say --decimal ,$"),
        (["1.5", "2.5"], ",", "got '1.5'; if '.' is the decimal sign, say --decimal .$"),
        (["1", "2", "n.a."], ".", "line 4, column 'x': .*; 2 of 3 cells are numbers; --na-values=n.a. makes"),
        (["1", "x y"], ".", "--na-values='x y' makes this one missing"),
        (["1", "inf"], ".", "line 3, column 'x': must be a finite number, got 'inf'"),
        (["1", "1e999"], ".", "line 3, column 'x': must be a finite number, got '1e999'"),
    ],
)
def test_numbers_of_another_notation_are_named(cells: list[str], decimal: str, message: str) -> None:
    with pytest.raises(TableError, match=message.replace("'.'", r"'\.'")):
        column_of(cells, decimal=decimal)


def test_the_cell_of_an_error_is_the_one_that_its_option_makes_missing() -> None:
    cells = ["1", "unknown", "3"]
    with pytest.raises(TableError) as caught:
        column_of(cells)
    (option,) = re.findall("--na-values=(\\S+)", str(caught.value))
    np.testing.assert_array_equal(column_of(cells, na_values=[option]).values, [1, NAN, 3])


def test_a_column_gets_its_type_when_it_is_asked_for_and_once() -> None:
    table = table_of("x,bad\n1,1\n2,a\n")
    assert table.column("x") is table.column("x")
    assert table.select(["x"]).column("x") is table.column("x")
    for _ in range(2):
        with pytest.raises(TableError, match=r"column 'bad'"):
            table.column("bad")


# ---- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "header", "rows"),
    [
        ('"a,b";"c;d"\n1;2\n', ["a,b", "c;d"], [["1", "2"]]),
        ('"a;b","c"\n1,2\n', ["a;b", "c"], [["1", "2"]]),
        ("a, b;c\n1;2\n3;4\n", ["a, b", "c"], [["1", "2"], ["3", "4"]]),
        ('"say ""a""",b\n1,2\n', ['say "a"', "b"], [["1", "2"]]),
        ('a,b\n"two\nlines","x,""y"""\n', ["a", "b"], [["two\nlines", 'x,"y"']]),
        ("a\tb\n1\t\n", ["a", "b"], [["1", ""]]),
        ("a|b\n1|2\n", ["a", "b"], [["1", "2"]]),
        ("a\r\n1\r\n\r\n2\r\n", ["a"], [["1"], ["2"]]),
        ("a\r1\r2", ["a"], [["1"], ["2"]]),
        ("\ufeffä,é\nß,✓\n", ["ä", "é"], [["ß", "✓"]]),
        ('\ufeff"ä","é"\n"ß","✓"\n', ["ä", "é"], [["ß", "✓"]]),
        (",,\n , \na,b\n1,2\n", ["a", "b"], [["1", "2"]]),
    ],
)
def test_text(content: str, header: list[str], rows: list[list[str]]) -> None:
    table = table_of(content)
    assert table.header == header
    assert [list(row) for row in table.rows()] == rows


@pytest.mark.parametrize("quote", ["", '"'])
def test_lines_are_those_of_the_file(quote: str) -> None:
    table = table_of(f"\nx,y\n\n{quote}1{quote},2\n\n\n3,4\n")
    assert table.lines.tolist() == [4, 7]
    assert table.place(1, "y") == "a.csv, line 7, column 'y'"


def test_quotes_make_no_difference_to_the_columns() -> None:
    plain = "x,y,z\n1,a,true\n,b,\n2.5,NA,false\n"
    quoted = re.sub("[^,\n]+", r'"\g<0>"', plain)
    one, other = table_of(plain), table_of(quoted, "b.csv")
    for name in one.header:
        assert one.column(name).kind == other.column(name).kind
        np.testing.assert_array_equal(one.column(name).values, other.column(name).values)
        np.testing.assert_array_equal(one.column(name).is_missing, other.column(name).is_missing)


def test_a_file_without_header() -> None:
    table = table_of("1,2,a\n3,4,b\n", header=False)
    assert table.header == ["1", "2", "3"]
    assert table.column("2").values.tolist() == [2, 4]
    assert table.place(0, "1") == "a.csv, line 1, column '1'"
    assert format_table(table, ["z"], np.ones((2, 1))) == "1,2,a,1.0\n3,4,b,1.0\n"
    for content, message in (
        ("", "must have rows, but is empty"),
        ("1,2\n3\n", "2 columns like the first row"),
        ('"",""\n"",""\n""\n', "line 3: must have 2 columns like the first row, but has 1"),
    ):
        with pytest.raises(TableError, match=message):
            table_of(content, header=False)


@pytest.mark.parametrize("delimiter", list("+-0e"))
def test_a_delimiter_may_be_a_character_of_numbers(delimiter: str) -> None:
    table = table_of("x;y;z\n2;3.5;\n;1;7\n".replace(";", delimiter), delimiter=delimiter)
    assert [list(row) for row in table.rows()] == [["2", "3.5", ""], ["", "1", "7"]]
    assert table.column("y").values.tolist() == [3.5, 1]


def test_many_rows() -> None:
    values = np.arange(300_000)
    table = table_of("x\n" + "\n".join(map(str, values.tolist())))
    np.testing.assert_array_equal(table.column("x").values, values)
    assert table.lines[-1] == 300_001


def test_a_wide_header_takes_no_memory_for_rows_that_are_too_short() -> None:
    n = 10**6
    with pytest.raises(TableError, match=f"line 2: must have {n} columns like the header, but has 1 "):
        table_of("x," * (n - 1) + "x\n" + "1\n" * n)


def test_the_kernel_is_compiled_once_for_all_files() -> None:
    for content in ("x,y\n1,2\n", "x,y\r\n1,2\r\n", '"x","y"\n1,2\n', "\ufeffx,y\n1,2"):
        assert table_of(content).column("y").values.tolist() == [2]
    assert len(read_rows.signatures) == 1


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gz", gzip.compress),
    ("bz2", bz2.compress),
    ("xz", lzma.compress),
]


@pytest.mark.parametrize(("ending", "pack"), PACKERS)
def test_packed_files(ending: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"x,y\n" + b"1,2\n" * 1000
    packed = pack(text)
    for name in (f"a.csv.{ending}", "a.csv"):  # an ending is not needed
        assert table_of(packed, name).column("y").values.tolist() == [2] * 1000
    monkeypatch.setattr(sys, "stdin", Input(packed))
    assert read_table("-").n_rows == 1000
    assert table_of(packed + pack(b"3,4\n"), f"two.csv.{ending}").n_rows == 1001
    for damaged in (packed[:-5], packed[: len(packed) // 2] + b"\0\0\0" + packed[len(packed) // 2 :]):
        with pytest.raises(TableError, match=r"b.csv: the .* file is damaged"):
            table_of(damaged, "b.csv")
    with pytest.raises(
        TableError, match=rf"c.csv.{ending}: it is not a .* file, although its name ends with"
    ):
        table_of(text, f"c.csv.{ending}")


@pytest.mark.parametrize(("ending", "pack"), PACKERS)
def test_memory_is_bounded_by_the_limit(ending: str, pack: Callable[[bytes], bytes]) -> None:
    Path(f"bomb.csv.{ending}").write_bytes(pack(b"x\n" + b"1" * 4 * 10**7))
    tracemalloc.start()
    message = r"must be at most 2MB when unpacked, but is larger; --max-size 4MB raises the limit"
    with pytest.raises(TableError, match=message):
        read_table(f"bomb.csv.{ending}", Reading(max_bytes=2 * 10**6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 10**7  # the file has 4 * 10**7
    assert table_of(b"x\n1\n").n_rows == 1


def test_the_limit_is_exact() -> None:
    assert table_of("x\n123\n", max_bytes=6).n_rows == 1
    with pytest.raises(
        TableError, match=r"must be at most 5B when unpacked, but is larger; --max-size 10B raises"
    ):
        table_of("x\n123\n", max_bytes=5)


def _network() -> bytes:
    save(NN(1, [], 1), "net.npz")
    return Path("net.npz").read_bytes()


def _zip(name: str, content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.ones(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_network, "must be a table, but seems to be a saved network or checkpoint"),
        (_npz, r"seems to be NumPy arrays \(.npz\)"),
        (_npy, r"seems to be a NumPy array \(.npy\)"),
        (lambda: _zip("a.csv", b"x\n1\n"), "seems to be a zip archive: unpack it first"),
        (lambda: b"PK\x03\x04", "seems to be a zip archive"),
        (lambda: b"\x89PNG\r\n\x1a\n\0\0", "seems to be a picture"),
        (lambda: b"\xff\xd8\xff\xe0\0", "seems to be a picture"),
        (lambda: b"%PDF-1.7\n", "seems to be a PDF document"),
        (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1", r"seems to be an old Excel file \(.xls\): save it as"),
        (lambda: b"<!DOCTYPE html>\n<html>", "seems to be an HTML page"),
        (lambda: b"\n  <HTML lang='en'>", "seems to be an HTML page"),
        (lambda: b"<?xml version='1.0'?>", "seems to be an XML document"),
        (lambda: json.dumps({"x": [1, 2]}).encode(), "seems to be JSON"),
        (lambda: json.dumps([{"x": 1}, {"x": 2}], indent=1).encode(), "seems to be JSON"),
        (lambda: b"[1, 2, 3]\n", "seems to be JSON"),
        (lambda: b"\x80\x04\x95", "seems to be a Python pickle"),
        (lambda: b"\x28\xb5\x2f\xfd\x04", "seems to be a packed file"),
        (lambda: b"x,y\n1,2\0\n", "line 2: this is not text; it has a byte 0"),
        (lambda: "x,y\n1,2\n".encode("utf-16"), "line 1: the text is in UTF-16"),
        (lambda: "x,y\n1,2\n".encode("utf-16-le"), "line 1: this is not text; it has a byte 0"),
        (lambda: "x,y\n1,é\n".encode("latin-1"), "line 2: the text is not in UTF-8"),
        (lambda: random.Random(1).randbytes(5000), "not text"),
    ],
)
def test_files_that_are_no_tables(
    content: Callable[[], bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content()
    with pytest.raises(TableError, match=f"^other.csv.*{message}"):
        table_of(data, "other.csv")
    monkeypatch.setattr(sys, "stdin", Input(data))
    with pytest.raises(TableError, match=f"^standard input.*{message}"):
        read_table("-")


@pytest.mark.parametrize("header", ["[x],[y]", "{x},{y}", "<x>,<y>", "MZ,BZh9", "PAR,%PDF"])
def test_strange_headers_are_headers(header: str) -> None:
    assert table_of(f"{header}\n1,2\n").header == header.split(",")


# ---- Parquet, Feather, Excel -------------------------------------------------------------------

FRAME = pl.DataFrame(
    {
        "x": [1.5, None, 3.0],
        "f": [NAN, 2.5, None],
        "n": [1, 2, None],
        "b": [True, None, False],
        "t": ["a", None, "NA"],
        "c": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
        "s": ["1", "2", "x"],
        "d": pl.Series(["2024-01-01", "2024-01-02", None]).str.to_date(),
    }
)


@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_files_of_polars(form: str) -> None:
    stream = io.BytesIO()
    getattr(FRAME, f"write_{form}")(stream)
    table = table_of(stream.getvalue(), "a.bin")
    kinds = [table.column(name).kind for name in "xfnbtcd"]
    assert kinds == ["number", "number", "integer", "boolean", "text", "text", "date"]
    np.testing.assert_array_equal(table.column("x").values, [1.5, NAN, 3])
    missing = {name: table.column(name).is_missing.tolist() for name in "xfnbtc"}
    assert missing["f"] == [True, False, True]
    assert missing["x"] == missing["b"] == [False, True, False]
    assert (missing["n"], missing["t"], missing["c"]) == (
        [False, False, True],
        [False, True, False],
        [False] * 3,
    )
    assert table.column("s").kind == "text"
    assert table_of(stream.getvalue(), "a.bin", na_values=["NA"]).column("t").is_missing.tolist() == [
        False,
        True,
        True,
    ]
    assert next(iter(table.rows())) == ("1.5", "NaN", "1", "true", "a", "u", "1", "2024-01-01")
    with pytest.raises(TableError, match=r"a.bin: must be at most 100B when unpacked"):
        table_of(stream.getvalue(), "a.bin", max_bytes=100)
    for damaged in (stream.getvalue()[:-20], stream.getvalue()[:12] + b"\xff" * 50):
        with pytest.raises(TableError, match=r"a.bin: the (Parquet|Feather) file cannot be read"):
            table_of(damaged, "a.bin")


def workbook(rows: list[list[str | float]]) -> bytes:
    """An Excel file of one sheet."""
    main_ns = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if value else "<c/>"
        return f"<c><v>{value}</v></c>"

    sheet = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type='
        f'"{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main_ns} xmlns:r="{relation}"><sheets><sheet name="s" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main_ns}><sheetData>{sheet}</sheetData></worksheet>",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_excel_files() -> None:
    pytest.importorskip("fastexcel")
    data = workbook([["x", "t", "s"], [1.5, "a", 1], ["", "b", 2], [3, "", "k"]])
    table = table_of(data, "a.xlsx")
    np.testing.assert_array_equal(table.column("x").values, [1.5, NAN, 3])
    assert table.column("t").values.tolist() == ["a", "b", ""]
    with pytest.raises(TableError, match=r"a.xlsx, row 4, column 's': must be a finite number, got 'k'"):
        table.column("s")
    gap = table_of(workbook([["x", "t"], [1, "a"], ["", ""], [2, "b"]]), "c.xlsx")
    np.testing.assert_array_equal(gap.column("x").values, [1, NAN, 2])
    bare = table_of(workbook([[1, "a"], [2, "b"]]), "b.xlsx", header=False)
    assert (bare.header, bare.column("1").values.tolist()) == (["1", "2"], [1, 2])
    with pytest.raises(TableError, match=r"a.xlsx: the Excel file cannot be read"):
        table_of(_zip("xl/workbook.xml", b"<workbook>"), "a.xlsx")
    with pytest.raises(TableError, match=r"a.xlsx: must be at most 1kB when unpacked"):
        table_of(data, "a.xlsx", max_bytes=1000)


@pytest.mark.parametrize(
    ("content", "hidden"),
    [(b"PAR1....", "polars"), (b"ARROW1..", "polars"), (_zip("xl/workbook.xml"), "fastexcel")],
)
def test_what_to_install(content: bytes, hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(ImportError, match=r'files need polars: pip install "crabnet-jit\[tables\]"'):
        table_of(content)


# ---- tables as data of a fit -------------------------------------------------------------------

COLOURS = ["red", "green", "blue"]
CSV = "size,colour,is_new,n,y,kind\n" + "".join(
    f"{k / 8},{COLOURS[k % 3]},{k % 2 == 0},{k},{k * k / 16},{'ab'[k % 2]}\n" for k in range(24)
)


@pytest.mark.parametrize("target", ["y", "n", "kind", "is_new"])
def test_a_table_fits_as_the_data_frame_of_pandas_bit_for_bit(target: str) -> None:
    table, frame = table_of(CSV), pd.read_csv(io.StringIO(CSV))
    names = [name for name in ("size", "colour", "is_new", "n") if name != target]
    options: Any = {"n_iterations": 20, "hidden_sizes": (4,)}
    one = fit(table.select(names), table.column(target), **options)
    other = fit(frame[names], frame[target], **options)
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert one.schema.values() == other.schema.values()
    inputs = table.select(names)
    assert np.array_equal(one.predict(inputs), other.predict(frame[names]))
    assert np.array_equal(one.predict(table.select(names[::-1])), one.predict(inputs))
    both = fit(inputs, table.select(["y", "n"]), **options)
    assert both.output_names == ["y", "n"]


def test_tables_need_no_narwhals() -> None:
    Path("a.csv").write_text(CSV)
    code = """
import sys
import crabnet_jit
from crabnet_jit.cli.tables import read_table
table = read_table("a.csv")
net = crabnet_jit.fit(table.select(["size", "colour", "is_new"]), table.column("kind"), n_iterations=3)
net.predict(table.select(["colour", "is_new", "size"]))
assert net.input_names == ["size", "colour=blue", "colour=green", "colour=red", "is_new"]
assert not {"narwhals", "pandas", "polars"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_errors_about_columns_are_in_the_units_of_the_file() -> None:
    table = table_of("x,t,d,y\n1,a,2024-01-01,1\n\n,b,2024-01-02,2\n3,,2024-01-03,3\n")
    assert is_frame(table)
    assert is_frame(table.column("x"))
    for name, message in (
        ("x", "column 'x' of a.csv must be a column without missing values, got 1 missing, .* in line 4"),
        ("t", "column 't' of a.csv must be a column without missing values, got 1 missing, .* in line 5"),
        ("d", "column 'd' of a.csv must be a column of numbers.*; make it a number, such as the days since"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            fit(table.select([name]), [1.0, 2.0, 3.0], n_iterations=1)
    with pytest.raises(InvalidArgumentError, match=message):  # missing targets are unknown, dates are none
        fit([1.0, 2.0, 3.0], table.column("d"), n_iterations=1)
    net = fit(table_of("t\na\nb\n").select(["t"]), [1.0, 2.0], n_iterations=1)
    with pytest.raises(
        InvalidArgumentError, match=r"column 't' of b.csv must be of the categories .* in line 3"
    ):
        net.predict(table_of("t\na\nc\n", "b.csv"))
    with pytest.raises(TableError, match=r"a.csv: column must be one of t, got 'T'; did you mean 't'"):
        table_of("t\na\n").column("T")


def test_numbers_for_the_command_line() -> None:
    table = table_of("x,b,t,d,m\n1,true,a,2024-01-01,1\n2,false,b,2024-01-02,\n")
    assert [inputs_for(None, ["x", "b", "m"], table).column(name).kind for name in "xbm"] == [
        "integer",
        "boolean",
        "integer",
    ]
    for name, message in (
        ("t", "a.csv, line 2, column 't': must be a finite number, got 'a'$"),
        ("d", "a.csv, line 2, column 'd': .* got '2024-01-01'; make a date a number, such as the days"),
    ):
        with pytest.raises(TableError, match=message):
            inputs_for(None, [name], table)


# ---- the command line --------------------------------------------------------------------------


def test_the_options_reach_the_reader(capsys: Any) -> None:
    Path("a.txt").write_text("0,5;1\n1,5;3\n2,5;4\nweg;7\n")
    options = ["--no-header", "--decimal", ",", "--na-values=weg,fort"]
    code, out, err = run(capsys, "describe", "a.txt", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "a.txt: 4 rows, 2 columns (delimiter ';')"
    assert out.splitlines()[3].split() == ["1", "number", "1", "3", "0.5", "to", "2.5"]
    Path("b.txt").write_text("0,5;1\n1,5;3\n2,5;4\n")
    arguments = ["--inputs", "1", "--outputs", "2", "--validation", "0", *FAST, *options, "--save", "net.npz"]
    assert run(capsys, "fit", "b.txt", *arguments)[0] == 0
    code, out, err = run(capsys, "predict", "net.npz", "b.txt", *options)
    assert (code, err) == (0, "")
    first = load("net.npz").predict([[0.5]])[0]
    assert out.splitlines()[0] == f"0,5;1;{float(first)!r}".replace(".", ",")
    assert run(capsys, "plot", "net.npz", "a.png", "--data", "b.txt", *options)[0] == 0
    code, out, err = run(capsys, "describe", "b.txt", "--max-size", "10B")
    assert (code, out) == (2, "")
    assert "b.txt: must be at most 10B when unpacked, but is larger; --max-size 20B raises the limit" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decimal", ";"], "--decimal must be one of ., ,, got ';'"),
        (["--decimal", ",", "--delimiter", ","], "--delimiter must be another character than --decimal"),
        (
            ["--max-size", "5"],
            "--max-size must be a size with its unit (B, kB, MB, GB), such as 2GB, got '5'",
        ),
        (["--max-size", "0GB"], "--max-size must be"),
        (["--max-size", "-1GB"], "argument --max-size: expected one argument"),
        (["--outputs", "z"], "column must be one of x, y, got 'z'"),
        (["--outputs", "x,y"], "--outputs must be one column of strings, or columns of numbers"),
    ],
)
def test_bad_reader_options(arguments: list[str], message: str, capsys: Any) -> None:
    Path("a.csv").write_text("x,y\n1,a\n2,b\n")
    code, out, err = run(capsys, "describe", "a.csv", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("10B", 10), ("1.5kB", 1500), ("2mb", 2 * 10**6), ("3 GB", 3 * 10**9)]
)
def test_sizes(text: str, n_bytes: int) -> None:
    options = Namespace(delimiter=None, decimal=".", na_values=None, no_header=False, max_size=text)
    assert reading_of(options) == Reading(max_bytes=n_bytes, na_values=[])


def test_a_resumed_run_reads_its_data_as_before(capsys: Any) -> None:
    Path("a.csv").write_text("x;y\n" + "".join(f"{k},5;{k}\n" for k in range(9)) + "none;1\n" * 0)
    arguments = ["fit", "a.csv", "--inputs", "x", "--outputs", "y", *FAST, "--checkpoint", "run.npz"]
    options = ["--decimal", ",", "--na-values", "none,-"]
    assert run(capsys, *arguments, *options)[0] == 0
    assert run(capsys, *arguments, "--resume", "run.npz")[0] == 0
    code, _, err = run(capsys, *arguments, "--resume", "run.npz", "--decimal", ".")
    assert (code, "--decimal must be ,, as in run.npz, got ." in err) == (2, True)


DESCRIBED = """\
a.csv: 4 rows, 9 columns (delimiter ',')

column      type     missing  distinct  values                    remarks
x           number   1        3         -1.5 to 2e+20
n           integer  0        4         1 to 4
n again     integer  0        4         1 to 4                    the same as n
one         integer  0        1         7 to 7                    constant
colour      text     1        2         red 2, blue 1
is new      boolean  0        2         False 2, True 2
day         date     0        4         2024-01-01 to 2024-01-04  make it a number, such as the days since a \
date, or leave it out
nothing     number   4        0                                   no values
(column 9)  ?                                                     no name; line 4, column '': must be a \
finite number, got 'x'; 3 of 4 cells are numbers; --na-values=x makes this one missing
"""


def test_describe(capsys: Any) -> None:
    Path("a.csv").write_text(
        "x,n,n again,one,colour,is new,day,nothing,\n-1.5,1,1,7,red,True,2024-01-01,,1\n"
        "2e20,2,2,7,,False,2024-01-02,NA,2\n,3,3,7,blue,True,2024-01-03,,x\n0,4,4,7,red,False,2024-01-04,,3\n"
    )
    assert run(capsys, "describe", "a.csv") == (0, DESCRIBED, "")


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("kind", "outputs kind: --task auto is classification, 2 classes: a 12, b 12"),
        ("is_new", "outputs is_new: --task auto is classification, 2 classes: False 12, True 12"),
        ("y", "outputs y: --task auto is regression"),
        ("n", "outputs n: --task auto is regression"),
        (
            "few",
            "outputs few: --task auto is regression; "
            "--task classification would have 3 classes: 0 8, 1 8, 2 8",
        ),
        ("y,n", "outputs y, n: --task auto is regression"),
    ],
)
def test_describe_says_what_auto_would_decide(outputs: str, expected: str, capsys: Any) -> None:
    lines = CSV.splitlines()
    Path("a.csv").write_text(
        "\n".join([f"{lines[0]},few", *(f"{row},{k % 3}" for k, row in enumerate(lines[1:]))])
    )
    code, out, err = run(capsys, "describe", "a.csv", "--outputs", outputs)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == expected
    task = re.findall("auto is ([a-z]+)", out)[0]
    table = read_table("a.csv")
    net = fit(table.select(["size"]), table.select(outputs.split(",")), n_iterations=1)
    assert net.schema.task == task  # which is what `fit` makes of these columns


def test_no_task_for_dates() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"--outputs must be numbers, booleans or strings, got dates among 'x'"
    ):
        auto_task([column_of(["2024-01-01", "2024-01-02"])])


def test_names_and_values_do_not_reach_the_terminal_as_they_are(capsys: Any) -> None:
    Path("a.csv").write_text('"\x1b[31mred","two\nlines"\n\x1b[0m,' + "w" * 10_000 + "\nb,c\n")
    code, out, _ = run(capsys, "describe", "a.csv")
    assert code == 0
    assert "\x1b" not in out
    assert r"'\x1b[31mred'" in out
    assert max(map(len, out.splitlines())) < 300
    assert out.count("\n") == 5


def test_describe_loads_no_other_library() -> None:
    Path("a.csv").write_text(CSV)
    code = """
import sys
from crabnet_jit.cli.main import main
assert main(["describe", "a.csv", "--outputs", "kind"]) == 0
assert not {"pandas", "polars", "narwhals"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)


# ---- against pandas ----------------------------------------------------------------------------


def assert_as_pandas(data: bytes, table: Table) -> None:
    """All columns are those that pandas reads, where both read numbers; texts are the same."""
    frame = pd.read_csv(
        io.BytesIO(data), na_values=list(MISSING), keep_default_na=False, skipinitialspace=True, **ROUNDED
    )
    assert len(frame) == table.n_rows
    for index in range(len(table.header)):
        try:
            cells = table.column_at(index)
        except TableError:
            continue
        series = frame.iloc[:, index]
        if (
            pd.api.types.is_numeric_dtype(series)
            and series.dtype != bool
            and cells.kind in ("number", "integer")
        ):
            np.testing.assert_array_equal(cells.values, series.to_numpy(float))
        elif cells.kind == "boolean" and series.dtype == bool:
            assert cells.values.tolist() == series.tolist()
        elif cells.kind in ("text", "date") and not pd.api.types.is_numeric_dtype(series):
            assert [text for text in cells.values if text] == [text.strip() for text in series.dropna()]


def sampledata(name: str) -> Path:
    """A file of bokeh_sampledata (BSD-3-Clause), which is not imported."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    if spec is None or spec.origin is None:
        pytest.skip("needs bokeh_sampledata")
    return Path(spec.origin).parent / "_data" / name


@pytest.mark.parametrize(
    ("name", "kinds", "n_missing"),
    [
        ("penguins.csv", "text text number number integer integer text", [0, 0, 2, 2, 2, 2, 11]),
        ("titanic_all.csv", "text text number text integer", [0, 0, 557, 0, 0]),
        (
            "us_marriages_divorces.csv",
            "integer integer integer integer number number",
            [0, 4, 4, 0, 4, 4],
        ),
    ],
)
def test_real_files(name: str, kinds: str, n_missing: list[int]) -> None:
    path = sampledata(name)
    table = read_table(str(path))
    found = [table.column(name) for name in table.header]
    assert [cells.kind for cells in found] == kinds.split()
    assert [int(cells.is_missing.sum()) for cells in found] == n_missing
    assert_as_pandas(path.read_bytes(), table)


STARTS = [
    b"x,y,name,day\n1,2.5,a,2024-01-01\n-3,,b,2024-01-02\n0.125,1e3,NA,2024-01-03\n",
    b'"x";"y";"z"\n1;"2";3\n4;5;"six; 6"\n?;-0.5;"say ""x"""\n',
    b"a\tb\r\n1\t0.1\r\n2\t123456789.123456789\r\ntrue\tnull\r\n",
    b"x|y\n\n10|20\n\n30|4e-5\n \n",
    b"n\n1\n2\n\n-3\n+4\n5.\n",
]
CHARACTERS = [c.encode() for c in "0123456789.,;|-+eExNA?\"' \t\n_é"] + [
    b"\r\n",
    b'""',
    b"nan",
    b"inf",
    b"1,234",
    b"\0",
]


def mutated(rng: random.Random) -> bytes:
    """One of the files with a few characters more, fewer or others."""
    data = rng.choice(STARTS)
    for _ in range(rng.randrange(1, 4)):
        at, n = rng.randrange(len(data) + 1), rng.choice([0, 0, 1, 1, 2])
        data = data[:at] + rng.choice([*CHARACTERS, b""]) + data[at + n :]
    return data


@pytest.mark.parametrize(
    ("seed", "n"),
    [(0, 1000), pytest.param(1, 10_000, marks=[pytest.mark.slow, pytest.mark.fuzz])],
    ids=["few", "many"],
)
def test_mutated_files_are_what_pandas_reads_or_an_error(seed: int, n: int) -> None:
    rng = random.Random(seed)
    n_read = n_numbers = 0
    for _ in range(n):
        data = mutated(rng)
        try:
            table = table_of(data)
        except TableError:
            continue
        n_read += 1
        try:
            texts = pd.read_csv(
                io.BytesIO(data),
                sep=table.delimiter,
                header=None,
                dtype=str,
                na_filter=False,
                encoding="utf-8-sig",
            )
        except pd.errors.ParserError:  # "Buffer overflow caught", of pandas 2.2
            continue
        rows = [list(row) for row in table.rows()]
        width = len(table.header)
        ours, others = (
            [row for row in some if width > 1 or row[0].strip()]  # pandas skips lines of spaces
            for some in (rows, texts.to_numpy().tolist())
        )
        others = [row[:width] for row in others]  # empty lines above the header may have been wider
        assert others[len(others) - len(ours) :] == ours, data
        for index in range(width):
            try:
                cells = table.column_at(index)
            except TableError:
                continue
            if cells.kind not in ("number", "integer"):
                continue
            expected = pd.read_csv(
                io.StringIO("x\n" + "".join(f'"{row[index].strip()}"\n' for row in rows)),
                na_values=list(MISSING),
                keep_default_na=False,
                skip_blank_lines=False,
                **ROUNDED,
            )["x"]
            n_numbers += 1
            np.testing.assert_array_equal(cells.values, expected.to_numpy(float), err_msg=repr(data))
    assert n_read > n / 4
    assert n_numbers > n / 4


# ---- numbers and round trips -------------------------------------------------------------------


def decimals_of(cells: list[str], point: str = ".") -> Texts:
    texts, _ = read_texts(Rows.of(cells), 1, point)
    return texts.column(0)


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("", EMPTY),
        *((cell, OTHER) for cell in ("-", "+", ".", "-.", "+-1", "1-", "1.2.3", "1e5", " 1", "1 ")),
        *((cell, WHOLE) for cell in ("7", "-0", "+12", "0009223372036854775807", "9" * 19, "-" + "9" * 19)),
        *((cell, OTHER) for cell in ("1" + "0" * 19, "9" * 20, "18446744073709551617", "9" * 21)),
        *((cell, DECIMAL) for cell in ("5.", ".5", "-.5", "0." + "0" * 22, "1." + "0" * 18, "." + "9" * 19)),
        *((cell, OTHER) for cell in ("0." + "0" * 23, "1." + "0" * 19, "." + "9" * 20)),
        ("9007199254740993", OTHER),  # halfway between two numbers
    ],
)
def test_forms_of_cells(cell: str, form: int) -> None:
    texts = decimals_of([cell, cell, "1"])
    assert texts.forms.tolist() == [form, form, WHOLE]
    assert texts.decoded() == [cell, cell, "1"]
    expected = float(cell) if form >= DECIMAL else NAN
    np.testing.assert_array_equal(texts.values, [expected, expected, 1])


def test_cells_of_a_data_frame_may_have_any_character() -> None:
    cells = ["1\0002", "ÿ", "\n,", "", "3"]
    assert decimals_of(cells).decoded() == cells


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**21), 10**21).map(str),
    st.tuples(st.integers(0, 10**19), st.integers(0, 20)).map(
        lambda pair: f"{pair[0] / 10 ** pair[1]:.{pair[1]}f}"
    ),
    st.text("0123456789.+-eE_ ", max_size=26),
    st.tuples(st.integers(2**52, 2**53 - 1), st.integers(0, 9), st.integers(-1, 1)).map(
        lambda three: str(((2 * three[0] + 1) << three[1]) + three[2])  # about halfway between two numbers
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_decimals_are_rounded_as_python_rounds(cells: list[str]) -> None:
    for point in ".,":
        decimals = decimals_of([cell.replace(".", point) for cell in cells], point)
        for k, cell in enumerate(cells):
            is_plain = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", cell) is not None
            is_read = decimals.forms[k] >= DECIMAL
            assert is_read == np.isfinite(decimals.values[k])
            assert is_plain or not is_read
            if is_plain and len(cell) <= 15:
                assert is_read
            if is_read:
                assert np.float64(cell).tobytes() == decimals.values[k].tobytes()
                assert (decimals.forms[k] == WHOLE) == ("." not in cell)


def test_most_numbers_are_read_at_once() -> None:
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e6):
        values = rng.normal(size=10_000) * scale
        decimals = decimals_of([f"{value:.15g}" if scale > 1 else repr(float(value)) for value in values])
        assert (decimals.forms >= DECIMAL).mean() > 0.9


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(deadline=None, max_examples=200)
@given(
    st.data(),
    st.integers(1, 4),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_is_read_back(data: Any, width: int, delimiter: str, quoting: Any) -> None:
    cells = st.lists(TEXTS, min_size=width, max_size=width)
    rows = data.draw(st.lists(cells, min_size=1, max_size=5))
    header = [f"name {k}" for k in range(width)]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows([header, *rows])
    table = table_of(stream.getvalue(), delimiter=delimiter)
    assert table.header == header
    assert [list(row) for row in table.rows()] == rows
    again = table_of(format_table(table, [], np.empty((table.n_rows, 0))), "b.csv", delimiter=delimiter)
    assert [list(row) for row in again.rows()] == rows


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([None])),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(".,"),
)
def test_numbers_are_read_back_bit_for_bit(values: list[float | None], decimal: str) -> None:
    cells = ["" if value is None else repr(value).replace(".", decimal) for value in values]
    column = column_of(cells, decimal=decimal)
    expected = np.array([NAN if value is None else value for value in values])
    assert column.kind in ("number", "integer")
    np.testing.assert_array_equal(column.values, expected)
    assert column.is_missing.tolist() == [value is None for value in values]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_bytes_are_a_table_or_an_error(data: bytes) -> None:
    try:
        table = table_of(data)
        for index in range(len(table.header)):
            assert table.column_at(index).shape == (table.n_rows,)
    except TableError as error:
        assert str(error).startswith("a.csv")  # noqa: PT017  # other exceptions are none
