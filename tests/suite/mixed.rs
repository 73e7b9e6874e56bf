//! Thousands of files of all formats in one run, many of them damaged.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use encoding_rs::Encoding as Charset;

use crate::make::{
    docx, epub, gzip, odp, ods, odt, open_document, parquet, pdf, pptx, strings, utf16be, utf16le, xlsx, zstd,
};
use crate::util::{Playground, ids_and_texts};

/// A kind of file: extension, text, and how to make the bytes.
struct Make {
    ending: &'static str,
    /// Returns the text of the file with a number. No two files have the same text.
    text: fn(usize) -> String,
    /// Returns the bytes of a file with this text. A damaged file cannot be read.
    bytes: fn(&str, bool) -> Vec<u8>,
    /// What follows the name of the file in the id of the document.
    part: &'static str,
}

fn english(n: usize) -> String {
    format!("Report {n} tells how {} birds were counted.", n * 7)
}

fn chinese(n: usize) -> String {
    format!("第{n}号报告说明了{}只鸟的数量。", n * 7)
}

fn japanese(n: usize) -> String {
    format!("報告{n}は{}羽の鳥について述べています。", n * 7)
}

/// Encodes a text. The damage is two zero bytes, which no short text may contain.
fn encoded(charset: &str, text: &str, damaged: bool) -> Vec<u8> {
    let mut bytes = Charset::for_label(charset.as_bytes()).unwrap().encode(text).0.into_owned();
    bytes.extend([0; 2].into_iter().filter(|_| damaged));
    bytes
}

/// Damages a file by removing bytes at its end.
fn less(mut bytes: Vec<u8>, by: usize, damaged: bool) -> Vec<u8> {
    bytes.truncate(bytes.len() - if damaged { by } else { 0 });
    bytes
}

fn line(text: &str, damaged: bool) -> Vec<u8> {
    less(format!("{{\"text\":\"{text}\"}}").into_bytes(), 1, damaged)
}

fn record(separator: char, text: &str, damaged: bool) -> Vec<u8> {
    let more = if damaged { format!("{separator}3") } else { String::new() };
    format!("n{separator}text\n1{separator}{text}{more}\n").into_bytes()
}

/// Damages a message by removing its header.
fn message(text: &str, damaged: bool) -> Vec<u8> {
    let header = if damaged { "" } else { "Message-ID: <one>\nContent-Type: text/plain; charset=utf-8\n\n" };
    format!("{header}{text}\n").into_bytes()
}

/// Damages a mailbox by removing its first line.
fn mailbox(text: &str, damaged: bool) -> Vec<u8> {
    let separator = if damaged { "" } else { "From - Mon Mar 02 08:15:00 2026\n" };
    [separator.as_bytes(), &message(text, false)].concat()
}

fn rtf(text: &str, damaged: bool) -> Vec<u8> {
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{}?", unit as i16)).collect();
    less(format!("{{\\rtf1 {escaped}}}").into_bytes(), 1, damaged)
}

fn sheet(text: &str) -> Vec<u8> {
    let row = |number, text: &str| {
        format!("<row r=\"{number}\"><c r=\"A{number}\" t=\"inlineStr\"><is><t>{text}</t></is></c></row>")
    };
    xlsx(&[("S", "", &(row(1, "text") + &row(2, text)))])
}

fn open_sheet(text: &str) -> Vec<u8> {
    let row = |text: &str| {
        format!(
            "<table:table-row><table:table-cell><text:p>{text}</text:p></table:table-cell></table:table-row>"
        )
    };
    ods(&format!("<table:table table:name=\"S\">{}{}</table:table>", row("text"), row(text)))
}

fn page(charset: &str, text: &str, damaged: bool) -> Vec<u8> {
    let page = format!("<html><head><meta charset=\"{charset}\"></head><body><p>{text}</p></body></html>");
    encoded(charset, &page, damaged)
}

