//! Reading of tables: content, and messages with place and remedy.

use std::io::{Cursor, Write};
use std::path::Path;

use bidual_io::Error;
use bidual_io::table::*;
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let found = result.unwrap_err().to_string();
    assert!(!found.contains('\n'));
    assert!(found.contains(expected), "{found}");
}

fn csv(text: &str) -> Result<Table, Error> {
    read_csv_bytes(text.as_bytes(), "data.csv")
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    match table.column(name).unwrap() {
        Column::Number(values) => values.clone(),
        Column::Text(cells) => panic!("text: {cells:?}"),
    }
}

fn texts(table: &Table, name: &str) -> Vec<String> {
    match table.column(name).unwrap() {
        Column::Text(cells) => cells.clone(),
        Column::Number(values) => panic!("numbers: {values:?}"),
    }
}

#[test]
fn csv_columns() {
    let table = csv("\u{feff}a, b ,c\r\n 1 ,x y,1e3\r\n\r\n-.5,\"q, \"\"r\"\"\",+2\r\n").unwrap();
    assert_eq!(table.names, ["a", "b", "c"]);
    assert_eq!(numbers(&table, "a"), [1.0, -0.5]);
    assert_eq!(texts(&table, "b"), ["x y", "q, \"r\""]);
    assert_eq!(numbers(&table, "c"), [1000.0, 2.0]);
    assert_eq!(table.rows, 2);
    // Cells that looked like numbers keep their text.
    assert_eq!(texts(&csv("a\n1.0\n02\nx").unwrap(), "a"), ["1.0", "02", "x"]);
}

#[test]
fn csv_lines_are_those_of_an_editor() {
    let places = |text: &str| match csv(text).unwrap().places {
        Places::Lines(lines) => lines,
        Places::Rows => vec![],
    };
    assert_eq!(places("a,b\n1,2\n3,4\n"), [2, 3]);
    assert_eq!(places("a,b\r\n1,2\r\n3,4"), [2, 3]);
    assert_eq!(places("a,b\r1,2\r3,4"), [2, 3]);
    assert_eq!(places("\n\na,b\n\n1,2\n\n\n3,4\n\n"), [5, 8]);
    assert_eq!(places("\r\na,b\r\n\r\n1,2\r\n\r\n3,4\r\n"), [4, 6]);
    assert_eq!(places("a,b\n\"x\ny\r\nz\",2\n3,4\n"), [2, 5]);
    assert_eq!(places("\"a\nA\",b\n1,2\n"), [3]);
}

#[test]
fn csv_errors() {
    says(csv(""), "data.csv: the file is empty; expected a header line");
    says(csv("\n\n"), "the file is empty");
    says(csv("a,b\n"), "data.csv: the table has columns but no rows; expected at least one");
    says(
        csv("a,b\n1,2\n3\n"),
        "data.csv, line 3: expected 2 fields as in the header, found 1; check",
    );
    says(csv("a,b\n1,2,3\n"), "data.csv, line 2: expected 2 fields as in the header, found 3");
    says(csv("a,,c\n1,2,3\n"), "data.csv: column 2 has no name; name every column");
    says(csv("a,b,a\n1,2,3\n"), "columns 1 and 3 are both named \"a\"; rename or remove");
    says(
        csv("a;b\n1;2\n"),
        "line 1: expected column names separated by commas, found one name \"a;b\"",
    );
    let latin1 = read_csv_bytes(b"a,b\n1,2\n3,caf\xe9\n", "data.csv");
    says(latin1, "data.csv, line 3, field 2: the text is not UTF-8; save the file in");
}

