//! Thousands of files of all formats in one run, many of them damaged.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use encoding_rs::Encoding as Charset;

use crate::make::{
    docx, epub, gzip, odp, odt, open_document, parquet, pdf, pptx, strings, utf16be, utf16le, zstd,
};
use crate::util::{Playground, ids_and_texts};

/// A kind of file: extension, text, and how to make the bytes.
struct Make {
    ending: &'static str,
    /// Returns the text of the file with a number. No two files have the same text.
    text: fn(usize) -> String,
    /// Returns the bytes of a file with this text. A damaged file cannot be read.
    bytes: fn(&str, bool) -> Vec<u8>,
    /// The line or row of the text, for formats with rows.
    row: Option<u64>,
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
const MAKES: [Make; 33] = [
    Make { ending: "txt", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), row: None },
    Make { ending: "md", text: chinese, bytes: |text, damaged| encoded("utf-8", text, damaged), row: None },
    Make { ending: "html", text: english, bytes: |text, damaged| page("utf-8", text, damaged), row: None },
    Make { ending: "xhtml", text: japanese, bytes: |text, damaged| xhtml("utf-8", text, damaged), row: None },
    Make { ending: "pdf", text: english, bytes: |text, damaged| halved(pdf(text), damaged), row: None },
    Make { ending: "docx", text: chinese, bytes: |text, damaged| halved(docx(text), damaged), row: None },
    Make { ending: "pptx", text: english, bytes: |text, damaged| halved(pptx(text), damaged), row: None },
    Make { ending: "odt", text: japanese, bytes: |text, damaged| halved(odt(text), damaged), row: None },
    Make { ending: "fodt", text: chinese, bytes: |text, damaged| halved(flat(text), damaged), row: None },
    Make { ending: "odp", text: chinese, bytes: |text, damaged| halved(odp(text), damaged), row: None },
    Make { ending: "epub", text: japanese, bytes: |text, damaged| halved(epub(text), damaged), row: None },
    Make { ending: "rst", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), row: None },
    Make { ending: "adoc", text: japanese, bytes: |text, damaged| encoded("utf-8", text, damaged), row: None },
    Make { ending: "org", text: chinese, bytes: |text, damaged| encoded("gb18030", text, damaged), row: None },
    Make { ending: "tex", text: english, bytes: |text, damaged| encoded("utf-8", text, damaged), row: None },
    Make { ending: "mdx", text: chinese, bytes: |text, damaged| less(text.as_bytes().to_vec(), 1, damaged), row: None },
    Make { ending: "ipynb", text: japanese, bytes: |text, damaged| halved(notebook(text), damaged), row: None },
    Make { ending: "srt", text: english, bytes: |text, damaged| cue(text, damaged), row: None },
    Make { ending: "xml", text: chinese, bytes: |text, damaged| halved(format!("<a><b>{text}</b></a>").into_bytes(), damaged), row: None },
    Make { ending: "csv", text: english, bytes: |text, damaged| record(',', text, damaged), row: Some(2) },
    Make { ending: "tsv", text: japanese, bytes: |text, damaged| record('\t', text, damaged), row: Some(2) },
    Make { ending: "jsonl", text: chinese, bytes: line, row: Some(1) },
    Make { ending: "parquet", text: english, bytes: |text, damaged| less(parquet(&[("text", strings(&[text]))]), 1, damaged), row: Some(1) },
    Make { ending: "txt.gz", text: english, bytes: |text, damaged| less(gzip(text.as_bytes()), 1, damaged), row: None },
    Make { ending: "md.zst", text: japanese, bytes: |text, damaged| less(zstd(text.as_bytes()), 1, damaged), row: None },
    Make { ending: "pdf.gz", text: english, bytes: |text, damaged| halved(gzip(&pdf(text)), damaged), row: None },
    Make { ending: "docx.zst", text: english, bytes: |text, damaged| zstd(&halved(docx(text), damaged)), row: None },
    Make { ending: "csv.zst", text: chinese, bytes: |text, damaged| zstd(&record(';', text, damaged)), row: Some(2) },
    Make { ending: "jsonl.gz", text: english, bytes: |text, damaged| gzip(&line(text, damaged)), row: Some(1) },
    Make { ending: "text", text: japanese, bytes: |text, damaged| less(utf16le(&format!("\u{FEFF}{text}")), 1, damaged), row: None },
    Make { ending: "markdown", text: english, bytes: |text, damaged| less(utf16be(text), 1, damaged), row: None },
    Make { ending: "htm", text: chinese, bytes: |text, damaged| page("gb2312", text, damaged), row: None },
    Make { ending: "xhtml.gz", text: japanese, bytes: |text, damaged| gzip(&xhtml("euc-jp", text, damaged)), row: None },
];

/// Every tenth file of each kind is damaged.
#[test]
fn five_thousand_mixed_files_are_read_and_each_damaged_one_is_named() {
    // The number of kinds has no factor with 10, so every tenth file is every tenth file of each kind.
    assert!(!MAKES.len().is_multiple_of(2) && !MAKES.len().is_multiple_of(5));
    let playground = Playground::new();
    fs::create_dir(playground.path("docs")).unwrap();
    let (mut expected, mut damaged) = (Vec::new(), BTreeSet::new());
    for n in 0..5000 {
        let Make { ending, text, bytes, row } = &MAKES[n % MAKES.len()];
        let (name, text) = (format!("{n:04}.{ending}"), text(n));
        let is_damaged = n % 10 == 7;
        fs::write(playground.path("docs").join(&name), bytes(&text, is_damaged)).unwrap();
        if is_damaged {
            damaged.insert(name);
        } else {
            expected.push((row.map_or_else(|| name.clone(), |row| format!("{name}:{row}")), text));
        }
    }
    assert_eq!((expected.len(), damaged.len()), (4500, 500));
    let started = Instant::now();
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    println!("5,000 files in {:.1} s", started.elapsed().as_secs_f64());
    ran.says("5,000 documents: 4,500 embedded, 0 empty, 500 failed;");
    let prefix = "qwen3-index: failed: docs/";
    let failures: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix(prefix)).collect();
    let named = failures.iter().filter_map(|line| line.split(':').next()).map(str::to_owned);
    assert_eq!((failures.len(), named.collect()), (500, damaged), "{}", ran.story);
    let got = ids_and_texts(&playground.path("out.parquet"));
    assert_eq!(got.len(), expected.len());
    got.iter().zip(&expected).for_each(|(got, expected)| assert_eq!(got, expected));
}