fn xhtml(charset: &str, text: &str, damaged: bool) -> Vec<u8> {
    const HTML: &str = "<html xmlns=\"http://www.w3.org/1999/xhtml\">";
    let declaration = format!("<?xml version=\"1.0\" encoding=\"{charset}\"?>");
    encoded(charset, &format!("{declaration}{HTML}<body><p>{text}</p></body></html>"), damaged)
}

fn flat(text: &str) -> Vec<u8> {
    open_document(&format!("<office:body><office:text><text:p>{text}</text:p></office:text></office:body>"))
        .into_bytes()
}

fn notebook(text: &str) -> Vec<u8> {
    format!("{{\"nbformat\":4,\"cells\":[{{\"cell_type\":\"markdown\",\"source\":[\"{text}\"]}}]}}")
        .into_bytes()
}

/// Damages subtitles by removing the times.
fn cue(text: &str, damaged: bool) -> Vec<u8> {
    let times = if damaged { "" } else { "00:00:01,000 --> 00:00:02,000\n" };
    format!("1\n{times}{text}\n").into_bytes()
}

/// Damages a file by removing its second half.
fn halved(bytes: Vec<u8>, damaged: bool) -> Vec<u8> {
    let by = bytes.len() / 2;
    less(bytes, by, damaged)
}

#[rustfmt::skip]
const MAKES: [Make; 39] = [
    Make { ending: "txt", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "md", text: chinese, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "html", text: english, bytes: |text, damaged| page("utf-8", text, damaged), part: "" },
    Make { ending: "xhtml", text: japanese, bytes: |text, damaged| xhtml("utf-8", text, damaged), part: "" },
    Make { ending: "pdf", text: english, bytes: |text, damaged| halved(pdf(text), damaged), part: "" },
    Make { ending: "docx", text: chinese, bytes: |text, damaged| halved(docx(text), damaged), part: "" },
    Make { ending: "pptx", text: english, bytes: |text, damaged| halved(pptx(text), damaged), part: "" },
    Make { ending: "odt", text: japanese, bytes: |text, damaged| halved(odt(text), damaged), part: "" },
    Make { ending: "fodt", text: chinese, bytes: |text, damaged| halved(flat(text), damaged), part: "" },
    Make { ending: "odp", text: chinese, bytes: |text, damaged| halved(odp(text), damaged), part: "" },
    Make { ending: "epub", text: japanese, bytes: |text, damaged| halved(epub(text), damaged), part: "" },
    Make { ending: "rst", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "adoc", text: japanese, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "org", text: chinese, bytes: |text, damaged| encoded("gb18030", text, damaged), part: "" },
    Make { ending: "tex", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "mdx", text: chinese, bytes: |text, damaged| encoded("utf-8", text, damaged), part: "" },
    Make { ending: "ipynb", text: japanese, bytes: |text, damaged| halved(notebook(text), damaged), part: "" },
    Make { ending: "srt", text: english, bytes: |text, damaged| cue(text, damaged), part: "" },
    Make { ending: "xml", text: chinese, bytes: |text, damaged| halved(format!("<a><b>{text}</b></a>").into_bytes(), damaged), part: "" },
    Make { ending: "csv", text: english, bytes: |text, damaged| record(',', text, damaged), part: ":2" },
    Make { ending: "tsv", text: japanese, bytes: |text, damaged| record('\t', text, damaged), part: ":2" },
    Make { ending: "jsonl", text: chinese, bytes: line, part: ":1" },
    Make { ending: "parquet", text: english, bytes: |text, damaged| less(parquet(&[("text", strings(&[text]))]), 1, damaged), part: ":1" },
    Make { ending: "txt.gz", text: english, bytes: |text, damaged| less(gzip(text.as_bytes()), 1, damaged), part: "" },
    Make { ending: "md.zst", text: japanese, bytes: |text, damaged| less(zstd(text.as_bytes()), 1, damaged), part: "" },
    Make { ending: "pdf.gz", text: english, bytes: |text, damaged| halved(gzip(&pdf(text)), damaged), part: "" },
    Make { ending: "docx.zst", text: english, bytes: |text, damaged| zstd(&halved(docx(text), damaged)), part: "" },
    Make { ending: "csv.zst", text: chinese, bytes: |text, damaged| zstd(&record(';', text, damaged)), part: ":2" },
    Make { ending: "jsonl.gz", text: english, bytes: |text, damaged| gzip(&line(text, damaged)), part: ":1" },
    Make { ending: "text", text: japanese, bytes: |text, damaged| less(utf16le(&format!("\u{FEFF}{text}")), 1, damaged), part: "" },
    Make { ending: "markdown", text: english, bytes: |text, damaged| less(utf16be(text), 1, damaged), part: "" },
    Make { ending: "htm", text: chinese, bytes: |text, damaged| page("gb2312", text, damaged), part: "" },
    Make { ending: "xhtml.gz", text: japanese, bytes: |text, damaged| gzip(&xhtml("euc-jp", text, damaged)), part: "" },
    Make { ending: "rtf", text: chinese, bytes: rtf, part: "" },
    Make { ending: "eml", text: japanese, bytes: message, part: "" },
    Make { ending: "mbox.gz", text: english, bytes: |text, damaged| gzip(&mailbox(text, damaged)), part: "#one" },
    Make { ending: "json", text: japanese, bytes: |text, damaged| less(format!("[{{\"text\":\"{text}\"}}]").into_bytes(), 2, damaged), part: ":1" },
    Make { ending: "xlsx", text: english, bytes: |text, damaged| halved(sheet(text), damaged), part: "#S:2" },
    Make { ending: "ods", text: chinese, bytes: |text, damaged| halved(open_sheet(text), damaged), part: "#S:2" },
];