#[test]
fn files_and_extensions() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    says(
        read_table(&path("t.xlsx")),
        "\".xlsx\" is not a table format that can be read; use a .csv, .parquet, .npy or .npz",
    );
    says(read_table(&path("t")), "a file without an extension is not a table format");
    says(read_table(&path("t.csv")), "t.csv: cannot be read: ");
    std::fs::create_dir(path("d.csv")).unwrap();
    says(read_table(&path("d.csv")), "is a directory");
    std::fs::write(path("T.CSV"), "a\n1\n").unwrap();
    let table = read_table(&path("T.CSV")).unwrap();
    assert!(table.source.ends_with("T.CSV"));
    #[cfg(not(feature = "parquet"))]
    {
        std::fs::write(path("t.parquet"), "PAR1").unwrap();
        says(read_table(&path("t.parquet")), "convert the file to .csv, or build with the feature");
    }
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn npy_errors() {
    let read = |bytes: &[u8]| read_npy_bytes(bytes, "t.npy");
    says(read(b""), "t.npy: not a readable NPY file: the array: no NPY header; check that");
    says(read(b"\x93NUMPY\x09\x00"), "no NPY header");
    says(read(&npy("<f8", "(1", &[0; 8])), "the header cannot be parsed");
    says(
        read(&npy("<U3", "(1,)", &[0; 12])),
        "t.npy: the array has the element type \"<U3\"; expected numbers",
    );
    says(read(&npy("|O", "(1,)", &[0; 12])), "element type \"|O\"");
    says(
        read(&npy("<f8", "(2,)", &[0; 15])),
        "the shape (2,) of <f8 does not match the 15 bytes of data",
    );
    says(
        read(&npy("<f8", "()", &[0; 8])),
        "the array has the shape (); expected one or two dimensions",
    );
    says(
        read(&npy("|u1", "(2, 2, 2)", &[0; 8])),
        "the array has the shape (2, 2, 2); expected one or two",
    );
    says(read(&npy("|u1", "(0,)", &[])), "no rows");
    says(read(&npy("|u1", "(3, 0)", &[])), "no columns");
    let nan = read(&npy("<f8", "(2,)", &[1.0, f64::NAN].map(f64::to_le_bytes).concat())).unwrap();
    says(
        bidual_io::encoding::number_column(&nan, "x0"),
        "t.npy, row 2, column \"x0\": \"NaN\" is a missing value; missing values are not allowed",
    );
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        out.start_file(*name, SimpleFileOptions::default()).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

#[test]
fn npz_archives() {
    let read = |members: &[(&str, Vec<u8>)]| read_npz_bytes(&npz(members), "t.npz");
    let x = || npy("|u1", "(2, 2)", &[1, 2, 3, 4]);
    let table = read(&[("X.npy", x()), ("y.npy", npy("|i1", "(2, 1)", &[9, 255]))]).unwrap();
    assert_eq!(table.names, ["x0", "x1", "y"]);
    assert_eq!(numbers(&table, "x1"), [2.0, 4.0]);
    assert_eq!(numbers(&table, "y"), [9.0, -1.0]);
    let images = npy("|u1", "(2, 2, 1, 2)", &[1, 2, 3, 4, 5, 6, 7, 8]);
    let table = read(&[("X_train.npy", images), ("y_train.npy", npy("|b1", "(2,)", &[1, 0]))]);
    assert_eq!(numbers(&table.unwrap(), "x3"), [4.0, 8.0]);
    assert_eq!(read(&[("X.npy", npy("|u1", "(2,)", &[5, 6]))]).unwrap().names, ["x0"]);

    says(
        read(&[("y.npy", x())]),
        "t.npz: the archive has no array named X; it holds \"y\"; save the inputs as X",
    );
    says(
        read(&[("X.npy", x()), ("y.npy", x())]),
        "y has the shape (2, 2); expected one target per row",
    );
    says(
        read(&[("X.npy", x()), ("y.npy", npy("|u1", "(3,)", &[1; 3]))]),
        "X has 2 rows but y has 3 values",
    );
    says(read(&[("X.npy", npy("|u1", "()", &[1]))]), "X has the shape (); expected rows × columns");
    says(read(&[("X.npy", b"junk".to_vec())]), "not a readable NPY file: X: no NPY header");
    says(read_npz_bytes(b"junk", "t.npz"), "t.npz: not a readable NPZ file: ");
}

#[test]
fn numpy_and_arrow_files() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for name in ["plain.npz", "compressed.npz"] {
        let table = read_table(&data.join(name)).unwrap();
        assert_eq!(table.names, ["x0", "x1", "x2", "y"]);
        assert_eq!(numbers(&table, "x1"), [1.0, 4.0, 7.0, 10.0]);
        assert_eq!(numbers(&table, "y"), [0.0, 1.0, 1.0, 0.0]);
    }
    let fortran = read_table(&data.join("fortran.npy")).unwrap();
    assert_eq!(numbers(&fortran, "x2"), [2.0, 5.0, 8.0, 11.0]);
    #[cfg(feature = "parquet")]
    for name in ["snappy.parquet", "zstd_v2.parquet"] {
        let table = read_table(&data.join(name)).unwrap();
        assert_eq!(table.rows, 300);
        let third = |name: &str| match table.column(name).unwrap() {
            Column::Number(values) => values[2].to_string(),
            Column::Text(cells) => cells[2].clone(),
        };
        let cells = ["b", "i8", "u32", "i64", "u64", "f32", "f64", "s", "cat"].map(third);
        assert_eq!(
            cells,
            ["1", "-2", "4294967293", "-20", "18446744073709552000", "0.5", "0.25", "s2", "green"]
        );
        assert_eq!(&texts(&table, "with_null")[..4], ["0", "", "2", "3"]);
        says(
            bidual_io::encoding::number_column(&table, "with_null"),
            ".parquet, row 2, column \"with_null\": \"\" is a missing value",
        );
    }
    #[cfg(feature = "parquet")]
    {
        says(
            read_table(&data.join("nested.parquet")),
            "column \"v.list.element\": the type nested is not supported; flatten",
        );
        says(
            read_table(&data.join("date.parquet")),
            "column \"day\": the type INT32 (DATE) is not supported; convert the column",
        );
        says(read_parquet_bytes(b"PAR1", "t.parquet"), "t.parquet: not a readable Parquet file: ");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn written_csv_numbers_read_back(values in prop::collection::vec(any::<f64>(), 1..50)) {
        let mut text = String::from("a,b\n");
        for v in &values {
            text += &format!("{v:?},{v:e}\n");
        }
        let table = csv(&text).unwrap();
        match table.column("a").unwrap() {
            Column::Number(read) => {
                prop_assert_eq!(read, &values);
                prop_assert_eq!(&numbers(&table, "b"), &values);
            }
            Column::Text(_) => prop_assert!(values.iter().any(|v| !v.is_finite())),
        }
    }

    #[test]
    fn written_npy_reads_back(rows in 1usize..20, columns in 1usize..5, seed in any::<u64>()) {
        let value = |i: usize, j: usize| ((seed as usize).wrapping_add(i * 31 + j * 7) % 1000) as f64 / 8.0;
        let data: Vec<Vec<f64>> = (0..columns).map(|j| (0..rows).map(|i| value(i, j)).collect()).collect();
        let slices: Vec<&[f64]> = data.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &slices).unwrap();
        let table = read_npy_bytes(&bytes, "t.npy").unwrap();
        prop_assert_eq!(table.columns, data.into_iter().map(Column::Number).collect::<Vec<_>>());
    }
}
