"""Data files are read as they are meant, and what is wrong with one is told with its row and column."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest

from tasks.files import content_of
from tasks.sequences import read_sequences
from tasks.tables import in_time, read_table

LONG = "sequence,time,a,b,target\ns1,2,1.5,?,x\ns2,1,3,4,y\ns1,1,0.5,7,x\n"


def read(path, text=None, **options):
    if text is not None:
        path.write_text(text, encoding="utf-8")
    defaults = {"sequence": None, "target": "target", "time": None, "group": None, "inputs": None}
    return read_sequences(str(path), **{**defaults, **options})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "my.csv"


def test_a_row_a_time_step(file):
    found = read(file, LONG, time="time")
    assert found.features == ["a", "b"]
    np.testing.assert_array_equal(found.values[0], [[0.5, 7], [1.5, np.nan]])
    np.testing.assert_array_equal(found.values[1], [[3, 4]])
    assert found.targets.tolist() == ["x", "y"]
    assert found.names == ["sequence s1", "sequence s2"]


def test_rows_are_in_order_where_no_time_is_named(file):
    found = read(file, LONG, inputs=["a"])
    assert found.values[0][:, 0].tolist() == [1.5, 0.5]


def test_a_row_a_sequence_that_ends_with_its_values(file):
    found = read(file, "t0;t1;t2;target\n1;;3;a\n4;5;;b\n")
    np.testing.assert_array_equal(found.values[0][:, 0], [1, np.nan, 3])
    np.testing.assert_array_equal(found.values[1][:, 0], [4, 5])


def test_decimal_commas_between_semicolons(file):
    found = read(file, "\ufeffa;b;target\r\n1,5;2;x\r\n-0,25;;y\r\n")
    np.testing.assert_array_equal([values[0, 0] for values in found.values], [1.5, -0.25])
    with pytest.raises(ValueError, match="row 3, column a: has a decimal point, and other rows decimal commas"):
        read(file, "a;target\n1,5;x\n2.5;y\n")
    with pytest.raises(ValueError, match="row 2, column a: '1,5' is not a number"):
        read(file, "a\ttarget\n1,5\tx\n")  # which may be thousands


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("02.01.2024", "01.02.2024"),
        ("9.1.2024", "10.1.2024"),
        ("31.12.2023 23:00", "01.01.2024 00:30"),
        ("2024-01-31", "2024-02-01 00:00"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00.5Z"),
        ("2024-01-31T12:00+05:00", "2024-01-31T08:00+00:00"),
        ("2023-12", "2024-01"),
        ("99", "100"),
        ("20240131", "20240201"),
    ],
)
def test_rows_are_put_in_the_order_of_their_dates_and_not_of_their_letters(file, early, late):
    found = read(file, f"sequence;when;a;target\ns;{late};2;x\ns;{early};1;x\n", time="when")
    assert found.values[0][:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("01/02/2024", "03/02/2024"), "row 2, column when: '01/02/2024' is not a number, nor a date as 2024-01-31"),
        (("2024-01-31", "soon"), "row 3, column when: 'soon' is not a date, and '2024-01-31' in the first row is"),
        (("2024-01-31", "5"), "row 3, column when: '5' is not a date"),
        (("2024-01-31T12:00", "2024-01-31T12:00Z"), "row 3, column when: '2024-01-31T12:00Z' has a time zone and the"),
        (
            ("2024-01-31T12:00Z", "2024-01-31T12:00"),
            "row 3, column when: '2024-01-31T12:00' has no time zone as others",
        ),
    ],
)
def test_an_order_that_nobody_can_tell_is_refused(file, times, said):
    text = "sequence,when,a,target\n" + "".join(f"s,{time},1,x\n" for time in times)
    with pytest.raises(ValueError, match=said):
        read(file, text, time="when")


def test_a_date_among_the_inputs_comes_with_advice(file):
    with pytest.raises(ValueError, match=r"'2024-01-31' is not a number but a date: set task\.time=when if"):
        read(file, "sequence,when,a,target\ns,2024-01-31,1,x\n")


def test_parquet_has_what_csv_has(file, tmp_path):
    from_csv = read(file, LONG, time="time")
    frame = pd.read_csv(file, na_values="?")
    frame.to_parquet(tmp_path / "my.parquet")
    found = read(tmp_path / "my.parquet", time="time")
    for one, other in zip(found.values, from_csv.values, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.targets.tolist() == from_csv.targets.tolist()


def test_whole_numbers_beside_missing_ones_name_as_they_are_written(tmp_path):
    frame = pd.DataFrame({"t0": [1.0, 2.0], "target": pd.array([3, 10], dtype="Int64").astype("float64")})
    frame.to_parquet(tmp_path / "my.parquet")
    assert read(tmp_path / "my.parquet").targets.tolist() == ["3", "10"]


def test_spaces_behind_commas_are_no_part_of_quoted_values(file):
    found = read(file, '"a", "b", "target"\n1, 2, "yes"\n3, 4, "no"\n')
    np.testing.assert_array_equal(found.values[1][:, 0], [3, 4])
    assert found.targets.tolist() == ["yes", "no"]


def test_truth_values_and_missing_ones_as_pandas_writes_them(file):
    found = read(file, "a,b,c,d,target\nTrue,<NA>,#N/A,1,x\nFalse,NaT,2,true,y\n")
    np.testing.assert_array_equal(found.values[0][:, 0], [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(found.values[1][:, 0], [0, np.nan, 2, 1])


def test_arrays(tmp_path):
    inputs = np.arange(12.0).reshape(2, 3, 2)
    inputs[1, 2] = np.nan
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=np.array(["a", "b"]), patient=np.array([4, 4]))
    found = read(tmp_path / "my.npz", group="patient")
    assert [len(each) for each in found.values] == [3, 2]
    assert found.groups.tolist() == ["4", "4"]
    np.savez(tmp_path / "my.npz", X=inputs, y=[0, 1], lengths=[1, 3])
    assert [len(each) for each in read(tmp_path / "my.npz").values] == [1, 3]
    np.savez(tmp_path / "my.npz", X=inputs, y=[[0], [1]])
    assert read(tmp_path / "my.npz").targets.tolist() == [0, 1]


def test_the_archive_s_own_format(tmp_path):
    text = "# about\n@problemName Two\n@timeStamps false\n@classLabel true up down\n@data\n1,2,?:4,5,6:up\n1:2:down\n"
    found = read(tmp_path / "my.ts", text)
    np.testing.assert_array_equal(found.values[0], [[1, 4], [2, 5], [np.nan, 6]])
    np.testing.assert_array_equal(found.values[1], [[1, 2]])
    assert found.targets.tolist() == ["up", "down"]


def test_an_archive_s_file_without_targets_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"my\.ts: row 1: has no target of its sequences \(@classLabel false\)"):
        read(tmp_path / "my.ts", "@classLabel false\n@data\n1,2:4,5\n1,2:1,2\n")


class Harmful:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    touched = tmp_path / "touched"
    np.savez(tmp_path / "my.npz", inputs=np.zeros((1, 2)), targets=np.array([Harmful(touched)], dtype=object))
    with pytest.raises(ValueError, match=r"my\.npz: the array targets cannot be read"):
        read(tmp_path / "my.npz")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "is empty"),
        ("1,2,3\n4,5,6\n", {}, "row 1 has numbers; it must name the columns"),
        ("a,a,target\n1,2,x\n", {}, "row 1: two columns are named a"),
        ("a,,target\n1,2,x\n", {}, "row 1: column 2 has no name; give it one, or leave it out (pandas: index=False)"),
        ("a,target\n", {}, "has no rows"),
        ("a,target\n1,x\n1,2,x\n", {}, "row 3 has 3 values"),
        ("a,target\n1,x\noh,y\n", {}, "row 3, column a: 'oh' is not a number"),
        ("a,target\n1,x\ninf,y\n", {}, "row 3, column a: inf is not finite"),
        ("a,target\n1,x\n-1e300,y\n", {}, "row 3, column a: -1e+300 is not finite, or beyond single precision"),
        ("a,target\n1,x\n2,\n", {}, "row 3, column target: has no value"),
        ("a,target\n,x\n2,y\n", {}, "row 2 has no values"),
        ("a,label\n1,x\n", {}, "has no column target; set task.target. It has a, label."),
        ("a,targets\n1,x\n", {}, "has no column target; set task.target. Did you mean targets?"),
        (LONG, {"sequence": "series"}, "has no column series; set task.sequence"),
        (LONG, {"inputs": ["c"]}, "has no column c; set task.inputs"),
        (LONG, {"inputs": ["target"]}, "the column target cannot be an input"),
        (LONG, {"time": "when"}, "has no column when; set task.time"),
        (LONG.replace("0.5,7,x", "0.5,7,z"), {}, "row 4, column target: 'z', and sequence s1 began with 'x'"),
        ('a,target\n"1,x\n', {}, "row 2: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_line(file, text, options, said):
    with pytest.raises(ValueError, match=r"my\.csv: ") as error:
        read(file, text, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"targets": [0, 1]}, "has no array inputs or X or x; it has targets"),
        ({"inputs": np.zeros((2, 3, 1, 1)), "targets": [0, 1]}, "numbers (N, T) or (N, T, F) are needed"),
        ({"inputs": np.zeros((2, 3)), "targets": [0, 1, 2]}, "and there are 2 sequences"),
        ({"inputs": np.zeros((2, 3)), "targets": [0, 1], "lengths": [0, 3]}, "lengths must be 2 whole numbers"),
        ({"inputs": np.full((2, 3), np.inf), "targets": [0, 1]}, "inputs[0, 0, 0] is not finite"),
        ({"inputs": np.full((2, 3), np.nan), "targets": [0, 1]}, "inputs[0] has no values"),
        ({"inputs": np.full((2, 3), 1e39), "targets": [0, 1]}, "inputs[0, 0, 0] is not finite, or beyond single"),
        ({"inputs": np.zeros((0, 3)), "targets": []}, "inputs (0, 3) are empty"),
        ({"inputs": np.zeros((2, 3)), "targets": [0, np.nan]}, "targets[1] has no value"),
    ],
)
def test_what_is_wrong_with_arrays(tmp_path, arrays, said):
    np.savez(tmp_path / "my.npz", **arrays)
    with pytest.raises(ValueError, match=r"my\.npz: ") as error:
        read(tmp_path / "my.npz")
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["my.npz", "my.parquet", "my.csv", "my.ts"])
def test_garbage_is_refused_in_a_line(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(128, 256)) * 40)
    with pytest.raises(ValueError, match=name) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_of_no_kind(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read(tmp_path / "none.csv")
    (tmp_path / "my.xlsx").write_text("a")
    with pytest.raises(ValueError, match=r"is not a table; give a \.csv or \.parquet file"):
        read(tmp_path / "my.xlsx")


def test_content_is_told_by_bytes_and_not_by_place(file, tmp_path):
    file.write_text("a")
    (tmp_path / "other.csv").write_text("a")
    assert content_of([str(file)]) == content_of([str(tmp_path / "other.csv")])
    before = content_of([str(file)])
    file.write_text("bb")
    assert content_of([str(file)]) != before


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_images_in_the_format_of_mnist(tmp_path, ending):
    images = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3))
    path = write_idx(tmp_path / f"train-images-idx3-ubyte{ending}", images)
    labels = tmp_path / f"train-labels-idx1-ubyte{ending}"
    write_idx(labels, np.array([7, 2, 1, 0, 4]))
    found = read(tmp_path / f"train-images-idx3-ubyte{ending}")
    assert found.targets.tolist() == ["7", "2", "1", "0", "4"]
    np.testing.assert_array_equal(found.values[2][:, 0], images[2].flatten())
    before = content_of([path])
    write_idx(labels, np.array([7, 2, 1, 0, 5, 5]))
    assert content_of([path]) != before  # a run's identity knows labels, too
    with pytest.raises(ValueError, match="has 6 labels, and there are 5 images"):
        read_sequences(path, None, "target", None, None, None)
    labels.write_bytes(gzip.compress(b"none") if ending else b"none")
    with pytest.raises(ValueError, match=r"is not an IDX file of bytes, 1 dimension$"):
        read_sequences(path, None, "target", None, None, None)
    labels.unlink()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.*: no such file"):
        read_sequences(path, None, "target", None, None, None)


def test_images_that_are_cut_off(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((5, 4, 3)))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(5))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has 59 values, and its head says 5 × 4 × 3"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.csv", '"a"b,c\n1,2\n', {}, "row"),
        ("a.csv", "id,t,v,target\n1,1,2,a\n1,2,3,a\n", {"time": "t"}, "set task.sequence, or leave task.time out"),
        (
            "a.csv",
            "sequence,t,v,target\n1,1,2,a\n1,1,3,a\n",
            {"time": "t"},
            "'1' is the time of another row of sequence",
        ),
        ("a.csv", "Unnamed: 0,v,target\n0,1,a\n1,2,b\n", {}, "an index that was written"),
        ("a.csv", "1,1,2\n1,2,3\n", {}, "row 1 has numbers; it must name the columns"),
        ("a.csv", "v,w,target\n\n\n1,2,a\n1,b\n", {}, "row 5 has 2 values"),
        ("a.ts", "@data\n1,2:a\n", {"group": "patient"}, "task.group=patient says nothing of it: a .ts file"),
        ("a.ts", "@data\n1,inf:a\n", {}, "row 2, dimension 1: 'inf' is not finite"),
        ("a.ts", "@data\n1,2:?\n", {}, "row 2: its class is missing"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(tmp_path, name, content, options, said):
    (tmp_path / name).write_text(content)
    arguments = {"sequence": None, "target": "target", "time": None, "group": None, "inputs": None} | options
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        read_sequences(str(tmp_path / name), **arguments)
    assert "\n" not in str(raised.value)


def test_arrays_have_no_columns(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.zeros((4, 3)), targets=np.array(["a", "b", "nan", "a"]))
    with pytest.raises(ValueError, match=r"targets\[2\] has no value"):
        read_sequences(str(tmp_path / "a.npz"), None, "target", None, None, None)
    with pytest.raises(ValueError, match=r"task\.target=y says nothing of it"):
        read_sequences(str(tmp_path / "a.npz"), None, "y", None, None, None)


def test_an_index_of_pandas_is_no_feature(tmp_path):
    pd.DataFrame({"a": [1.0, 2, 3], "target": [0, 1, 0]}).sample(frac=1).to_parquet(tmp_path / "a.parquet")
    assert list(read_table(str(tmp_path / "a.parquet")).columns) == ["a", "target"]


def test_numbers_with_decimal_commas_are_targets_too(tmp_path):
    (tmp_path / "a.csv").write_text("v;target\n1;0,5\n2;1\n")
    assert read_table(str(tmp_path / "a.csv")).texts("target").tolist() == ["0.5", "1"]


def test_months_are_in_the_order_of_years(tmp_path):
    (tmp_path / "a.csv").write_text("month,v\n01.2011,3\n02.2010,2\n01.2010,1\n")
    assert in_time(read_table(str(tmp_path / "a.csv")), "month").tolist() == [2, 1, 0]
