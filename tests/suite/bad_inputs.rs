//! Documents that are damaged, or have another format than the file extension names. Only the bad document or row fails. It
//! is reported once, in one line with the cause and the advice.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use arrow::array::{BinaryArray, Int64Array};
use arrow::record_batch::RecordBatch;
use memchr::memmem;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::make::{
    book, document_xml, docx, epub, gzip, odf, odp, ods, odt, ole_file, open_document, package, parquet, pdf,
    pdf_objects, pdf_page, pptx, presentation, relationships, strings, utf16be, utf16le, xlsx, zip, zstd,
};
use crate::util::{NO_SETPRIV, Playground, Ran, bound_by_modes, ids_and_texts, repository, rows, skip};

/// A bad file and its message.
struct Bad {
    file: &'static str,
    bytes: Vec<u8>,
    /// The number of the bad row; `None` if the file cannot be opened or is one document.
    row: Option<u64>,
    /// The bad part of the file, as it follows the name of the file; mostly empty.
    section: &'static str,
    /// The start of the message, after the place.
    says: &'static str,
    /// Ids and texts of the good rows in the file.
    good: Vec<(String, String)>,
}

fn bad(file: &'static str, bytes: impl Into<Vec<u8>>, says: &'static str) -> Bad {
    Bad { file, bytes: bytes.into(), row: None, section: "", says, good: Vec::new() }
}

impl Bad {
    fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }

    /// Adds good rows by id and text. An id such as `:2` or `#A` becomes the name of the file followed by it.
    fn good(mut self, good: &[(&str, &str)]) -> Self {
        let id =
            |id: &str| if id.starts_with([':', '#']) { format!("{}{id}", self.file) } else { id.to_owned() };
        self.good = good.iter().map(|(short, text)| (id(short), (*text).to_owned())).collect();
        self
    }

    /// Returns the start of the line on standard error.
    fn line(&self) -> String {
        let row = self.row.map_or_else(String::new, |row| format!(":{row}"));
        format!("qwen3-index: failed: docs/{}{}{row}: {}", self.file, self.section, self.says)
    }
}

const CHINESE: &str = "员工因公出差产生的交通费、住宿费和伙食补助，凭发票在十五个工作日内报销。";

fn half(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() / 2]
}

/// Returns the bytes without the final `by` bytes.
fn cut(bytes: &[u8], by: usize) -> &[u8] {
    &bytes[..bytes.len() - by]
}

/// Returns the bytes after the bytes from `at` on have been overwritten by `with`.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Returns pseudo-random bytes, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn corpus(name: &str) -> Vec<u8> {
    fs::read(repository("fixtures/corpus").join(name)).unwrap()
}

