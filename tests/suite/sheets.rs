//! Spreadsheets: texts, rows, fields and bounds.

use std::time::Instant;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::make::{ods, ole_file, xlsx};
use crate::util::{Playground, ids_and_texts};

fn read(playground: &Playground) -> Vec<(String, String)> {
    ids_and_texts(&playground.path("out.parquet"))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(id, text)| (id.to_owned(), text.to_owned())).collect()
}

fn batch(playground: &Playground) -> RecordBatch {
    let file = std::fs::File::open(playground.path("out.parquet")).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap()
}

/// Returns a row of inline texts and numbers. A value with a style is written as `STYLE:VALUE`, where the style is one of [`xlsx`].
pub fn row(number: usize, values: &[&str]) -> String {
    let cell = |(column, value): (char, &&str)| {
        let with_style =
            |style: &str, value: &str| format!("<c r=\"{column}{number}\" s=\"{style}\"><v>{value}</v></c>");
        match value.split_once(':') {
            Some((style @ ("0" | "1" | "2" | "3" | "4"), value)) => with_style(style, value),
            _ if value.is_empty() => String::new(),
            _ => format!("<c r=\"{column}{number}\" t=\"inlineStr\"><is><t>{value}</t></is></c>"),
        }
    };
    format!("<row r=\"{number}\">{}</row>", ('A'..).zip(values).map(cell).collect::<String>())
}