/// About five thousand, as many of each kind.
const FILES: usize = 5000_usize.next_multiple_of(10 * MAKES.len());

/// Every tenth file of each kind is damaged.
#[test]
#[ignore = "needs what scripts/test installs"]
fn five_thousand_mixed_files_are_read_and_each_damaged_one_is_named() {
    // The number of kinds has no factor with 10, so every tenth file is every tenth file of each kind.
    assert!(!MAKES.len().is_multiple_of(2) && !MAKES.len().is_multiple_of(5));
    let playground = Playground::new();
    fs::create_dir(playground.path("docs")).unwrap();
    let (mut expected, mut damaged) = (Vec::new(), BTreeSet::new());
    for n in 0..FILES {
        let Make { ending, text, bytes, part } = &MAKES[n % MAKES.len()];
        let (name, text) = (format!("{n:04}.{ending}"), text(n));
        let is_damaged = n % 10 == 7;
        fs::write(playground.path("docs").join(&name), bytes(&text, is_damaged)).unwrap();
        if is_damaged {
            damaged.insert(name);
        } else {
            expected.push((format!("{name}{part}"), text));
        }
    }
    let bad = FILES / 10;
    assert_eq!((expected.len(), damaged.len()), (FILES - bad, bad));
    let started = Instant::now();
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    println!("{FILES} files in {:.1} s", started.elapsed().as_secs_f64());
    let count = |count: usize| format!("{},{:03}", count / 1000, count % 1000);
    ran.says(&format!("{} documents: {} embedded, 0 empty, {bad} failed;", count(FILES), count(FILES - bad)));
    let prefix = "qwen3-index: failed: docs/";
    let failures: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix(prefix)).collect();
    let named = failures.iter().filter_map(|line| line.split([':', '#']).next()).map(str::to_owned);
    assert_eq!((failures.len(), named.collect()), (bad, damaged), "{}", ran.story);
    let got = ids_and_texts(&playground.path("out.parquet"));
    assert_eq!(got.len(), expected.len());
    got.iter().zip(&expected).for_each(|(got, expected)| assert_eq!(got, expected));
}