/// Returns an OLE file. Old versions of Word and Excel write such files, and a DOCX with a password is also stored in an OLE
/// file.
fn ole() -> Vec<u8> {
    [&b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"[..], &[0; 504], &noise(1024)].concat()
}

/// Returns an Office document with a password.
fn locked() -> Vec<u8> {
    [ole(), utf16le("Root Entry"), utf16le("EncryptedPackage")].concat()
}

/// Sets the flag of encryption in each entry of a ZIP archive (APPNOTE.TXT, sections 4.3.7 and 4.3.12).
fn encrypted(mut archive: Vec<u8>) -> Vec<u8> {
    for (signature, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        for at in memmem::find_iter(&archive.clone(), signature) {
            archive[at + flags] |= 1;
        }
    }
    archive
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0";

const BINARY: &str = "not text but binary data;";
const NO_GZIP: &str = "not readable as gzip: ";
const NO_ZSTD: &str = "not readable as zstd: ";
const NO_PARQUET: &str = "not readable as Parquet: ";
const NO_PDF: &str = "not readable as PDF: ";
const NO_DOCX: &str = "not readable as Word (DOCX): ";
const NO_PPTX: &str = "not readable as PowerPoint (PPTX): ";
const NO_ODT: &str = "not readable as OpenDocument text (ODT): ";
const NO_ODP: &str = "not readable as OpenDocument presentation (ODP): ";
const NO_EPUB: &str = "not readable as EPUB: ";
const PASSWORD: &str = "needs a password; save it without a password";
const BOMB: &str = "expands to more than 100 times its size;";

#[rustfmt::skip]
fn encodings() -> Vec<Bad> {
    let gbk = encoding_rs::GBK.encode(CHINESE).0.into_owned();
    let utf16 = utf16le(&format!("\u{FEFF}{CHINESE}😀"));
    let utf32 = |to: fn(u32) -> [u8; 4]| "\u{FEFF}one 😀".chars().flat_map(|c| to(c.into())).collect::<Vec<_>>();
    vec![
        bad("utf8-wrong-byte.txt", [CHINESE.as_bytes(), b"\xff\xfe", CHINESE.as_bytes()].concat(), "cannot be decoded as UTF-8;"),
        bad("utf8-surrogate.md", [CHINESE.as_bytes(), b"\xed\xa0\x80"].concat(), "cannot be decoded as UTF-8;"),
        bad("utf8-mark-gbk.txt", [b"\xef\xbb\xbf", &gbk[..]].concat(), "cannot be decoded as UTF-8;"),
        bad("utf16-odd.txt", cut(&utf16, 1), "cannot be decoded as UTF-16LE;"),
        bad("utf16-cut-pair.txt", cut(&utf16, 2), "cannot be decoded as UTF-16LE;"),
        bad("utf16-lone-surrogate.txt", [&utf16[..], b"\x00\xdc"].concat(), "cannot be decoded as UTF-16LE;"),
        bad("utf16be-odd.txt", cut(&utf16be("\u{FEFF}plain"), 1), "cannot be decoded as UTF-16BE;"),
        bad("utf16-odd-no-mark.txt", cut(&utf16le("plain text in two bytes each"), 1), "cannot be decoded as UTF-16LE;"),
        bad("utf32be.txt", cut(&utf32(u32::to_be_bytes), 1), "cannot be decoded as UTF-32BE;"),
        bad("utf32le-surrogate.txt", [&utf32(u32::to_le_bytes)[..], b"\0\xd8\0\0"].concat(), "cannot be decoded as UTF-32LE;"),
        bad("iso-2022-kr-odd.txt", "\u{1b}$)C\u{e}GQ1", "cannot be decoded as ISO-2022-KR;"),
        bad("iso-2022-cn-cns.txt", "\u{1b}$)G\u{e}GQ19", "cannot be decoded as ISO-2022-CN;"),
        bad("iso-2022-jp-cut.txt", "\u{1b}$B?^=q4[\u{1b}", "cannot be decoded as ISO-2022-JP;"),
        bad("iso-2022-jp-odd.txt", "\u{1b}$B?^=q4", "cannot be decoded as ISO-2022-JP;"),
        bad("nonsense.txt", b"caf\x81\x8d\x8f\x90\x9d bar", "its encoding is unknown: no encoding makes words of its bytes;"),
    ]
}

/// Files whose content has another format than the file extension names.
#[rustfmt::skip]
fn wrong_names() -> Vec<Bad> {
    let (pdf, docx, table) = (pdf("a page"), docx("a letter"), corpus("ratings.parquet"));
    vec![
        bad("zeros.txt", [0; 100], BINARY),
        bad("noise.md", noise(5000), BINARY),
        bad("controls.txt", b"a \x01\x02 few", BINARY),
        bad("png.txt", PNG, BINARY),
        bad("elf.text", ELF, BINARY),
        bad("ole.txt", ole(), "not text but an old Office document or one with a password;"),
        bad("tar.txt", [b"x.txt".as_slice(), &[0; 252], b"ustar\x0000hello"].concat(), BINARY),
        bad("png.html", PNG, BINARY),
        bad("png.jsonl", PNG, BINARY),
        bad("elf.csv", ELF, BINARY),
        bad("noise.html", noise(5000), BINARY),
        bad("noise.xhtml", noise(5000), BINARY),
        bad("noise.csv", noise(5000), BINARY),
        bad("pdf.txt", pdf.clone(), "not text but PDF; give it the right file extension, or skip it with --exclude"),
        bad("pdf.md", pdf.clone(), "not text but PDF;"),
        bad("pdf.html", pdf.clone(), "not text but PDF;"),
        bad("pdf.jsonl", pdf.clone(), "not text but PDF;"),
        bad("pdf.tsv", pdf.clone(), "not text but PDF;"),
        bad("pdf-in-utf16.txt", utf16le(&format!("\u{FEFF}{}", String::from_utf8_lossy(&pdf))), "not text but PDF;"),
        bad("pdf-in-utf16.pdf", utf16le(&format!("\u{FEFF}{}", String::from_utf8_lossy(&pdf))), "not PDF but an unknown format;"),
        bad("zip.txt", docx.clone(), "not text but a ZIP archive"),
        bad("zip.jsonl", docx.clone(), "not text but a ZIP archive"),
        bad("zip.html", docx.clone(), "not text but a ZIP archive"),
        bad("zip-empty.csv", zip(&[]), BINARY),
        bad("gzip.txt", gzip(b"text"), "not text but gzip;"),
        bad("gzip.csv", gzip(b"text\none\n"), "not text but gzip;"),
        bad("gzip-twice.txt.gz", gzip(&gzip(b"text")), "not text but gzip;"),
        bad("zstd.md", zstd(b"text"), "not text but zstd;"),
        bad("zstd.jsonl", zstd(b"{\"text\":\"one\"}"), "not text but zstd;"),
        bad("parquet.txt", table.clone(), "not text but Parquet;"),
        bad("parquet.csv", table.clone(), "not text but Parquet;"),
        bad("parquet.pdf", table, "not PDF but Parquet;"),
        bad("docx.pdf", docx, "not PDF but a ZIP archive (or an Office document);"),
        bad("pdf.docx", pdf.clone(), "not Word (DOCX) but PDF;"),
        bad("pdf.parquet", pdf, NO_PARQUET),
        bad("text.parquet", "only text, and more of it than a footer has", NO_PARQUET),
        bad("html.pdf", "<html><body>Please log in</body></html>", "not PDF but HTML;"),
    ]
}

#[rustfmt::skip]
fn packed() -> Vec<Bad> {
    let text = String::from_utf8(noise(3000).into_iter().map(|byte| b'a' + byte % 26).collect()).unwrap();
    let (gz, zst) = (gzip(text.as_bytes()), zstd(text.as_bytes()));
    let lines = gzip(b"{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    let length = gz.len();
    vec![
        bad("gz-cut.txt.gz", half(&gz), NO_GZIP),
        bad("gz-no-trailer.txt.gz", cut(&gz, 8), NO_GZIP),
        bad("gz-checksum.txt.gz", patched(gz.clone(), length - 8, b"\0\0\0\0"), NO_GZIP),
        bad("gz-length.txt.gz", patched(gz.clone(), length - 4, b"\0\0\0\0"), NO_GZIP),
        bad("gz-damaged.txt.gz", patched(gz.clone(), length / 2, &[0xff; 40]), NO_GZIP),
        bad("gz-garbage.txt.gz", [&gz[..], b"garbage"].concat(), NO_GZIP),
        bad("gz-plain.txt.gz", "plain text", NO_GZIP),
        bad("gz-is-zstd.txt.gz", zst.clone(), NO_GZIP),
        bad("gz-empty.txt.gz", "", NO_GZIP),
        bad("gz-magic.md.gz", "\u{1f}", NO_GZIP),
        bad("zst-cut.txt.zst", half(&zst), NO_ZSTD),
        bad("zst-no-checksum.txt.zst", cut(&zst, 4), NO_ZSTD),
        bad("zst-checksum.txt.zst", patched(zst.clone(), zst.len() - 4, b"\0\0\0\0"), NO_ZSTD),
        bad("zst-garbage.txt.zst", [&zst[..], b"garbage"].concat(), NO_ZSTD),
        bad("zst-plain.html.zst", "plain text", NO_ZSTD),
        bad("zst-is-gzip.md.zst", gz, NO_ZSTD),
        bad("zst-empty.txt.zst", "", NO_ZSTD),
        bad("gz-garbage.jsonl.gz", [&lines[..], b"garbage"].concat(), NO_GZIP).row(3).good(&[(":1", "one"), (":2", "two")]),
        bad("gz-checksum.jsonl.gz", patched(lines.clone(), lines.len() - 8, b"\0\0\0\0"), NO_GZIP).row(3).good(&[(":1", "one"), (":2", "two")]),
        bad("gz-plain.csv.gz", "text\none\n", NO_GZIP),
        bad("zst-cut.csv.zst", cut(&zstd(b"text\none\ntwo\n"), 3), NO_ZSTD).row(4).good(&[(":2", "one"), (":3", "two")]),
        bad("pdf-cut.pdf.gz", half(&gzip(&pdf("a page"))), NO_GZIP),
        bad("docx.docx.zst", "PK", NO_ZSTD),
    ]
}

#[rustfmt::skip]
fn json_lines() -> Vec<Bad> {
    let utf16 = utf16le("\u{FEFF}{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    let twice = "{\"id\":\"d\",\"text\":\"x\"}\n{\"id\":\"d\",\"text\":\"y\"}";
    let deep = format!("{{\"text\":\"x\",\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    vec![
        bad("last-cut.jsonl", "{\"text\":\"one\"}\n{\"text\":\"tw", "not a JSON object: EOF").row(2).good(&[(":1", "one")]),
        bad("array.jsonl", r#"[{"text":"one"}]"#, "not a JSON object: ").row(1),
        bad("string.jsonl", r#""one""#, "not a JSON object: ").row(1),
        bad("number.jsonl", "5", "not a JSON object: ").row(1),
        bad("null.jsonl", "null", "not a JSON object: ").row(1),
        bad("plain.jsonl", "just text", "not a JSON object: ").row(1),
        bad("two-in-a-line.jsonl", r#"{"text":"one"}{"text":"two"}"#, "not a JSON object: ").row(1),
        bad("number-large.jsonl", r#"{"text":"one","n":1e999}"#, "not a JSON object: number out of range").row(1),
        bad("deep.jsonl", deep, "not a JSON object: recursion limit exceeded").row(1),
        bad("deep-objects.jsonl", deep_objects, "not a JSON object: recursion limit exceeded").row(1),
        bad("surrogate.jsonl", r#"{"text":"one \ud83d two"}"#, "not a JSON object: ").row(1),
        bad("surrogate-low.jsonl", r#"{"text":"\udc00"}"#, "not a JSON object: ").row(1),
        bad("escape.jsonl", r#"{"text":"\x41"}"#, "not a JSON object: invalid escape").row(1),
        bad("control.jsonl", "{\"text\":\"a\u{1}b\"}", "not a JSON object: ").row(1),
        bad("nan.jsonl", r#"{"text":"one","n":NaN}"#, "not a JSON object: ").row(1),
        bad("comma.jsonl", r#"{"text":"one",}"#, "not a JSON object: trailing comma").row(1),
        bad("quotes.jsonl", "{'text':'one'}", "not a JSON object: key must be a string").row(1),
        bad("comment.jsonl", r#"{"text":"one"} // two"#, "not a JSON object: trailing characters").row(1),
        bad("mark-inside.jsonl", "{\"text\":\u{FEFF}\"one\"}", "not a JSON object: ").row(1),
        bad("bytes.jsonl", b"{\"text\":\"a\"}\n{\"n\":\"\xe9\"}\n{\"text\":\"b\"}", "not UTF-8, but JSON must be UTF-8 (the first invalid byte is at offset 6 of the line)").row(2).good(&[(":1", "a"), (":3", "b")]),
        bad("bytes-first.jsonl", b"{\"n\":\"\xe9\"}\n{\"text\":\"b\"}", "not UTF-8, but JSON must be UTF-8 (the first invalid byte is at offset 6 of the line)").row(1).good(&[(":2", "b")]),
        bad("nul.jsonl", b"{\"text\":\"a\"}\n\0\0\0\0\n{\"text\":\"b\"}", "not a JSON object: expected value").row(2).good(&[(":1", "a"), (":3", "b")]),
        bad("utf16-surrogate.jsonl", patched(utf16.clone(), utf16.len() - 8, b"\x00\xd8"), "cannot be decoded as UTF-16LE").row(2).good(&[(":1", "a")]),
        bad("utf16-odd.jsonl", cut(&utf16, 1), "cannot be decoded as UTF-16LE;").row(2).good(&[(":1", "a")]),
        bad("id-float.jsonl", r#"{"id":1.5,"text":"x"}"#, "field `id` is a number, expected a string or a 64-bit integer;").row(1),
        bad("id-bool.jsonl", r#"{"id":true,"text":"x"}"#, "field `id` is a boolean,").row(1),
        bad("id-object.jsonl", r#"{"id":{},"text":"x"}"#, "field `id` is an object,").row(1),
        bad("id-twice.jsonl", twice, "the id `d` is already used at docs/id-twice.jsonl:1, so this document is skipped;").row(2).good(&[("d", "x")]),
        bad("no-text.jsonl", r#"{"id":"n","body":"x"}"#, "no field `text`; name the right field with --text-field (the fields are: body, id)").row(1),
        bad("other-text.jsonl", r#"{"id":"n","texts":"x"}"#, "no field `text`; name the right field with --text-field (did you mean `texts`? the fields are: id, texts)").row(1),
        bad("array-text.jsonl", r#"{"text":["x"]}"#, "field `text` is an array, expected a string;").row(1),
    ]
}

#[rustfmt::skip]
fn tables() -> Vec<Bad> {
    let columns: Vec<_> = (0..3000).map(|n| format!("column {n}")).collect();
    vec![
        bad("short.csv", "id,text\n1,one\n2\n", "wrong number of values: 1 in the row, 2 in the header;").row(3).good(&[("1", "one")]),
        bad("long.csv", "text,n\none,1,2\ntwo,2\n", "wrong number of values: 3 in the row, 2 in the header;").row(2).good(&[(":3", "two")]),
        bad("quote.csv", "n,text\n1,one\n2,\"two\n3,three\n", "a quoted value has no closing quote").row(3).good(&[(":2", "one")]),
        bad("quote-inside.csv", "text,n\none,1\n\"two,2\nthree,3\n", "a quoted value has no closing quote").row(3).good(&[(":2", "one")]),
        bad("no-column.csv", "title,body\nx,y\n", "no column `text` (the columns are: title, body); name the right column with --text-field"),
        bad("wide.csv", columns.join(","), "no column `text` (the columns are: column 0, column 1, "),
        bad("no-header.csv", "one\ntwo\n", "no column `text` (the columns are: one);"),
        bad("upper.csv", "ID,Text\n1,one\n", "no column `text` (the columns are: ID, Text); name the right column with --text-field (did you mean `Text`?)"),
        bad("bytes.csv", [b"text\n", CHINESE.as_bytes(), b"\n\xff\xfe\ntwo\n"].concat(), "cannot be decoded as UTF-8;").row(3).good(&[(":2", CHINESE), (":4", "two")]),
        bad("bytes-header.csv", [CHINESE.as_bytes(), b",te\xffxt\none,two\n"].concat(), "cannot be decoded as UTF-8"),
        bad("nul.csv", "text\none\0\n", BINARY),
        bad("utf16.csv", patched(utf16le("\u{FEFF}text\none\n?\ntwo"), 20, b"\x00\xd8"), "cannot be decoded as UTF-16LE").row(3).good(&[(":2", "one"), (":4", "two")]),
        bad("short.tsv", "id\ttext\n1x\tone\n2\n", "wrong number of values: 1 in the row, 2 in the header;").row(3).good(&[("1x", "one")]),
        bad("comma.tsv", "id,text\n1,one\n", "no column `text` (the columns are: id,text);"),
        bad("text.tsv", "only a sentence", "no column `text` (the columns are: only a sentence);"),
        bad("html.csv", "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n", "no column `text` (the columns are: <!DOCTYPE html>);"),
    ]
}

#[rustfmt::skip]
fn parquets() -> Vec<Bad> {
    let whole = corpus("ratings.parquet");
    let small = parquet(&[("text", strings(&["one", "two"]))]);
    let length = whole.len();
    vec![
        bad("empty.parquet", "", NO_PARQUET),
        bad("cut.parquet", half(&whole), NO_PARQUET),
        bad("magic.parquet", "PAR1", NO_PARQUET),
        bad("magic-twice.parquet", "PAR1PAR1", NO_PARQUET),
        bad("footer-length.parquet", patched(whole.clone(), length - 8, b"\xff\xff\xff\x7f"), NO_PARQUET),
        bad("footer-zero.parquet", patched(whole.clone(), length - 8, b"\0\0\0\0"), NO_PARQUET),
        bad("footer.parquet", patched(whole.clone(), length - 300, &noise(200)), NO_PARQUET),
        bad("encrypted.parquet", patched(whole.clone(), length - 4, b"PARE"), "not readable as Parquet: it is encrypted;"),
        bad("page.parquet", patched(small, 4, &[0xff; 12]), NO_PARQUET).row(1),
        bad("no-text.parquet", parquet(&[("title", strings(&["x"])), ("body", strings(&["y"]))]), "no column `text` (the columns are: title, body);"),
        bad("number.parquet", parquet(&[("text", Arc::new(Int64Array::from(vec![1])))]), "field `text` is a number, expected a string;").row(1),
        bad("bytes.parquet", parquet(&[("text", Arc::new(BinaryArray::from(vec![&b"\xff\xfe"[..]])))]), "field `text` is an array, expected a string;").row(1),
        bad("jsonl.parquet", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n", NO_PARQUET),
    ]
}

#[rustfmt::skip]
fn pages() -> Vec<Bad> {
    vec![
        bad("declared.html", [b"<meta charset=shift_jis><p>", CHINESE.as_bytes(), b"\xff\xff"].concat(), "cannot be decoded as UTF-8;"),
        bad("utf16-odd.html", cut(&utf16le("\u{FEFF}<p>one"), 1), "cannot be decoded as UTF-16LE;"),
        bad("bytes.xhtml", [b"<html><body>", CHINESE.as_bytes(), b"\xff\xff"].concat(), "cannot be decoded as UTF-8;"),
        bad("nul.html", "<p>one\0two\0", BINARY),
        bad("app.html", "<title>T</title><div id=app></div><script src=a.js></script>", "has no text without its scripts;"),
    ]
}

const NO_PAGES: &[&str] = &["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>"];

/// Returns a PDF that needs a password.
fn password() -> Vec<u8> {
    let key = "<00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff>";
    pdf_page("BT ET", &format!("/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O {key}/U {key}>>"))
}

#[rustfmt::skip]
fn pdfs() -> Vec<Bad> {
    let whole = corpus("en/petrel-gazette.pdf");
    let encrypted = pdf_page("BT ET", "/ID[<00><00>]/Encrypt<</Filter/Other/V 9>>");
    let image = "q 100 0 0 100 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q";
    vec![
        bad("empty.pdf", "", "not PDF but empty;"),
        bad("header.pdf", "%PDF-1.7\n", NO_PDF),
        bad("half.pdf", half(&whole), NO_PDF),
        bad("start.pdf", &whole[..500], NO_PDF),
        bad("noise.pdf", [&b"%PDF-1.7\n"[..], &noise(5000)].concat(), NO_PDF),
        bad("password.pdf", password(), "needs a password;"),
        bad("encryption.pdf", encrypted, "not readable as PDF: its encryption is not supported;"),
        bad("image.pdf", pdf_page(image, ""), "most of its pages are pictures without text, such as scans;"),
        bad("blank.pdf", pdf_page("", ""), "most of its pages are pictures without text, such as scans;"),
        bad("no-pages.pdf", pdf_objects(NO_PAGES, ""), NO_PDF),
        bad("loop.pdf", pdf_objects(&["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R]/Count 1>>"], ""), NO_PDF),
    ]
}

#[rustfmt::skip]
fn office() -> Vec<Bad> {
    let whole = corpus("en/calibration-agreement.docx");
    let letter = document_xml("a letter");
    let entities = "<!DOCTYPE w:document [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>".to_owned()
        + &document_xml("&b;");
    let external = "<!DOCTYPE w:document [<!ENTITY a SYSTEM \"file:///etc/hostname\">]>".to_owned()
        + &document_xml("&a;");
    let document = "word/document.xml";
    let bomb = document_xml(&" ".repeat(64 << 20));
    vec![
        bad("empty.docx", "", NO_DOCX),
        bad("text.docx", "only text", NO_DOCX),
        bad("html.docx", "<html><body>Please log in</body></html>", NO_DOCX),
        bad("rtf.docx", "{\\rtf1 text}", NO_DOCX),
        bad("cut.docx", half(&whole), NO_DOCX),
        bad("cut-end.docx", cut(&whole, 10), NO_DOCX),
        bad("damaged.docx", patched(whole.clone(), 60, &noise(2000)), NO_DOCX),
        bad("zip.docx", zip(&[("readme.txt", b"text")]), NO_DOCX),
        bad("zip-empty.docx", zip(&[]), NO_DOCX),
        bad("no-part.docx", zip(&[("_rels/.rels", relationships(document).as_bytes())]), NO_DOCX),
        bad("xml.docx", package(document, cut(letter.as_bytes(), 20)), NO_DOCX),
        bad("xml-tags.docx", package(document, letter.replace("</w:r>", "").as_bytes()), NO_DOCX),
        bad("xml-binary.docx", package(document, &noise(500)), NO_DOCX),
        bad("xml-bytes.docx", package(document, &[document_xml(CHINESE).as_bytes(), b"\xff"].concat()), NO_DOCX),
        bad("xml-empty.docx", package(document, b""), NO_DOCX),
        bad("rels.docx", zip(&[("_rels/.rels", b"<Relationships"), (document, letter.as_bytes())]), NO_DOCX),
        bad("workbook.docx", package("xl/workbook.xml", b"<workbook/>"), "not readable as Word (DOCX): it contains no text document;"),
        bad("ole.docx", ole(), "not Word (DOCX) but an old Office document or one with a password;"),
        bad("bomb.docx", package(document, bomb.as_bytes()), BOMB),
        bad("password.docx", locked(), PASSWORD),
        bad("password-zip.docx", encrypted(docx("a letter")), PASSWORD),
        bad("parts.docx", [b"PK\x03\x04".as_slice(), &b"PK\x01\x02".repeat(200_001)].concat(), "not readable as Word (DOCX): it has more than 200000 parts;"),
        bad("slides.docx", pptx("a slide"), "not readable as Word (DOCX): it contains no text document;"),
        bad("entities.docx", package(document, entities.as_bytes()), NO_DOCX),
        bad("external.docx", package(document, external.as_bytes()), NO_DOCX),
    ]
}

#[rustfmt::skip]
fn slides() -> Vec<Bad> {
    let whole = corpus("en/drizzle-launch.pptx");
    let main = "ppt/presentation.xml";
    let list = "<presentation xmlns:r=\"r\"><sldIdLst><sldId r:id=\"r1\"/></sldIdLst></presentation>";
    vec![
        bad("empty.pptx", "", NO_PPTX),
        bad("text.ppsx", "only text", NO_PPTX),
        bad("cut.pptx", half(&whole), NO_PPTX),
        bad("cut-end.pptx", cut(&whole, 10), NO_PPTX),
        bad("damaged.pptx", patched(whole.clone(), 60, &noise(2000)), NO_PPTX),
        bad("zip.pptx", zip(&[("readme.txt", b"text")]), "not readable as PowerPoint (PPTX): it contains no presentation;"),
        bad("letter.pptx", docx("a letter"), "not readable as PowerPoint (PPTX): it contains no presentation;"),
        bad("no-main.pptx", zip(&[("_rels/.rels", relationships(main).as_bytes())]), "not readable as PowerPoint (PPTX): its part ppt/presentation.xml is missing;"),
        bad("no-slide.pptx", package(main, list.as_bytes()), "not readable as PowerPoint (PPTX): its slide 1 is missing;"),
        bad("xml.pptx", pptx("a < b"), "not readable as PowerPoint (PPTX): its part ppt/slides/slide1.xml is not valid XML (roxmltree: "),
        bad("pdf.pptx", pdf("a page"), "not PowerPoint (PPTX) but PDF;"),
        bad("ole.pptx", ole(), "not PowerPoint (PPTX) but an old Office document or one with a password;"),
        bad("password.pptx", locked(), PASSWORD),
        bad("bomb.pptx", pptx(&" ".repeat(64 << 20)), BOMB),
    ]
}

const NO_XLSX: &str = "not readable as Excel (XLSX): ";
const NO_XLS: &str = "not readable as Excel (XLS): ";
const NO_ODS: &str = "not readable as OpenDocument (ODS): ";

#[rustfmt::skip]
fn spreadsheets() -> Vec<Bad> {
    let (workbook, old, open) = (corpus("en/station-prices.xlsx"), corpus("ja/出荷予定.xls"), corpus("es/presupuesto-2026.ods"));
    let row = |text: &str| format!("<row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>{text}</t></is></c></row>");
    let table = |name: &str, text: &str| format!("<table:table table:name=\"{name}\"><table:table-row><table:table-cell office:value-type=\"string\"><text:p>{text}</text:p></table:table-cell></table:table-row></table:table>");
    // The start of a workbook, an entry for a password, and the end.
    let password = b"\x09\x08\x10\0\0\x06\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\x2f\0\x06\0\x01\0\x01\0\0\0\x0a\0\0\0";
    let encrypted = zip(&[("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("META-INF/manifest.xml", b"<manifest:encryption-data/>"), ("content.xml", &noise(300))]);
    let bomb = " ".repeat(64 << 20);
    vec![
        bad("empty.xlsx", "", NO_XLSX),
        bad("text.xlsx", "only text", NO_XLSX),
        bad("cut.xlsx", half(&workbook), NO_XLSX),
        bad("zip.xlsx", zip(&[("readme.txt", b"text")]), NO_XLSX),
        bad("letter.xlsx", docx("a letter"), NO_XLSX),
        bad("pdf.xlsx", pdf("a page"), "not Excel (XLSX) but PDF;"),
        bad("old.xlsx", old.clone(), "not Excel (XLSX) but an old Office document or one with a password;"),
        bad("password.xlsx", ole_file("EncryptedPackage", b"x"), "needs a password;"),
        bad("bomb.xlsx", xlsx(&[("S", "", &row(&bomb))]), "expands to more than 100 times its size;"),
        bad("row.xlsx", xlsx(&[("A", "", &row("one")), ("B", "", "<row r=\"1\"><c r=\"A1\"><v>x</v")]), NO_XLSX).section("#B").good(&[("#A", "# A one")]),
        bad("empty.xls", "", NO_XLS),
        bad("text.xls", "only text", NO_XLS),
        bad("cut.xls", half(&old), NO_XLS),
        bad("noise.xls", ole(), NO_XLS),
        bad("new.xls", workbook, "not Excel (XLS) but a ZIP archive (or an Office document);"),
        bad("password.xls", ole_file("Workbook", password), "needs a password;"),
        bad("noise.xlsb", noise(500), "not readable as Excel (XLSB): "),
        bad("empty.ods", "", NO_ODS),
        bad("text.ods", "only text", NO_ODS),
        bad("cut.ods", half(&open), NO_ODS),
        bad("pdf.ods", pdf("a page"), "not OpenDocument (ODS) but PDF;"),
        bad("letter.ods", zip(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", b"<a/>")]), "not OpenDocument (ODS) but another OpenDocument file;"),
        bad("password.ods", encrypted, "needs a password;"),
        bad("bomb.ods", ods(&(table("A", "one") + &table("B", &bomb))), "expands to more than 100 times its size (the rest of the file is not read);").section("#B").good(&[("#A", "# A one")]),
        bad("xml.ods", ods("<table:table table:name=\"A\"><table:table-row></a>"), NO_ODS).section("#A"),
    ]
}

#[rustfmt::skip]
fn open_documents() -> Vec<Bad> {
    let (text, slides) = (corpus("zh/年度总结.odt"), corpus("ja/新人研修.odp"));
    let manifest = b"<manifest:manifest xmlns:manifest=\"m\"><manifest:encryption-data/></manifest:manifest>";
    let sheet = open_document("<office:body><office:spreadsheet/></office:body>");
    let letter = open_document("<office:body><office:text><text:p>&a;</text:p></office:text></office:body>");
    let entities = "<!DOCTYPE a [<!ENTITY a \"aaaaaaaa\">]>".to_owned() + &letter;
    vec![
        bad("empty.odt", "", NO_ODT),
        bad("text.odt", "only text", NO_ODT),
        bad("html.odt", "<html><body>Please log in</body></html>", "not readable as OpenDocument text (ODT): it contains no text document and no presentation;"),
        bad("cut.odt", half(&text), NO_ODT),
        bad("cut-end.odt", cut(&text, 10), NO_ODT),
        bad("damaged.odt", patched(text.clone(), 60, &noise(2000)), NO_ODT),
        bad("zip.odt", zip(&[("readme.txt", b"text")]), "not readable as OpenDocument text (ODT): its part content.xml is missing;"),
        bad("sheet.odt", odf(&sheet), "not readable as OpenDocument text (ODT): it contains no text document and no presentation;"),
        bad("xml.odt", odt("a < b"), NO_ODT),
        bad("pdf.odt", pdf("a page"), "not OpenDocument text (ODT) but PDF;"),
        bad("password.odt", zip(&[("content.xml", &noise(500)), ("META-INF/manifest.xml", manifest)]), PASSWORD),
        bad("password-whole.odt", zip(&[("encrypted-package", &noise(500)), ("META-INF/manifest.xml", manifest)]), PASSWORD),
        bad("bomb.odt", odt(&" ".repeat(64 << 20)), BOMB),
        bad("entities.odt", odf(&entities), NO_ODT),
        bad("cut.fodt", half(letter.as_bytes()), NO_ODT),
        bad("entities.fodt", entities.clone(), NO_ODT),
        bad("bytes.fodt", [entities.as_bytes(), b"\0\xff"].concat(), "not readable as OpenDocument text (ODT): not text but binary data;"),
        bad("cut.odp", half(&slides), NO_ODP),
        bad("letter.odp", zip(&[("word/document.xml", b"<document/>")]), NO_ODP),
        bad("password.odp", zip(&[("content.xml", &noise(500)), ("META-INF/manifest.xml", manifest)]), PASSWORD),
        bad("bomb.odp", odp(&" ".repeat(64 << 20)), BOMB),
    ]
}

#[rustfmt::skip]
fn books() -> Vec<Bad> {
    let whole = corpus("es/guía-del-pluviómetro.epub");
    let drm = "<encryption><EncryptedData><EncryptionMethod Algorithm=\"http://www.idpf.org/2008/embedding\"/></EncryptedData>\
               <EncryptedData><EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#aes128-cbc\"/></EncryptedData></encryption>";
    let container = b"<container><rootfiles><rootfile full-path=\"a.opf\"/></rootfiles></container>";
    let spine = b"<package><manifest><item id=\"a\" href=\"a.xhtml\" media-type=\"application/xhtml+xml\"/></manifest><spine><itemref idref=\"a\"/></spine></package>";
    vec![
        bad("empty.epub", "", NO_EPUB),
        bad("text.epub", "only text", NO_EPUB),
        bad("cut.epub", half(&whole), NO_EPUB),
        bad("cut-end.epub", cut(&whole, 10), NO_EPUB),
        bad("damaged.epub", patched(whole.clone(), 120, &noise(2000)), NO_EPUB),
        bad("letter.epub", docx("a letter"), "not readable as EPUB: its part META-INF/container.xml is missing;"),
        bad("no-book.epub", zip(&[("META-INF/container.xml", b"<container/>")]), "not readable as EPUB: it contains no book;"),
        bad("no-spine.epub", zip(&[("META-INF/container.xml", container)]), "not readable as EPUB: its part a.opf is missing;"),
        bad("no-page.epub", zip(&[("META-INF/container.xml", container), ("a.opf", spine)]), "not readable as EPUB: its part a.xhtml is missing;"),
        bad("pdf.epub", pdf("a page"), "not EPUB but PDF;"),
        bad("drm.epub", book(&["<p>words</p>"], "", &[("META-INF/encryption.xml", drm)]), "is protected against copying (DRM); replace it by a copy without protection, or skip it with --exclude"),
        bad("password.epub", encrypted(epub("words")), PASSWORD),
        bad("bomb.epub", epub(&" ".repeat(64 << 20)), BOMB),
    ]
}

#[rustfmt::skip]
fn markup() -> Vec<Bad> {
    const NO_XML: &str = "not readable as XML: ";
    const NO_NOTEBOOK: &str = "not readable as Jupyter: ";
    const NO_SUBTITLES: &str = "not readable as subtitles: it has no line with times";
    let whole = corpus("zh/产品目录.xml");
    let cells = corpus("ja/雨量データの読み方.ipynb");
    let bomb = format!("<a>{}</a>", " ".repeat(64 << 20));
    vec![
        bad("empty.xml", "", NO_XML),
        bad("text.xml", "only text", NO_XML),
        bad("cut.xml", half(&whole), NO_XML),
        bad("cut-end.xml", cut(&whole, 3), NO_XML),
        bad("tags.xml", "<a><b></a></b>", "not readable as XML: it is not well-formed at byte 6 "),
        bad("entity.xml", "<!DOCTYPE a [<!ENTITY b \"c", NO_XML),
        bad("pdf.xml", pdf("a page"), "not text but PDF;"),
        bad("bomb.xml.gz", gzip(bomb.as_bytes()), "expands to more than 100 times its size;"),
        bad("empty.ipynb", "", NO_NOTEBOOK),
        bad("cut.ipynb", half(&cells), NO_NOTEBOOK),
        bad("array.ipynb", "[]", NO_NOTEBOOK),
        bad("other.ipynb", "{\"name\": \"not a notebook\"}", "not readable as Jupyter: it has no cells;"),
        bad("zip.ipynb", docx("a letter"), "not text but a ZIP archive"),
        bad("letter.srt", "Dear reader,\n\nthis is a letter.\n", NO_SUBTITLES),
        bad("numbers.vtt", "1\n2\n3\n", NO_SUBTITLES),
        bad("png.srt", PNG, BINARY),
        bad("png.rst", PNG, BINARY),
        bad("elf.adoc", ELF, BINARY),
        bad("zeros.org", [0; 100], BINARY),
        bad("pdf.tex", pdf("a page"), "not text but PDF;"),
        bad("cut.rst.gz", half(&gzip(CHINESE.as_bytes())), NO_GZIP),
    ]
}

#[rustfmt::skip]
fn mails_and_others() -> Vec<Bad> {
    let mail = "From: a@x\n\ntext";
    let mailbox = format!("From - Mon Mar 02 08:15:00 2026\n{mail}\n\nFrom - Mon Mar 02 08:15:00 2026\n\u{1}\n");
    vec![
        bad("empty.eml", "", "not readable as mail (EML): it has no header of a message;"),
        bad("text.eml", "only text", "not readable as mail (EML): it has no header of a message;"),
        bad("noise.eml", noise(5000), "not readable as mail (EML): it has no header of a message;"),
        bad("pdf.eml", pdf("a page"), "not mail (EML) but PDF;"),
        bad("old.eml", ole(), "not mail (EML) but an old Office document or one with a password;"),
        bad("sealed.eml", "From: a@x\nContent-Type: application/pkcs7-mime\n\nMIIB", "encrypted with S/MIME;"),
        bad("bytes.eml", [b"From: a@x\nContent-Type: text/plain; charset=utf-8\n\n".as_slice(), CHINESE.as_bytes(), b"\xff\xfe\xff", CHINESE.as_bytes(), b"\xff\xff"].concat(), "not readable as mail (EML): its text is not in the encoding that it names;"),
        bad("text.mbox", "only text", "not readable as mailbox (MBOX): it does not begin with a line"),
        bad("pdf.mbox", pdf("a page"), "not mailbox (MBOX) but PDF;"),
        bad("cut.mbox.gz", half(&gzip(mailbox.as_bytes())), NO_GZIP),
        bad("empty.rtf", "", "not readable as RTF: it does not begin with {\\rtf;"),
        bad("text.rtf", "only text", "not readable as RTF: it does not begin with {\\rtf;"),
        bad("cut.rtf", half(&corpus("en/supplier-letter.rtf")), "not readable as RTF: it ends inside of a group;"),
        bad("docx.rtf", docx("a letter"), "not RTF but a ZIP archive (or an Office document);"),
        bad("deep.rtf", format!("{{\\rtf1 {}", "{".repeat(50_000)), "not readable as RTF: it has more than 10000 groups inside of each other;"),
        bad("page.rtf", "{\\rtf1\\ansicpg932 \\'81\\'ff}", "not readable as RTF: some of its bytes are no characters of the code page 932;"),
        bad("cut.json", "[{\"text\":\"one\"}, {\"text\":\"tw", "not readable as JSON: it ends before the array does (the rest of the file is not read);").row(2).good(&[(":1", "one")]),
        bad("number.json", "[{\"text\":\"one\"}, 5, {\"text\":\"three\"}]", "not a JSON object: ").row(2).good(&[(":1", "one"), (":3", "three")]),
        bad("after.json", "[{\"text\":\"one\"}] x", "not readable as JSON: more text follows the array").row(2).good(&[(":1", "one")]),
        bad("bytes.json", b"[{\"text\":\"one\"}, {\"text\":\"\xff\"}]", "not UTF-8, but JSON must be UTF-8").row(2).good(&[(":1", "one")]),
    ]
}

fn all() -> Vec<Bad> {
    let (sheets, mails) = (spreadsheets(), mails_and_others());
    [
        encodings(),
        wrong_names(),
        packed(),
        json_lines(),
        tables(),
        parquets(),
        pages(),
        pdfs(),
        office(),
        slides(),
        open_documents(),
        books(),
        markup(),
        sheets,
        mails,
    ]
    .into_iter()
    .flatten()
    .collect()
}

const GOOD: (&str, &str) = ("good.txt", "a good document");

/// Makes a folder `docs` with the files of the table and one good file.
fn folder(table: &[Bad]) -> Playground {
    let playground = Playground::new();
    playground.write("docs/good.txt", GOOD.1);
    for bad in table {
        playground.write(&format!("docs/{}", bad.file), &bad.bytes);
    }
    playground
}

/// Returns the lines of a run that report a failed document.
fn failures(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| line.starts_with("qwen3-index: failed: ")).collect()
}

/// Returns the complaints about the messages of a run on these files.
fn complaints<'a>(ran: &Ran, table: impl IntoIterator<Item = &'a Bad>) -> Vec<String> {
    let lines = failures(ran);
    let mut complaints = Vec::new();
    let mut known = 0;
    for bad in table {
        let of_file = format!("qwen3-index: failed: docs/{}{}:", bad.file, bad.section);
        let own: Vec<_> = lines.iter().filter(|line| line.starts_with(&of_file)).collect();
        known += own.len();
        if own.len() != 1 || !own[0].starts_with(&bad.line()) {
            complaints.push(format!("{}: expected one {:?}, got {own:#?}", bad.file, bad.line()));
        }
    }
    if known != lines.len() {
        complaints.push(format!("other documents failed{}", ran.story));
    }
    complaints
        .extend(lines.into_iter().filter(|line| !is_helpful(line)).map(|line| format!("no help: {line}")));
    complaints
}

/// Returns whether a line has a cause and one advice and is not too long.
fn is_helpful(line: &str) -> bool {
    line.matches("; ").count() == 1 && !line.contains("\\n") && line.chars().count() < 300
}

fn good_rows<'a>(table: impl IntoIterator<Item = &'a Bad>) -> Vec<(String, String)> {
    sorted(table.into_iter().flat_map(|bad| bad.good.clone()))
}

fn sorted(rows: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort();
    rows
}

fn pairs<const N: usize>(rows: [(&str, &str); N]) -> Vec<(String, String)> {
    sorted(rows.map(|(id, text)| (id.to_owned(), text.to_owned())))
}

fn written(playground: &Playground, output: &str) -> Vec<(String, String)> {
    sorted(ids_and_texts(&playground.path(output)))
}

#[track_caller]
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Builds from a folder of these files. Checks that each file is reported once, and that all good rows are written.
#[track_caller]
fn check_together(table: &[Bad], options: &[&str]) {
    let playground = folder(table);
    let ran = playground.run(&[&["build", "docs", "-o", "out.parquet"], options].concat()).expect(3);
    expect_none(&complaints(&ran, table));
    let good = good_rows(table).into_iter().chain(pairs([GOOD]));
    assert_eq!(written(&playground, "out.parquet"), sorted(good), "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_bad_file_in_a_folder_costs_itself_and_says_why() {
    let table = all();
    assert!(table.len() >= 65);
    check_together(&table, &[]);
}

/// Makes one build per file.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_bad_file_alone_leaves_the_old_output() {
    let table = all();
    let playground = folder(&table);
    let old = [&b"PAR1"[..], &noise(1000)].concat();
    let next = AtomicUsize::new(0);
    let complaints_of_thread = || {
        let mut complaints = Vec::new();
        while let Some(bad) = table.get(next.fetch_add(1, Relaxed)) {
            complaints.extend(alone(&playground, bad, &old));
        }
        complaints
    };
    let complaints: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(complaints_of_thread)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    expect_none(&complaints);
}

fn alone(playground: &Playground, bad: &Bad, old: &[u8]) -> Vec<String> {
    let (input, folder) = (format!("docs/{}", bad.file), format!("out/{}", bad.file));
    let output = format!("{folder}/out.parquet");
    playground.write(&output, old);
    let ran = playground.run(&["build", &input, "-o", &output, "--threads", "1", "--allow-shrink"]);
    let mut complaints = complaints(&ran, [bad]);
    let mut left: Vec<_> =
        fs::read_dir(playground.path(&folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // The old output is not an index, so the build keeps it under this name.
    left.retain(|name| name != "out.parquet.damaged");
    let is_as_it_should = if bad.good.is_empty() {
        let last = ran.stderr.lines().last().unwrap_or_default();
        ran.code == Some(1)
            && fs::read(playground.path(&output)).unwrap() == old
            && last.starts_with("qwen3-index: error: no document could be embedded: ")
            && last.ends_with(&format!("fix the failures and run again (output {output} is untouched)"))
    } else {
        ran.code == Some(3) && written(playground, &output) == good_rows([bad])
    };
    if !is_as_it_should || left != ["out.parquet"] {
        complaints.push(format!("{}: wrong code, output or files beside it{}", bad.file, ran.story));
    }
    complaints
}

/// Odd files that are valid.
#[test]
#[ignore = "needs what scripts/test installs"]
fn what_is_odd_but_whole_is_read() {
    let playground = Playground::new();
    let nested =
        format!("{{\"id\":\"nested\",\"text\":\"x\",\"a\":{}{}}}\n", "[".repeat(100), "]".repeat(100));
    let lines = [
        // If two fields have the same name, the second one is used, as in most JSON parsers.
        "{\"id\":\"first\",\"id\":\"twice\",\"text\":\"one\",\"text\":\"two\"}\r\n",
        "{\"id\":\"nul\",\"text\":\"a\\u0000b\"}\n\n \t\n",
        "\u{FEFF}{\"id\":\"mark\",\"text\":\"\u{FEFF}x\"}\n",
        "{\"id\":\"pair\",\"text\":\"\\ud83d\\ude00\"}\n",
        "{\"id\":\"numbers\",\"text\":\"x\",\"n\":[1e308,-0.0,123456789012345678901234567890]}\n",
        "{\"id\":\"\",\"text\":\"an empty id is none\"}\n",
        &nested,
        "{\"id\":-7,\"text\":\"no line end\"}",
    ];
    playground.write("docs/a.jsonl", lines.concat());
    playground.write("docs/empty.jsonl", "");
    playground.write("docs/header.csv", "id,text\n");
    playground.write("docs/lines.csv", "text,n\rone \"two\" 3\" pipe,1\r\"said \"\"so\"\"\",2\r");
    playground.write("docs/members.txt.gz", [gzip(b"one "), gzip(b""), gzip(b"two")].concat());
    playground.write(
        "docs/frames.txt.zst",
        [zstd(b"one "), b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), zstd(b"two")].concat(),
    );
    playground.write(
        "docs/declares-utf8.html",
        encoding_rs::SHIFT_JIS.encode("<meta charset=utf-8><p>図書館は月曜日を除いて毎日開いています。").0,
    );
    // The table of objects in this PDF is wrong, as after a transfer that converts line ends.
    playground.write("docs/table.pdf", String::from_utf8(pdf("found again")).unwrap().replace('\n', "\r\n"));
    playground.write("docs/comment.docx", docx("one<!-- no part of it --> two"));
    let deep = "<w:sdt>".repeat(100_000) + "<w:t>deep</w:t>" + &"</w:sdt>".repeat(100_000);
    playground.write(
        "docs/deep.docx",
        package("word/document.xml", document_xml(&format!("</w:t>{deep}<w:t>")).as_bytes()),
    );
    let groups = "<p:grpSp>".repeat(100_000);
    let slide = "<p:sp><p:txBody><a:p><a:t>deep</a:t></a:p></p:txBody></p:sp>";
    playground.write(
        "docs/deep.pptx",
        presentation(&[&format!("{groups}{slide}{}", "</p:grpSp>".repeat(100_000))], &[]),
    );
    let (lists, ends) = ("<text:list><text:list-item>", "</text:list-item></text:list>");
    let deep = format!("{}<text:p>deep</text:p>{}", lists.repeat(100_000), ends.repeat(100_000));
    playground.write("docs/deep.odt", odt(&format!("</text:p>{deep}<text:p>")));
    let frame = "<draw:frame><draw:text-box><text:p>deep</text:p></draw:text-box></draw:frame>";
    let deep = format!("{}{frame}{}", "<draw:g>".repeat(100_000), "</draw:g>".repeat(100_000));
    playground.write("docs/deep.odp", odp(&format!("</text:p>{deep}<text:p>")));
    let expected = [
        ("twice", "two"),
        ("nul", "ab"),
        ("mark", "x"),
        ("pair", "😀"),
        ("numbers", "x"),
        ("a.jsonl:8", "an empty id is none"),
        ("nested", "x"),
        ("-7", "no line end"),
        ("lines.csv:2", "one \"two\" 3\" pipe"),
        ("lines.csv:3", "said \"so\""),
        ("members.txt.gz", "one two"),
        ("frames.txt.zst", "one two"),
        ("declares-utf8.html", "図書館は月曜日を除いて毎日開いています。"),
        ("table.pdf", "found again"),
        ("comment.docx", "one two"),
        ("deep.docx", "deep"),
        ("deep.odp", "deep"),
        ("deep.odt", "- deep"),
        ("deep.pptx", "deep"),
    ];
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    assert_eq!(written(&playground, "out.parquet"), pairs(expected), "{}", ran.story);
}

/// Legacy encodings, and a text for each.
const LEGACY: [(&str, &str); 5] = [
    ("gbk", CHINESE),
    ("big5", "員工因公出差產生的交通費、住宿費和伙食補助，憑發票在十五個工作日內報銷。"),
    ("shift_jis", "図書館は月曜日を除いて毎日午前九時から午後八時まで開いています。"),
    ("euc-jp", "図書館は月曜日を除いて毎日午前九時から午後八時まで開いています。"),
    ("euc-kr", "도서관은 월요일을 제외하고 매일 오전 아홉 시부터 오후 여덟 시까지 문을 엽니다."),
];

/// The encoding of a file of rows is detected from the start of the file, which may end in the middle of a character.
#[test]
#[ignore = "needs what scripts/test installs"]
fn long_files_of_rows_are_decoded_wherever_a_character_stands() {
    let playground = Playground::new();
    for (name, text) in LEGACY {
        let encoding = encoding_rs::Encoding::for_label(name.as_bytes()).unwrap();
        for shift in 0..2 {
            // The second column is long and is not read.
            let rows = format!("{text},{}\n", text.repeat(200)).repeat(6);
            let table = format!("text,more{}\n{rows}", " ".repeat(shift));
            playground.write("a.csv", encoding.encode(&table).0);
            let rows = playground.build("a.csv", &[]);
            assert!(rows.len() == 6 && rows.iter().all(|row| row.text == text), "{name} {shift}: {rows:?}");
        }
    }
}

/// An invalid byte, or a character that is cut off at the end, does not change the detected encoding.
#[test]
#[ignore = "needs what scripts/test installs"]
fn damaged_legacy_text_is_never_taken_for_another_encoding() {
    let playground = folder(&[]);
    for (name, text) in LEGACY {
        let whole = encoding_rs::Encoding::for_label(name.as_bytes()).unwrap().encode(text).0.into_owned();
        // Each text ends in a character of two bytes or in ASCII.
        let end = if whole.ends_with(b".") { 2 } else { 1 };
        let wrong = [&whole[..], b"\xff\xff", &whole].concat();
        playground.write(&format!("docs/{name}-cut.txt"), cut(&whole, end));
        playground.write(&format!("docs/{name}-wrong.txt"), &wrong);
        playground.write(
            &format!("docs/{name}-page.html"),
            [format!("<meta charset={name}><p>").as_bytes(), &wrong].concat(),
        );
        playground.write(&format!("docs/{name}.csv"), [b"text\n", &wrong[..], b"\n"].concat());
    }
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    let nonsense: Vec<_> =
        written(&playground, "out.parquet").into_iter().filter(|(id, _)| id != GOOD.0).collect();
    assert!(nonsense.is_empty(), "{nonsense:#?}{}", ran.story);
    assert_eq!(failures(&ran).len(), 4 * LEGACY.len(), "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_encoding_that_was_named_and_does_not_fit_is_said() {
    let gbk = encoding_rs::GBK.encode(CHINESE).0.into_owned();
    let table = [
        bad("gbk.txt", gbk.clone(), "cannot be decoded as Shift_JIS;"),
        bad("gbk.md", gbk.clone(), "cannot be decoded as Shift_JIS;"),
        bad("gbk.html", gbk.clone(), "cannot be decoded as Shift_JIS;"),
        bad("gbk.csv", [b"text\none\n", &gbk[..], b"\ntwo\n"].concat(), "cannot be decoded as Shift_JIS;")
            .row(3)
            .good(&[(":2", "one"), (":4", "two")]),
        bad("cut.txt", b"\x90}\x8f\x91\x8a", "cannot be decoded as Shift_JIS;"),
        bad("pdf.txt", pdf("a page"), "not text but PDF;"),
        // A byte order mark takes precedence over `--encoding`.
        bad("mark.txt", b"\xff\xfea", "cannot be decoded as UTF-16LE;"),
        // JSON is UTF-8, whatever `--encoding` says.
        bad(
            "gbk.jsonl",
            [b"{\"text\":\"", &gbk[..], b"\"}"].concat(),
            "not UTF-8, but JSON must be UTF-8 (the first invalid byte is at offset 11 of the line)",
        )
        .row(1),
    ];
    check_together(&table, &["--encoding", "shift_jis"]);
    let odd = bad("odd.txt", "odd", "cannot be decoded as UTF-16LE;");
    let playground = folder(&[]);
    playground.write("docs/odd.txt", &odd.bytes);
    let ran =
        playground.run(&["build", "docs/odd.txt", "-o", "out.parquet", "--encoding", "utf-16le"]).expect(1);
    expect_none(&complaints(&ran, [&odd]));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn broken_front_matter_is_said_where_it_is_kept() {
    let bomb: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", n - 1))
        .collect();
    let deep = format!("---\na: {}\n---\ntext", "[".repeat(10_000));
    let table = [
        bad("yaml.md", "---\nlang: [es\n---\ntext", "its front matter is not YAML: "),
        bad("tabs.md", "---\nlang: es\n\tmore: x\n---\ntext", "its front matter is not YAML: "),
        bad("twice.md", "---\nlang: es\nlang: en\n---\ntext", "its front matter is not YAML: "),
        bad("anchor.md", "---\nlang: *nowhere\n---\ntext", "its front matter is not YAML: "),
        bad("bomb.md", format!("---\na0: &a0 xxxxxxxxx\n{bomb}---\ntext"), "its front matter is not YAML: "),
        bad("deep.md", deep, "its front matter is not YAML: "),
        bad("toml.markdown", "+++\nlang = es\n+++\ntext", "its front matter is not TOML: "),
        bad("toml-twice.md", "+++\nlang = 'es'\nlang = 'en'\n+++\ntext", "its front matter is not TOML: "),
    ];
    check_together(&table, &["--keep", "lang"]);
    // Without `--keep`, front matter is not parsed.
    let playground = folder(&table);
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    assert_eq!(rows(&playground.path("out.parquet")).len(), table.len() + 1);
}

/// A binary file on standard input is one failure. It is not one failure per line.
#[test]
#[ignore = "needs what scripts/test installs"]
fn standard_input_that_is_no_text_is_told_once() {
    let playground = Playground::new();
    for (bytes, says) in [
        (gzip(&noise(5000)), "not text but gzip;"),
        (corpus("en/petrel-gazette.pdf"), "not text but PDF;"),
        (PNG.to_vec(), "not text but binary data;"),
    ] {
        playground.write("stdin", bytes);
        let mut command = playground.command(&["build", "-", "-o", "out.parquet"]);
        let output = command.stdin(File::open(playground.path("stdin")).unwrap()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let failed: Vec<_> = stderr.lines().filter(|line| line.contains(" failed: ")).collect();
        assert!(failed.len() == 1 && failed[0].contains(&format!(" failed: stdin: {says}")), "{failed:#?}");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_same_id_in_two_files_is_given_once() {
    let playground = Playground::new();
    playground.write("docs/a.jsonl", "{\"id\":\"same\",\"text\":\"first\"}");
    playground.write("docs/b.csv", "id,text\nsame,second\nb.txt,third\n");
    playground.write("docs/b.txt", "fourth");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/b.csv:2: the id `same` is already used at docs/a.jsonl:1, so this document is skipped; ")
        .says("failed: docs/b.txt: the id `b.txt` is already used at docs/b.csv:3, so this document is skipped; ");
    assert_eq!(failures(&ran).len(), 2, "{}", ran.story);
    assert_eq!(written(&playground, "out.parquet"), pairs([("b.txt", "third"), ("same", "first")]));
}

/// Returns a small PDF with a long text. All its pages show the same content.
fn the_same_page(count: usize) -> Vec<u8> {
    let lines = (0..280).map(|y| format!("BT /F 1 Tf 9 {y} Td ({}) Tj ET\n", "a word ".repeat(15)));
    let content = lines.collect::<String>();
    let kids: String = (0..count).map(|n| format!("{} 0 R ", n + 5)).collect();
    let page =
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 300]/Contents 3 0 R/Resources<</Font<</F 4 0 R>>>>>>";
    let (pages, content) = (
        format!("<</Type/Pages/Kids[{kids}]/Count {count}>>"),
        format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
    );
    let font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>";
    let mut objects = vec!["<</Type/Catalog/Pages 2 0 R>>", &pages, &content, font];
    objects.extend(vec![page; count]);
    pdf_objects(&objects, "")
}

/// The limit on the size of a document holds for every format.
#[test]
#[ignore = "needs what scripts/test installs"]
fn no_way_of_reading_takes_more_than_the_limit() {
    const SAYS: &str = "larger than 1048576 bytes; raise --max-document-mib, or split it";
    const SAYS_IN_TABLE: &str = "larger than 1048576 bytes (the rest of the file is not read); \
                                 raise --max-document-mib, or split it";
    // Cleaning makes this text short. If the limit were not applied before, the text would be embedded.
    let text = format!("a word{}", " ".repeat(2 << 20));
    let row = |before: &str, after: &str| format!("{before}{text}{after}\n");
    let line = row("{\"text\":\"", "\"}") + "{\"text\":\"short\"}\n";
    let table_of = |values: &[&str]| parquet(&[("text", strings(values))]);
    let document = document_xml(&text);
    let second_part = zip(&[
        ("_rels/.rels", relationships("word/document.xml").as_bytes()),
        ("word/document.xml", document_xml("x").as_bytes()),
        ("word/media/image.png", &noise(2 << 20)),
    ]);
    // Each slide is below the limit, but not all of them together.
    let blank = format!("<p:sp>{}</p:sp>", " ".repeat(400_000));
    let table = [
        bad("pages.pdf", the_same_page(60), SAYS),
        bad("a.txt", text.clone(), SAYS),
        bad("a.md", text.clone(), SAYS),
        bad("a.html", text.clone(), SAYS),
        bad("a.xhtml", text.clone(), SAYS),
        bad("a.pdf", [pdf("a page"), vec![b'\n'; 2 << 20]].concat(), SAYS),
        bad("packed.docx", package("word/document.xml", document.as_bytes()), SAYS),
        bad("image.docx", second_part, SAYS),
        bad("packed.pptx", pptx(&text), SAYS),
        bad("many.pptx", presentation(&[blank.as_str(); 3], &[]), SAYS),
        bad("packed.odt", odt(&text), SAYS),
        bad("packed.odp", odp(&text), SAYS),
        bad("packed.epub", epub(&text), SAYS),
        bad("a.txt.gz", gzip(text.as_bytes()), SAYS),
        bad("a.html.zst", zstd(text.as_bytes()), SAYS),
        bad("a.pdf.zst", zstd(&[pdf("a page"), vec![b'\n'; 2 << 20]].concat()), SAYS),
        bad("a.jsonl", line.clone(), SAYS).row(1).good(&[(":2", "short")]),
        bad("a.jsonl.gz", gzip(line.as_bytes()), SAYS).row(1).good(&[(":2", "short")]),
        bad("a.csv", row("text\nshort\n", ""), SAYS_IN_TABLE).row(3).good(&[(":2", "short")]),
        bad("header.csv", row("text,", ""), SAYS),
        bad("a.csv.zst", zstd(row("text\nshort\n", "").as_bytes()), SAYS_IN_TABLE)
            .row(3)
            .good(&[(":2", "short")]),
        bad("a.tsv", row("text\nshort\n", ""), SAYS_IN_TABLE).row(3).good(&[(":2", "short")]),
        bad("a.parquet", table_of(&["short", &text, "last"]), SAYS)
            .row(2)
            .good(&[(":1", "short"), (":3", "last")]),
    ];
    check_together(&table, &["--max-document-mib", "1"]);
    let playground = Playground::new();
    let arguments = ["build", "-", "-o", "out.parquet", "--max-document-mib", "1"];
    let ran = playground.run_with_stdin(&arguments, &line).expect(3);
    ran.says(&format!("failed: stdin:1: {SAYS}"));
    assert_eq!(written(&playground, "out.parquet"), pairs([("stdin:2", "short")]));
}

/// Returns a Parquet file of texts, compressed with Zstandard.
fn table(texts: &[&str]) -> Vec<u8> {
    let column = strings(texts);
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn what_expands_is_read_where_that_is_allowed() {
    let playground = Playground::new();
    let white = " ".repeat(32 << 20);
    playground.write("docs/a.docx", docx(&format!("one{white}two")));
    playground.write("docs/b.txt.gz", gzip(format!("one{white}two").as_bytes()));
    playground.write(
        "docs/c.jsonl.zst",
        zstd(format!("{{\"text\":\"one\"}}\n{white}\n{{\"text\":\"two\"}}").as_bytes()),
    );
    // 100 equal texts of 1 MiB. A table without compression has one of them in its dictionary.
    let text = format!("one{}", " ".repeat(1 << 20));
    playground.write("docs/d.parquet", table(&vec![text.as_str(); 100]));
    // The file is small, but all of its texts together have less than 16 MiB.
    playground.write("docs/e.parquet", table(&vec![text.as_str(); 15]));
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    let says = "expands to more than 100 times its size; raise --max-expansion if you trust the file";
    ran.says(&format!("failed: docs/a.docx: {says}")).says(&format!("failed: docs/b.txt.gz: {says}"));
    ran.says(&format!(
        "failed: docs/c.jsonl.zst:2: {}",
        says.replace("; ", " (the rest of the file is not read); ")
    ));
    ran.says(&format!(
        "failed: docs/d.parquet:16: {}",
        says.replace("; ", " (the rest of the file is not read); ")
    ));
    assert_eq!(failures(&ran).len(), 4, "{}", ran.story);
    assert_eq!(written(&playground, "out.parquet").len(), 1 + 15 + 15, "{}", ran.story);
    playground.run(&["build", "docs", "-o", "out.parquet", "--max-expansion", "100000"]).expect(0);
    let expected =
        [("a.docx", "one two"), ("b.txt.gz", "one two"), ("c.jsonl.zst:1", "one"), ("c.jsonl.zst:3", "two")];
    let mut all = written(&playground, "out.parquet");
    assert_eq!(all.iter().filter(|(id, text)| id.starts_with("d.parquet:") && text == "one").count(), 100);
    all.retain(|(id, _)| !id.contains(".parquet:"));
    assert_eq!(all, pairs(expected));
}

/// The line does not exceed the limit. Half of the line is a field that is not read, and half is white space.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_line_of_100_megabytes_is_a_line() {
    let playground = Playground::new();
    let half = 50_000_000;
    let line = format!(
        "{{\"padding\":\"{}\",\"id\":\"large\",\"text\":\"one{}two\"}}\n{{\"text\":\"three\"}}\n",
        "x".repeat(half),
        " ".repeat(half)
    );
    playground.write("a.jsonl", &line);
    playground.run(&["build", "a.jsonl", "-o", "out.parquet"]).expect(0);
    let expected = pairs([("a.jsonl:2", "three"), ("large", "one two")]);
    assert_eq!(written(&playground, "out.parquet"), expected);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn links_that_lead_nowhere_or_back_are_said() {
    let playground = folder(&[]);
    playground.write("docs/sub/deep/a.txt", "text");
    symlink("nowhere", playground.path("docs/broken.txt")).unwrap();
    symlink("nowhere", playground.path("docs/broken")).unwrap();
    symlink("itself.txt", playground.path("docs/itself.txt")).unwrap();
    symlink(playground.path("docs/sub"), playground.path("docs/sub/deep/back")).unwrap();
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0).says("skipped: 4 symlinks");
    let table = [
        bad("broken", "", "cannot be read: "),
        bad("broken.txt", "", "cannot be read: "),
        bad("itself.txt", "", "cannot be read: "),
        bad("sub/deep/back", "", "the symlink points to docs/sub, which contains the symlink;"),
    ];
    let ran = playground.run(&["build", "docs", "-o", "out.parquet", "--follow"]).expect(3);
    expect_none(&complaints(&ran, &table));
    assert_eq!(written(&playground, "out.parquet").len(), 2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn what_this_user_may_not_read_is_said() {
    let files = ["text.txt", "page.pdf", "rows.jsonl", "rows.csv", "table.parquet", "packed.txt.gz"];
    let playground = folder(&[]);
    let says = "cannot be read: Permission denied (os error 13); check that it exists and that this user may read it";
    let table: Vec<Bad> = files.into_iter().chain(["folder"]).map(|file| bad(file, "", says)).collect();
    files.iter().for_each(|file| playground.write(&format!("docs/{file}"), "secret"));
    playground.write("docs/folder/inside.txt", "secret");
    let chmod = |mode| {
        for bad in &table {
            fs::set_permissions(playground.path("docs").join(bad.file), Permissions::from_mode(mode))
                .unwrap();
        }
    };
    chmod(0o000);
    let arguments = ["build", "docs", "-o", "out.parquet"];
    let mut command = playground.command(&arguments);
    // The root user and its child processes may read every file, unless they drop that right.
    if fs::read(playground.path("docs/text.txt")).is_ok() {
        let Some(bound) = bound_by_modes(&command) else {
            return skip(NO_SETPRIV);
        };
        command = bound;
    }
    let ran = playground.output(&mut command, "").expect(3);
    chmod(0o700);
    expect_none(&complaints(&ran, &table));
    assert_eq!(written(&playground, "out.parquet"), pairs([GOOD]));
}