fn table(name: &str, rows: &str) -> String {
    format!("<table:table table:name=\"{name}\">{rows}</table:table>")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_sheet_is_a_document_with_its_cells_as_shown() {
    let playground = Playground::new();
    let prices = [
        row(2, &["", "Price list"]),
        row(4, &["", "Item", "", "Price", "Share", "When", "At"]),
        row(5, &["", "Vane", "", "1:1249.5", "2:0.125", "3:46083", "4:0.604166"]),
        row(9, &["", "Cup", "", "1:89", "", "", "4:0.5"]),
    ]
    .concat();
    let others = "<row r=\"1\"><c r=\"A1\" t=\"e\"><v>#DIV/0!</v></c><c r=\"B1\" t=\"b\"><v>1</v></c><c r=\"C1\"><f>1+1</f><v>2</v></c><c r=\"D1\"/></row>";
    playground.write(
        "docs/a.xlsx",
        xlsx(&[
            ("Prices", "", &prices),
            ("Gone", "state=\"hidden\"", &row(1, &["secret"])),
            ("Never", "state=\"veryHidden\"", &row(1, &["secret"])),
            ("Empty", "", ""),
            ("Others", "", others),
        ]),
    );
    let rows = "<table:table-header-rows><table:table-row><table:table-cell office:value-type=\"string\"><text:p>Artículo</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"string\"><text:p>Precio</text:p><office:annotation><text:p>a comment</text:p></office:annotation></table:table-cell></table:table-row></table:table-header-rows>\
        <table:table-row table:number-rows-repeated=\"3\"><table:table-cell table:number-columns-repeated=\"1024\"/></table:table-row>\
        <table:table-row table:number-rows-repeated=\"2\"><table:table-cell office:value-type=\"string\"><text:p>Veleta <text:span>de<text:s/>plata</text:span></text:p><text:p>nueva</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"currency\" office:value=\"12.5\"><text:p>12,50&#160;€</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"string\" calcext:value-type=\"error\"><text:p>#DIV/0!</text:p></table:table-cell></table:table-row>\
        <table:table-row table:number-rows-repeated=\"1048000\"><table:table-cell/></table:table-row>";
    let hidden = "<table:table table:name=\"x\" table:style-name=\"gone\"><table:table-row><table:table-cell office:value-type=\"string\"><text:p>secret</text:p></table:table-cell></table:table-row></table:table>";
    playground.write("docs/b.ods", ods(&(table("Precios", rows) + hidden + &table("nada", ""))));
    playground.run(&["build", "docs", "-o", "out.parquet", "--keep", "title", "--keep", "author"]).expect(0);
    let expected = [
        (
            "a.xlsx#Prices",
            "# Prices Price list | Item | Price | Share | When | At | Vane | 1,249.50 € | 12.5% | 2026-03-02 | 14:30 | Cup | 89.00 € | | | 12:00",
        ),
        ("a.xlsx#Others", "# Others | TRUE | 2"),
        (
            "b.ods#Precios",
            "# Precios | Artículo | Precio | Veleta de plata nueva | 12,50 € | Veleta de plata nueva | 12,50 €",
        ),
    ];
    assert_eq!(read(&playground), pairs(&expected));
    let titles = batch(&playground);
    assert_eq!(titles["title"].as_string::<i32>().value(2), "A & B");
    assert_eq!(titles["author"].as_string::<i32>().value(2), "Ana");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_sheet_with_a_text_column_gives_a_document_a_row() {
    let playground = Playground::new();
    let rows = [
        row(1, &["Customer reviews"]),
        row(2, &["id", "text", "stars", "when", "text"]),
        row(3, &["r1", "Good", "0:4.5", "3:46083", "twice"]),
        row(5, &["", "Fair", "0:3"]),
        row(6, &["0:7", "0:12", ""]),
        row(7, &["r4", "", "0:1"]),
    ]
    .concat();
    playground.write("docs/a.xlsx", xlsx(&[("One", "", &rows), ("Two", "", &row(1, &["note", "x"]))]));
    let cells = |id: &str, text: &str| {
        format!(
            "<table:table-row><table:table-cell office:value-type=\"string\"><text:p>{id}</text:p></table:table-cell><table:table-cell office:value-type=\"string\"><text:p>{text}</text:p></table:table-cell></table:table-row>"
        )
    };
    playground.write(
        "docs/b.ods",
        ods(&table("T", &(cells("key", "text") + &cells("k", "one") + &cells("l", "two")))),
    );
    let ran = playground
        .run(&["build", "docs", "-o", "out.parquet", "--keep", "stars", "--keep", "when"])
        .expect(0);
    ran.says("7 documents: 6 embedded, 1 empty, 0 failed");
    let expected = [
        ("r1", "Good"),
        ("a.xlsx#One:5", "Fair"),
        ("7", "12"),
        ("a.xlsx#Two", "# Two | note | x"),
        ("b.ods#T:2", "one"),
        ("b.ods#T:3", "two"),
    ];
    assert_eq!(read(&playground), pairs(&expected));
    let kept = batch(&playground);
    assert_eq!(kept["stars"].as_primitive::<Float64Type>().value(0), 4.5);
    assert_eq!(kept["when"].as_string::<i32>().value(0), "2026-03-02");
    assert!(kept["when"].is_null(1));
    playground.run_anew(&["build", "docs/b.ods", "-o", "out.parquet", "--id-field", "key"]).expect(0);
    assert_eq!(read(&playground), pairs(&[("k", "one"), ("l", "two")]));
    // A row with the id of another one has a place.
    playground.write("docs/b.ods", ods(&table("T", &(cells("id", "text") + &cells("r1", "one")))));
    let ran = playground.run_anew(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/b.ods#T:2: the id `r1` is already used at docs/a.xlsx#One:3");
}

/// Returns a workbook of Excel 97 with one sheet. Its records are the kind and the content.
fn xls(formats: &[(u16, &str)], cells: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let record =
        |kind: u16, data: &[u8]| [&kind.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), data].concat();
    let begin = |kind: u16| record(0x809, &[numbers(&[0x600, kind]), vec![0; 12]].concat());
    let mut all = begin(5);
    for (number, code) in formats {
        let code = [numbers(&[*number, code.len() as u16]), vec![0], code.as_bytes().to_vec()].concat();
        all.extend(record(0x41E, &code));
    }
    for (number, _) in [(0, "")].iter().chain(formats) {
        all.extend(record(0xE0, &[numbers(&[0, *number]), vec![0; 16]].concat()));
    }
    let start = all.len() as u16 + 4 + 11 + 4;
    all.extend(record(0x85, &[&numbers(&[start, 0, 0])[..], b"\x03\0One"].concat()));
    all.extend(record(0xA, &[]));
    all.extend(begin(16));
    cells.iter().for_each(|(kind, data)| all.extend(record(*kind, data)));
    all.extend(record(0xA, &[]));
    ole_file("Workbook", &all)
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_old_workbook_shows_its_formats_and_whole_texts() {
    let playground = Playground::new();
    let number = |column: u16, format: u16, value: f64| {
        (0x203, [numbers(&[0, column, format]), value.to_le_bytes().to_vec()].concat())
    };
    let result = [numbers(&[1, 0, 0]), vec![0, 0, 0, 0, 0, 0, 0xFF, 0xFF], vec![0; 8]].concat();
    let text = [&numbers(&[14])[..], b"\0a text "].concat();
    let wide: Vec<u8> = [vec![1], "größer".encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
    let cells = [
        number(0, 0, 0.5),
        number(1, 1, 0.125),
        number(2, 2, 1249.5),
        (6, result),
        (0x207, text),
        (0x3C, wide),
        // Several numbers in a row: a half and a quarter, in hundredths.
        (
            0xBD,
            [numbers(&[2, 0, 1]), vec![0xCB, 0, 0, 0], numbers(&[2]), vec![0x67, 0, 0, 0], numbers(&[1])]
                .concat(),
        ),
    ];
    playground.write("docs/a.xls", xls(&[(164, "0.0%"), (165, "#,##0.00\\ \"EUR\"")], &cells));
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    let shown = "# One | 0.5 | 12.5% | 1,249.50 EUR | a text größer | 50.0% | 0.25 EUR";
    assert_eq!(read(&playground), pairs(&[("a.xls#One", shown)]));

    playground.write("docs/a.xls", b"\x09\x08\x08\0\0\x05\x10\0");
    playground.write("docs/b.xls", b"\x09\x04\x06\0\0\0\x10\0\0\0");
    let ran = playground.run_anew(&["build", "docs", "-o", "out.parquet"]).expect(1);
    ran.says("failed: docs/b.xls: not Excel (XLS) but a workbook of Excel 4 or older;");
}

/// A sheet may claim any size, and a cell any place and any number of repetitions.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_size_that_a_sheet_claims_takes_neither_memory_nor_time() {
    let playground = Playground::new();
    let far = "<row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"1048576\"><c r=\"XFD1048576\"><v>2</v></c></row>";
    playground.write("docs/a.xlsx", xlsx(&[("Far", "", far)]));
    let cell = |attributes: &str| {
        format!(
            "<table:table-row {attributes}><table:table-cell {attributes} office:value-type=\"string\"><text:p>x</text:p></table:table-cell></table:table-row>"
        )
    };
    let everywhere = "table:number-rows-repeated=\"1048576\" table:number-columns-repeated=\"16384\"";
    let gap = "<table:table-row table:number-rows-repeated=\"1048574\"><table:table-cell/></table:table-row><table:table-row><table:table-cell table:number-columns-repeated=\"16383\"/><table:table-cell office:value-type=\"string\"><text:p>z</text:p></table:table-cell></table:table-row>";
    playground.write("docs/b.ods", ods(&table("Far", &(cell("") + gap))));
    playground.write("docs/c.ods", ods(&table("All", &cell(everywhere))));
    // Each row has its only cell in the last column of a wide header.
    let header: String = (0..16_000)
        .map(|_| "<table:table-cell office:value-type=\"string\"><text:p>h</text:p></table:table-cell>")
        .collect();
    let last = "<table:table-row table:number-rows-repeated=\"900000\"><table:table-cell table:number-columns-repeated=\"15999\"/><table:table-cell office:value-type=\"string\"><text:p>y</text:p></table:table-cell></table:table-row>";
    playground.write(
        "docs/d.ods",
        ods(&table("Wide", &(format!("<table:table-row>{header}</table:table-row>") + last))),
    );
    let started = Instant::now();
    let ran = playground.run(&["build", "docs", "-o", "out.parquet", "--max-document-mib", "16"]).expect(3);
    ran.says(
        "failed: docs/c.ods#All: expands to more than 100 times its size (the rest of the file is not read);",
    )
    .says("failed: docs/d.ods#Wide: larger than 16777216 bytes;");
    assert_eq!(read(&playground), pairs(&[("a.xlsx#Far", "# Far 1 2"), ("b.ods#Far", "# Far x z")]));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
