//! Reads damaged documents of every format with the real code and real workers, as cargo-fuzz would do. The time is limited,
//! and every run has the same inputs.
//!
//! The seed, the kind and the number of an input determine the input, so a finding can be reproduced. For longer runs, set
//! the environment variables `QWEN3_INDEX_FUZZ_SEED` and `QWEN3_INDEX_FUZZ_SECONDS` (seconds per kind).

use std::env;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use memchr::memmem;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::properties::WriterProperties;
use qwen3_index::error::{DocumentError, Failure};
use qwen3_index::source::{Document, Fields, Filter, Found, Limits, Ocr, Reading, Roots, Workers, documents};
use qwen3_index::text::chunk::{ChunkRules, chunk};
use qwen3_index::text::clean::clean;
use qwen3_index::text::tokenize::Tokenizer;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::util::{Playground, repository};

/// Number of threads that read at the same time. Each thread takes every second input.
const THREADS: u64 = 2;

/// Seconds per kind by default. Longer runs are made before a merge.
const SECONDS: u64 = 1;

/// Maximum seconds per document and per input.
const DOCUMENT_SECONDS: u64 = 10;
const INPUT_SECONDS: u64 = 3 * DOCUMENT_SECONDS;

/// Maximum size of an input, in bytes. Larger inputs find no other errors.
const INPUT_BYTES: usize = 256 << 10;

/// Maximum size of all copies of an inserted token together, in bytes.
const COPIES_BYTES: usize = 48 << 10;

/// Every input with a number that is a multiple of this is read twice.
const TWICE: u64 = 16;

/// Changes of one byte in [`SMALL_PARQUET`] that make the library parquet 60.1 panic: the offset, the new byte and the
/// message. About one damaged file in 12,000 makes the library panic.
const PANICS_OF_PARQUET: [(usize, u8, &str); 3] = [
    (9, 0x00, "util/bit_util.rs: range end index 4 out of range for slice of length 0"),
    (14, 0x04, "column/reader/decoder.rs: Decoder for dict should have been set"),
    (96, 0x01, "file/metadata/mod.rs: column start and length should not be negative"),
];

/// The smallest Parquet file with the text `a` in two rows.
const SMALL_PARQUET: &[u8; 175] = b"PAR1\x15\x00\x15\x14\x15\x14,\x15\x04\x15\x00\x15\x06\x15\x06\x1c\x00\x00\x00\
    \x01\x00\x00\x00a\x01\x00\x00\x00a\x15\x04\x19,5\x00\x18\x06schema\x15\x02\x00\x15\x0c%\x00\x18\x04text%\x00L\x1c\
    \x00\x00\x00\x16\x04\x19\x1c\x19\x1c&\x00\x1c\x15\x0c\x19%\x06\x00\x19\x18\x04text\x15\x00\x16\x04\x16:\x16:&\x08I\
    \x1c\x15\x00\x15\x00\x15\x02\x00<\x16\x04\x19\x06\x19\x06\x00\x00\x00\x16:\x16\x04&\x08\x16:\x00(\x20\
    parquet-cpp-arrow version 26.0.1\x19\x1c\x1c\x00\x00\x00\x86\x00\x00\x00PAR1";

/// A random number generator (SplitMix64). It is written here because the numbers must never change.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, kind: &str, number: u64) -> Self {
        let mut dice = Dice(seed);
        for byte in kind.bytes() {
            dice.0 ^= u64::from(byte);
            dice.next();
        }
        dice.0 ^= number.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `end - 1`. `end` must not be 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Returns a number from 0 to `max`. Each number of bits is equally likely, so small numbers are as likely as large
    /// ones.
    fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.max(1).ilog2() as usize + 1);
        self.below((2 << bits).min(max + 1))
    }

    /// Returns a range within the given length. Most ranges are short.
    fn piece(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        start..start + self.size(length - start)
    }
}

/// The seeds and tokens from which the inputs of a kind are made.
struct Kind {
    name: &'static str,
    /// Real documents, each with its file extension.
    seeds: Vec<(String, Vec<u8>)>,
    /// Tokens with a meaning in the format. Many copies of a token are inserted.
    tokens: &'static [&'static str],
    /// Pairs of an opening and a closing token. Many copies of a pair are nested.
    pairs: &'static [(&'static str, &'static str)],
    /// The layer of the file that is damaged.
    layer: Layer,
}

#[derive(Clone, Copy, PartialEq)]
enum Layer {
    /// The file itself.
    Plain,
    /// The parts of an archive.
    Zip,
    /// The file itself, and the streams of a PDF.
    Pdf,
    Gzip,
}

#[rustfmt::skip]
const TEXT_TOKENS: &[&str] = &[
    "\u{FEFF}", "\u{200B}", "e\u{301}", "\u{1F469}\u{1F3FD}\u{200D}", ".((((", ". 1", "a", " ", "\r", "\x1b$B", "\x7f",
    "\x1b$)C", "\x0e", "\x0f", "~{", "~}", "\0",
];
#[rustfmt::skip]
const MARKDOWN_TOKENS: &[&str] = &[
    "[", "![", "](", "[a](", "*a_", "**", "`", "~~", "> ", "- ", "1. ", "# ", "|\n|-", "|", "<a", "<!--", "&#", "&",
    "\\", "[^1]", "[^1]: ", "[a]: ", "\n---\n", "+++\n", "---\na: [", "\t", "```", "<b a1><p>", "{{", "\n\n", "$$",
];
#[rustfmt::skip]
const HTML_TOKENS: &[&str] = &[
    "<b a1><p>", "<p>", "<b>", "<table>", "<tr><td>", "<select>", "<template>", "<svg>", "<math>", "</p>", "</br>",
    "<a href='", "<!--", "<![CDATA[", "&", "&#", "&#x1F600;", "&notin", "<", ">", "\"", "<script>", "<plaintext>",
    "<li>", "<main>", "<form>", "<button>", "<nobr>", "<frameset>", "<?xml ?>", "<meta charset=gbk>", "<title>",
    "</html>", "=", "<div class=related>", "<a href=a>", "<h1>", "<h2>", "<noscript>", "<script type='text/template'>", "<meta name=author content=a>",
    "<script type='application/ld+json'>{\"articleBody\":\"a", "</script>", "</td></tr></table>", "<pre>", "hidden ",
];
#[rustfmt::skip]
const XML_TOKENS: &[&str] = &[
    "<b a1='1'>", "<w:p>", "</w:p>", "<w:t>", "<", ">", "&", "&amp;", "&#", "&#xFFFD;", "&#x1F600;", "\"",
    "<![CDATA[", "]]>", "<!--", "-->", "<?a ?>", "<!DOCTYPE a [<!ENTITY b '", "<w:txbxContent>", "<w:tc>",
    "xmlns:a='b' ", "<w:del>", "<w:basedOn w:val=\"Heading1\"/>", "<w:outlineLvl w:val=\"9\"/>", "<p:sp>", "<a:p>",
    "<text:p>", "<text:list>", "<text:list-item>", "<draw:frame>", "<itemref idref=\"c1\"/>", "%1", "../",
    "<c r=\"XFD1048576\" t=\"s\"><v>0</v></c>", "<row r=\"9\">", "<si><t>", "<table:table-row table:number-rows-repeated=\"9999999\">",
    "<table:table-cell table:number-columns-repeated=\"9999999\">", "<text:s text:c=\"99999999\"/>",
];
#[rustfmt::skip]
const PDF_TOKENS: &[&str] = &[
    "<<", ">>", "[", "]", "(", ")", "<", ">", "/", "%", "obj\n", "endobj\n", "stream\n", "endstream\n", "1 0 R ",
    "5 0 R ", "/Kids[2 0 R]", "/Parent 3 0 R", "/Length 99999999", "/Filter[/FlateDecode/FlateDecode]", "BT ", "ET ",
    "q ", "Q ", "/F1 9 Tf ", "1e38 0 0 1e-38 0 0 cm ", "1 0 0 1 9 9 Tm ", "(abc)Tj ", "[(a)-999(b)]TJ ", "T* ",
    "/Fm0 Do ", "0 0 9 9 re W n ", "/Span<</ActualText(a)>>BDC ", "EMC ", "beginbfrange\n",
    "<0000><FFFF><0000>\n", "begincmap\n", "BI /W 9 /H 9 ID ", "EI ", "/Annots[5 0 R]", "/Subtype/Widget/FT/Tx/V(a)/Rect[9 9 99 29]",
    "/AP<</N 6 0 R>>", "/Subtype/Text/Contents(a)", "/Parent 7 0 R", "/F 2 ", "/Opt[(a)[(b)(c)]]", "/ToUnicode/Identity-H",
    ".7 .7 -.7 .7 9 9 Tm ", "/Info<</Title(a)/CreationDate(D:2024)>>", "0 0 9999 9999 re f ", "/SMask 6 0 R", "/Pattern cs /P0 scn ",
];
#[rustfmt::skip]
const TABLE_TOKENS: &[&str] = &[
    "\"", "\"\"", ",", ";", "\t", "|", "\n", "\r", "\r\n", "\"\n", ",\"", "id,text\n", "\0", "\u{FEFF}", "a",
];
#[rustfmt::skip]
const JSON_TOKENS: &[&str] = &[
    "[", "{", "{\"a\":", "}", "]", "\"", ",", ":", "\\", "\\u", "\\ud800", "\\udc00", "\\u0000", "\\ufffd", "{{",
    "\n", "1e308", "{\"text\":\"a\"}\n", "\"text\":\"a\",", "null", "-", "\r", "\u{FEFF}",
];
#[rustfmt::skip]
const DIALECT_TOKENS: &[&str] = &[
    "import a from 'b'\n\n", "export const a = {", "<Tabs>\n", "<A b={", "{/*", "*/}", "{% raw %}", "{% endraw %}", "{#", "%%",
    "[[", "]]", "![[a|", "==", "^[", ":::a\n", "!!! a\n    ", "=== \"a\"\n", "> [!a]", "{#a}", "{{<", "$", "<!--", "```{note}\n",
];
#[rustfmt::skip]
const MARKUP_TOKENS: &[&str] = &[
    "*", "**", "`", "``", "_", "__", "|", "||", "+", "=", "~", "/", "\\", "^", "#", "<<", ">>", "[[", "]]", "[", "(((", "{a}", "{{{",
    "@@", "::", "::\n\n  ", "\n====\n", "\n----\n", "\n....\n", "\n++++\n", "////\n", "|===\n", "== ==\n", "+--+\n", ".. a::\n",
    ".. |a| replace:: |a|\n", "|a|", ":a: ", ":a:`", "a_ ", "[#]_", ":a: {a}\n", "link:a[", "footnote:[", "http://a[", "* ", "- ",
    "\n** ", "#+begin_src\n", "#+end_src\n", ":PROPERTIES:\n", ":END:\n", "[fn:", "| a ", "\n", "  ", "\t", "\n\n", "今",
];
#[rustfmt::skip]
const LATEX_TOKENS: &[&str] = &[
    "\\", "{", "}", "[", "]", "$", "$$", "%", "&", "~", "\\(", "\\)", "\\section{", "\\footnote{", "\\item[", "\\begin{tabular}{l}",
    "\\end{tabular}", "\\begin{verbatim}", "\\verb|", "\\newcommand{\\a}{", "\\def\\a{\\a}", "\\a ", "\\'e", "\\'", "\\cite[", "\\href{",
    "\n\\begin{document}\n", "\n\\end{document}\n", "\\title{", "\\iffalse", "--", "``", "\n\n",
];
#[rustfmt::skip]
const CUE_TOKENS: &[&str] = &[
    "00:00:01,000 --> 00:00:02,000\n", "00:01.000 --> ", "-->", "99999999999:00:00,0", "\n\n", "WEBVTT\n", "NOTE\n", "<v A>", "<i>",
    "<00:01.000>", "{\\an8}", "&amp;", "<", "1\n", "a\n",
];
#[rustfmt::skip]
const PLAIN_XML_TOKENS: &[&str] = &[
    "<title>", "</title>", "<para>", "<row><entry>", "<description>", "<![CDATA[", "]]>", "&a;", "&#", "&#x0;", "&nbsp;", "<!ENTITY a '&a;'>",
    "<!DOCTYPE a [", "]>", "<!--", "-->", "<?a ?>", "<b/>", "<", "&", "</",
];
#[rustfmt::skip]
const RTF_TOKENS: &[&str] = &[
    "{", "}", "\\", "\\'", "\\'e9", "\\u-10179?", "\\u20170", "\\uc9 ", "\\par ", "\\cell ", "\\row ", "\\trowd\\intbl ", "\\pard ",
    "\\f1 ", "\\v ", "\\*", "\\bin9 ", "{\\footnote ", "{\\listtext ", "\\fcharset128 ", "{\\info{\\title ", "\\s1 ", "\\ansicpg936 ",
];
#[rustfmt::skip]
const MAIL_TOKENS: &[&str] = &[
    "\n\n", "\n", "--mixed\n", "--both--\n", "From - Mon Mar 02 08:15:00 2026\n", "\n\nFrom - Mon Mar 02 08:15:00 2026\n", ">From ",
    "Content-Type: message/rfc822\n\n", "Content-Type: multipart/mixed; boundary=mixed\n\n", "boundary=", "Content-Transfer-Encoding: base64\n",
    "Content-Transfer-Encoding: quoted-printable\n", "=", "=E4=BB", "=?utf-8?B?", "?=", "charset=gb2312", "Message-ID: <a>\n",
    "Subject: ", "filename=a.txt", "filename*0*=utf-8''", "(", "<", ";", "\"", "\r\n ",
];
const PARQUET_TOKENS: &[&str] =
    &["PAR1", "\x15", "\x19", "\x1c", "\0", "\x7f", "\u{80}\u{1}", "schema", "UTF8"];

const PLAIN_PAIRS: &[(&str, &str)] = &[("(", ")"), ("\"", "\"")];
#[rustfmt::skip]
const MARKDOWN_PAIRS: &[(&str, &str)] =
    &[("[", "](a)"), ("*", "*"), ("> ", "\n"), ("![", "](b)"), ("<b>", "</b>"), ("[", "]")];
#[rustfmt::skip]
const HTML_PAIRS: &[(&str, &str)] = &[
    ("<div>", "</div>"), ("<b>", "</b>"), ("<a>", "</p>"), ("<table><td>", "</table>"), ("<ul><li>", "</ul>"),
    ("<template>", "</template>"), ("<svg><desc>", "</svg>"),
];
#[rustfmt::skip]
const XML_PAIRS: &[(&str, &str)] = &[
    ("<div>", "</div>"), ("<w:p>", "</w:p>"), ("<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>"), ("<w:r>", "</w:r>"),
    ("<w:p><w:r><w:txbxContent>", "</w:txbxContent></w:r></w:p>"), ("<mc:Fallback>", "</mc:Fallback>"),
    ("<p:grpSp>", "</p:grpSp>"), ("<text:list><text:list-item><text:p/>", "</text:list-item></text:list>"),
    ("<text:p><draw:frame><draw:text-box>", "</draw:text-box></draw:frame></text:p>"),
];
#[rustfmt::skip]
const PDF_PAIRS: &[(&str, &str)] = &[
    ("<<", ">>"), ("[", "]"), ("(", ")"), ("q ", "Q "), ("<</A ", ">>"), ("/A BMC ", "EMC "), ("{", "}"),
];
const LATEX_PAIRS: &[(&str, &str)] = &[
    ("{", "}"),
    ("\\section{", "}"),
    ("\\begin{tabular}{l}", "\\end{tabular}"),
    ("\\footnote{", "}"),
    ("$", "$"),
];
const MARKUP_PAIRS: &[(&str, &str)] =
    &[("*", "*"), ("`", "`"), ("[[", "]]"), ("footnote:[", "]"), ("====\n", "====\n"), ("{{{a(", ")}}}")];
const RTF_PAIRS: &[(&str, &str)] = &[("{", "}"), ("{\\footnote ", "}"), ("{\\*\\x ", "}"), ("{\\f1 ", "}")];
const MAIL_PAIRS: &[(&str, &str)] = &[
    ("(", ")"),
    ("\"", "\""),
    ("Content-Type: multipart/mixed; boundary=a\n\n--a\n", "\n--a--\n"),
    ("Content-Type: message/rfc822\n\n", ""),
];
const JSON_PAIRS: &[(&str, &str)] = &[("[", "]"), ("{\"a\":", "}"), ("{\"text\":", "}")];

/// Numbers that replace a number in an input.
#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "0", "-1", "1e308", "-1e38", "1e-38", "255", "65536", "2147483648", "4294967295", "9223372036854775807",
    "18446744073709551616", "99999999999999999999999999",
];

fn kinds() -> Vec<Kind> {
    let kind = |name, endings: &[&str], tokens, pairs, layer| Kind {
        name,
        seeds: corpus(endings),
        tokens,
        pairs,
        layer,
    };
    let mut kinds = vec![
        kind("text", &["txt"], TEXT_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("Markdown", &["md"], MARKDOWN_TOKENS, MARKDOWN_PAIRS, Layer::Plain),
        kind("HTML", &["html"], HTML_TOKENS, HTML_PAIRS, Layer::Plain),
        kind("XHTML", &["xhtml"], XML_TOKENS, XML_PAIRS, Layer::Plain),
        kind("PDF", &["pdf"], PDF_TOKENS, PDF_PAIRS, Layer::Pdf),
        kind("scans", &["pdf"], PDF_TOKENS, PDF_PAIRS, Layer::Pdf),
        kind("DOCX", &["docx"], XML_TOKENS, XML_PAIRS, Layer::Zip),
        kind("PPTX", &["pptx"], XML_TOKENS, XML_PAIRS, Layer::Zip),
        kind("OpenDocument", &["odt", "odp"], XML_TOKENS, XML_PAIRS, Layer::Zip),
        kind("EPUB", &["epub"], XML_TOKENS, XML_PAIRS, Layer::Zip),
        kind("spreadsheets", &["xlsx", "ods"], XML_TOKENS, XML_PAIRS, Layer::Zip),
        kind("XLS", &["xls"], PARQUET_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("RTF", &["rtf"], RTF_TOKENS, RTF_PAIRS, Layer::Plain),
        kind("mail", &["eml", "mbox"], MAIL_TOKENS, MAIL_PAIRS, Layer::Plain),
        kind("JSON", &["json"], JSON_TOKENS, JSON_PAIRS, Layer::Plain),
        kind("CSV", &["csv"], TABLE_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("TSV", &["tsv"], TABLE_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("JSONL", &["jsonl"], JSON_TOKENS, JSON_PAIRS, Layer::Plain),
        kind("Parquet", &["parquet"], PARQUET_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("gzip", &["txt", "md", "html", "csv", "jsonl", "gz"], HTML_TOKENS, JSON_PAIRS, Layer::Gzip),
        kind("dialects", &["mdx", "md"], DIALECT_TOKENS, MARKDOWN_PAIRS, Layer::Plain),
        kind("markup", &["rst", "adoc", "org"], MARKUP_TOKENS, MARKUP_PAIRS, Layer::Plain),
        kind("LaTeX", &["tex"], LATEX_TOKENS, LATEX_PAIRS, Layer::Plain),
        kind("notebooks", &["ipynb"], JSON_TOKENS, JSON_PAIRS, Layer::Plain),
        kind("subtitles", &["srt", "vtt"], CUE_TOKENS, PLAIN_PAIRS, Layer::Plain),
        kind("XML", &["xml"], PLAIN_XML_TOKENS, XML_PAIRS, Layer::Plain),
    ];
    kinds[0].seeds.extend(in_other_encodings());
    kinds[5].seeds.extend(scans());
    kinds[18].seeds.extend(in_other_codecs());
    for (ending, bytes) in &mut kinds[19].seeds {
        if ending != "gz" {
            *bytes = gzip(bytes);
            ending.push_str(".gz");
        } else {
            "html.gz".clone_into(ending);
        }
    }
    kinds
}

/// Returns the scanned PDF, often enough that half of the inputs are made of it.
fn scans() -> Vec<(String, Vec<u8>)> {
    let scan = fs::read(repository("fixtures/scans/设备归还.pdf")).unwrap();
    vec![("pdf".to_owned(), scan); corpus(&["pdf"]).len()]
}

/// Returns the files of the corpus with these file extensions, sorted by name.
fn corpus(endings: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = walkdir::WalkDir::new(repository("fixtures/corpus"))
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect();
    let ending = |path: &Path| path.extension().map(|ending| ending.to_string_lossy().into_owned());
    paths.retain(|path| ending(path).is_some_and(|ending| endings.contains(&ending.as_str())));
    paths.iter().map(|path| (ending(path).unwrap(), fs::read(path).unwrap())).collect()
}

/// Returns texts in more encodings than the corpus has.
fn in_other_encodings() -> Vec<(String, Vec<u8>)> {
    let expected = fs::read_to_string(repository("fixtures/expected.jsonl")).unwrap();
    let text = |of: &str| {
        let line = expected.lines().find(|line| line.contains(of)).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    let (chinese, japanese, spanish) = (text("zh/云的分类"), text("ja/台風"), text("es/la-gota"));
    let mut texts: Vec<Vec<u8>> = [
        (&chinese, encoding_rs::GB18030),
        (&chinese, encoding_rs::GBK),
        (&japanese, encoding_rs::SHIFT_JIS),
        (&japanese, encoding_rs::EUC_JP),
        (&japanese, encoding_rs::ISO_2022_JP),
        (&spanish, encoding_rs::WINDOWS_1252),
    ]
    .iter()
    .map(|(text, encoding)| encoding.encode(text).0.into_owned())
    .collect();
    texts.push(format!("\u{FEFF}{spanish}").encode_utf16().flat_map(u16::to_be_bytes).collect());
    texts.push(spanish.encode_utf16().flat_map(u16::to_le_bytes).collect());
    texts.push(chinese.encode_utf16().flat_map(u16::to_le_bytes).collect());
    texts.push(japanese.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect());
    texts.push(b"\x1b$)C\x0eGQ19>n\x0f \x0e9.@e@T4O4Y\x0f.\n".repeat(20));
    texts.push(b"~{VPNDJi?/C{~} and ~~\n".repeat(20));
    texts.into_iter().map(|bytes| ("txt".to_owned(), bytes)).collect()
}

/// Returns Parquet files as other programs write them. The corpus has only one Parquet file.
fn in_other_codecs() -> Vec<(String, Vec<u8>)> {
    let file = File::open(repository("fixtures/corpus/ratings.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let properties = WriterProperties::builder;
    let all = [
        properties().set_compression(Codec::UNCOMPRESSED),
        properties()
            .set_compression(Codec::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN),
        properties().set_compression(Codec::ZSTD(Default::default())).set_dictionary_enabled(false),
        properties().set_compression(Codec::GZIP(Default::default())).set_max_row_group_row_count(Some(7)),
        properties().set_compression(Codec::LZ4_RAW),
        properties().set_compression(Codec::BROTLI(Default::default())),
    ];
    let write = |properties: WriterProperties| {
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        ("parquet".to_owned(), writer.into_inner().unwrap())
    };
    all.into_iter().map(|builder| write(builder.build())).collect()
}

/// A damaged document.
struct Input {
    ending: String,
    bytes: Vec<u8>,
    /// The damaged content before compression, if it is known.
    content: Vec<u8>,
}

impl Kind {
    fn input(&self, seed: u64, number: u64) -> Input {
        let mut dice = Dice::new(seed, self.name, number);
        let (ending, seed) = &self.seeds[dice.below(self.seeds.len())];
        let inside = !dice.one_in(4);
        let (bytes, content) = match self.layer {
            Layer::Zip if inside => self.mutated_parts(seed, &mut dice),
            Layer::Pdf if inside => self.mutated_stream(seed, &mut dice),
            Layer::Gzip => {
                let content = gunzip(seed);
                let mutated = self.mutated(if inside { &content } else { seed }, &mut dice);
                if inside { (gzip(&mutated), mutated) } else { (mutated, content) }
            }
            _ => (self.mutated(seed, &mut dice), Vec::new()),
        };
        Input { ending: ending.clone(), bytes, content }
    }

    fn mutated(&self, bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let more = if dice.one_in(2) { 0 } else { dice.size(7) };
        for _ in 0..=more {
            self.mutate(&mut bytes, dice);
        }
        bytes.truncate(INPUT_BYTES);
        bytes
    }

    fn mutate(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let piece = dice.piece(bytes.len());
        let at = piece.start;
        match dice.below(16) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.next() as u8),
            2 => drop(bytes.drain(piece)),
            3 => {
                let times = 1 + dice.size(COPIES_BYTES / (piece.len() + 1));
                let copies = bytes[piece].repeat(times);
                bytes.splice(at..at, copies);
            }
            4 => {
                let moved: Vec<u8> = bytes.drain(piece).collect();
                let to = dice.below(bytes.len() + 1);
                bytes.splice(to..to, moved);
            }
            5 => {
                let other = &self.seeds[dice.below(self.seeds.len())].1;
                let other = &other[dice.piece(other.len())];
                bytes.splice(piece, other.iter().copied());
            }
            6 => bytes.truncate(at),
            7 | 8 => {
                let token = dice.pick(self.tokens);
                let copies = token.repeat(1 + dice.size(COPIES_BYTES / token.len()));
                bytes.splice(at..at, copies.bytes());
            }
            9 => change_number(bytes, dice),
            10 => {
                let (open, close) = self.pairs[dice.below(self.pairs.len())];
                let depth = 1 + dice.size(COPIES_BYTES / (open.len() + close.len()));
                bytes.splice(piece.end..piece.end, close.repeat(depth).bytes());
                bytes.splice(at..at, open.repeat(depth).bytes());
            }
            // Inserts copies of a token that differ by a number.
            11 => {
                let token = dice.pick(self.tokens);
                let copies: String = (0..dice.size(300)).map(|n| format!("{token}{n}")).collect();
                bytes.splice(at..at, copies.bytes());
            }
            // Nests tokens after the end of a tag, so that XML stays well-formed.
            _ => {
                let at = at + bytes[at..].iter().position(|&byte| byte == b'>').map_or(0, |end| end + 1);
                let (open, close) = self.pairs[dice.below(self.pairs.len())];
                let depth = 1 + dice.size(COPIES_BYTES / (open.len() + close.len()));
                let nested = [open.repeat(depth), close.repeat(depth)].concat();
                bytes.splice(at..at, nested.bytes());
            }
        }
    }

    /// Mutates one of the parts that the tool reads.
    fn mutated_parts(&self, bytes: &[u8], dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        // A part that stands here twice is mutated twice as often.
        const READ: [&str; 31] = [
            "word/document.xml",
            "word/document.xml",
            "word/styles.xml",
            "word/numbering.xml",
            "word/footnotes.xml",
            "word/_rels/document.xml.rels",
            "ppt/presentation.xml",
            "ppt/_rels/presentation.xml.rels",
            "ppt/slides/slide2.xml",
            "ppt/slides/slide2.xml",
            "ppt/slides/slide4.xml",
            "ppt/slides/_rels/slide2.xml.rels",
            "ppt/slideLayouts/slideLayout1.xml",
            "ppt/slideMasters/slideMaster1.xml",
            "ppt/notesSlides/notesSlide1.xml",
            "docProps/core.xml",
            "_rels/.rels",
            "content.xml",
            "content.xml",
            "styles.xml",
            "meta.xml",
            "META-INF/manifest.xml",
            "META-INF/container.xml",
            "EPUB/libro.opf",
            "EPUB/libro.opf",
            "EPUB/texto/02.xhtml",
            "xl/worksheets/sheet1.xml",
            "xl/worksheets/sheet1.xml",
            "xl/sharedStrings.xml",
            "xl/styles.xml",
            "xl/workbook.xml",
        ];
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        let has = |name: &&str| archive.index_for_name(name).is_some();
        let read: Vec<&str> = READ.into_iter().filter(has).collect();
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let chosen = dice.pick(&read);
        let mut mutated = Vec::new();
        for at in 0..archive.len() {
            let mut part = archive.by_index(at).unwrap();
            let name = part.name().unwrap().into_owned();
            let mut content = Vec::new();
            part.read_to_end(&mut content).unwrap();
            if name == chosen {
                content = self.mutated(&content, dice);
                mutated.clone_from(&content);
            }
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(&content).unwrap();
        }
        (writer.finish().unwrap().into_inner(), mutated)
    }

    /// Mutates one of the compressed streams. The declared length of the stream is then wrong, but PDF readers correct it.
    fn mutated_stream(&self, bytes: &[u8], dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        const START: &[u8] = b"stream";
        let starts: Vec<usize> = memmem::find_iter(bytes, START)
            .filter(|&at| !bytes[..at].ends_with(b"end"))
            .map(|at| at + START.len())
            .map(|at| at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count())
            .collect();
        let start = starts[dice.below(starts.len())];
        let end = start + memmem::find(&bytes[start..], b"endstream").unwrap();
        let mut content = Vec::new();
        if ZlibDecoder::new(&bytes[start..end]).read_to_end(&mut content).is_err() {
            return (self.mutated(bytes, dice), Vec::new());
        }
        let mutated = self.mutated(&content, dice);
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&mutated).unwrap();
        ([&bytes[..start], &packed.finish().unwrap(), &bytes[end..]].concat(), mutated)
    }
}

/// Replaces one number in an input by another number.
fn change_number(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let from = dice.below(bytes.len() + 1);
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, dice.pick(NUMBERS).bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).unwrap();
    content
}

/// Reads the inputs as `src/pipeline/` does.
struct Reader {
    reading: Reading,
    tokenizer: Arc<Tokenizer>,
    max_tokens: usize,
}

impl Reader {
    fn new(tokenizer: &Arc<Tokenizer>, thread: u64, seconds: u64) -> Self {
        let limits = Limits { document_bytes: 1 << 20, seconds, expansion: 100 };
        // One thread reads front matter. The other thread does not.
        let keep = if thread == 0 { vec!["lang".to_owned()] } else { Vec::new() };
        Reader {
            reading: Reading {
                fields: Fields { id: "id".into(), text: vec!["text".into()], keep },
                seen: Default::default(),
                encoding: None,
                wants_title: false,
                limits,
                workers: Workers::new(env!("CARGO_BIN_EXE_qwen3-index").into(), limits),
                ocr: None,
            },
            tokenizer: tokenizer.clone(),
            max_tokens: if thread == 0 { 48 } else { 512 },
        }
    }

    fn read(&self, path: &Path) -> Vec<Result<Document, Failure>> {
        let roots =
            Roots::new(&[path.to_owned()], Filter::new(&[], &[], false, false).unwrap(), false).unwrap();
        let mut results = Vec::new();
        let mut left: Vec<Found> = roots.documents(&self.reading).collect();
        left.reverse();
        while let Some(found) = left.pop() {
            match found {
                Found::Raw(raw) => {
                    let mut read = raw.read(&self.reading);
                    let attached =
                        read.as_mut().map(|document| mem::take(&mut document.attached)).unwrap_or_default();
                    left.extend(
                        attached.into_iter().rev().flat_map(|file| documents(file, false, &self.reading)),
                    );
                    results.push(read);
                }
                Found::Failed(failure) => results.push(Err(failure)),
                Found::Nothing(_) => {}
                found => panic!("left out: {found:?}"),
            }
        }
        results
    }

    /// Finds, reads and cleans an input.
    fn check(&self, path: &Path, input: &Input, twice: bool) -> Outcome {
        let results = self.read(path);
        let mut outcome = Outcome::default();
        for result in &results {
            match result {
                Ok(document) => {
                    outcome.documents += 1;
                    outcome.wrong.extend(self.wrong_in(document, input));
                }
                Err(Failure { cause, .. }) => {
                    outcome.failures += 1;
                    let is_lost =
                        matches!(cause, DocumentError::Crashed { .. } | DocumentError::TooSlow { .. });
                    outcome.wrong.extend(is_lost.then(|| cause.to_string()));
                }
            }
        }
        if twice && outcome.wrong.is_empty() && told(&results) != told(&self.read(path)) {
            outcome.wrong.push("not the same twice".to_owned());
        }
        outcome
    }

    fn wrong_in(&self, document: &Document, input: &Input) -> Option<String> {
        let may_have = document.repaired > 0
            || may_have_replacement(&input.bytes)
            || may_have_replacement(&input.content);
        if document.content.text().contains(char::REPLACEMENT_CHARACTER) && !may_have {
            return Some("a replacement character that was not there".to_owned());
        }
        let content = document.content.clean();
        if content.clean() != content || content.text() != clean(document.content.text()) {
            return Some("cleaned twice or without its blocks it is another text".to_owned());
        }
        let rules = ChunkRules::of_documents(self.max_tokens, usize::MAX);
        match chunk(&content, None, rules, &self.tokenizer) {
            Ok(chunks) if chunks.iter().any(|chunk| chunk.encoding.len() > self.max_tokens) => {
                Some("a chunk over the limit".to_owned())
            }
            Ok(_) => None,
            Err(e) => Some(e.to_string()),
        }
    }
}

/// The result of an input.
#[derive(Default)]
struct Outcome {
    documents: u64,
    failures: u64,
    wrong: Vec<String>,
}

/// Returns whether an input itself contains U+FFFD: in UTF-8, UTF-16 or GB18030, as an escape, or as an invalid character
/// reference, which becomes U+FFFD by the HTML standard.
fn may_have_replacement(bytes: &[u8]) -> bool {
    let own: [&[u8]; 6] = [b"\xEF\xBF\xBD", b"\xFF\xFD", b"\xFD\xFF", b"\x84\x31\xA4\x37", b"&#", b"\\u"];
    own.iter().any(|own| memmem::find(bytes, own).is_some())
}

/// Returns results as texts that can be compared.
fn told(results: &[Result<Document, Failure>]) -> Vec<String> {
    let tell = |result: &Result<Document, Failure>| match result {
        Ok(document) => format!("{document:?}"),
        Err(failure) => format!("{}: {}", failure.place, failure.cause),
    };
    results.iter().map(tell).collect()
}

/// The number of inputs of a kind, and the number of each result.
#[derive(Default)]
struct Tally {
    inputs: u64,
    documents: u64,
    failures: u64,
    findings: Vec<String>,
}

/// The state for all inputs of a kind.
struct Round<'a> {
    kind: &'a Kind,
    seed: u64,
    end: Instant,
    playground: &'a Playground,
    tally: Mutex<Tally>,
}

impl Round<'_> {
    fn run(&self, tokenizer: &Arc<Tokenizer>, first: u64) {
        let mut reader = Reader::new(tokenizer, first, DOCUMENT_SECONDS);
        if self.kind.name == "scans" {
            // Pages are drawn. The command fails, because a text would be kept in the cache of the user.
            reader.reading.ocr = Some(Ocr::new("false", reader.reading.limits).unwrap());
        }
        let reader = Arc::new(reader);
        for number in (first..).step_by(THREADS as usize) {
            if Instant::now() > self.end {
                return;
            }
            let input = self.kind.input(self.seed, number);
            let path = self.playground.path(&format!("{}-{number}.{}", self.kind.name, input.ending));
            fs::write(&path, &input.bytes).unwrap();
            let outcome = outcome(&reader, &path, input, number.is_multiple_of(TWICE));
            self.count(&path, &outcome);
            fs::remove_file(path).unwrap();
        }
    }

    fn count(&self, path: &Path, outcome: &Outcome) {
        let mut tally = self.tally.lock().unwrap();
        tally.inputs += 1;
        tally.documents += outcome.documents;
        tally.failures += outcome.failures;
        if let Some(first) = outcome.wrong.first() {
            tally.findings.push(format!("{}: {first}", self.keep(path)));
        }
    }

    /// Keeps the file of a finding, so that the finding can be reproduced. Returns the path of the copy.
    fn keep(&self, path: &Path) -> String {
        let folder = repository("target/fuzz");
        fs::create_dir_all(&folder).unwrap();
        let kept = folder.join(format!("{:x}-{}", self.seed, path.file_name().unwrap().display()));
        fs::copy(path, &kept).unwrap();
        kept.display().to_string()
    }
}

/// Checks an input on a separate thread, because the check may panic or never end.
fn outcome(reader: &Arc<Reader>, path: &Path, input: Input, twice: bool) -> Outcome {
    let (sender, receiver) = sync_channel(1);
    let (reader, path) = (reader.clone(), path.to_owned());
    let thread = thread::spawn(move || sender.send(reader.check(&path, &input, twice)));
    let wrong = match receiver.recv_timeout(Duration::from_secs(INPUT_SECONDS)) {
        Ok(outcome) => {
            thread.join().unwrap().unwrap();
            return outcome;
        }
        Err(RecvTimeoutError::Timeout) => format!("not done after {INPUT_SECONDS} seconds"),
        Err(RecvTimeoutError::Disconnected) => "a panic in this process".to_owned(),
    };
    Outcome { wrong: vec![wrong], ..Outcome::default() }
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn tokenizer() -> Arc<Tokenizer> {
    let path = repository("fixtures/qwen3-tiny/tokenizer.json");
    Arc::new(Tokenizer::load(&path, Some("<|endoftext|>")).unwrap())
}

#[test]
fn damaged_documents_cost_themselves_only() {
    let seed = setting("QWEN3_INDEX_FUZZ_SEED", 1);
    let seconds = setting("QWEN3_INDEX_FUZZ_SECONDS", SECONDS);
    let only: String = setting("QWEN3_INDEX_FUZZ_KIND", String::new());
    let tokenizer = tokenizer();
    let playground = Playground::new();
    let mut findings = Vec::new();
    for kind in kinds().iter().filter(|kind| only.is_empty() || kind.name == only) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let round = Round { kind, seed, end, playground: &playground, tally: Mutex::default() };
        thread::scope(|scope| {
            for first in 0..THREADS {
                let (round, tokenizer) = (&round, &tokenizer);
                scope.spawn(move || round.run(tokenizer, first));
            }
        });
        let tally = round.tally.into_inner().unwrap();
        let Tally { inputs, documents, failures, .. } = tally;
        println!(
            "fuzz: seed {seed}, {}: {inputs} inputs, {documents} documents, {failures} failures",
            kind.name
        );
        findings.extend(tally.findings);
    }
    assert!(findings.is_empty(), "seed {seed}, {} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The smallest form of each finding: only the damaged rows fail, and the next file is read.
#[test]
fn panics_of_the_library_parquet_are_failures() {
    let playground = Playground::new();
    let reader = Reader::new(&tokenizer(), 0, DOCUMENT_SECONDS);
    let read = |bytes: &[u8]| {
        playground.write("a.parquet", bytes);
        reader.read(&playground.path("a.parquet"))
    };
    let texts = |results: &[Result<Document, Failure>]| -> Vec<String> {
        results.iter().flatten().map(|document| document.content.text().to_owned()).collect()
    };
    for (at, byte, why) in PANICS_OF_PARQUET {
        let mut bytes = *SMALL_PARQUET;
        bytes[at] = byte;
        let results = read(&bytes);
        assert!(matches!(results.last(), Some(Err(_))), "{why}: {:?}", told(&results));
        assert_eq!(texts(&read(SMALL_PARQUET)), ["a", "a"]);
    }
}

/// For each new element, parsers of HTML and XML search all open elements, so a megabyte of open elements takes half a
/// minute. For each attribute, they search all attributes of the element. The time limit ends the parser, and only that document
/// fails.
#[test]
fn deep_elements_take_no_longer_than_a_document_may() {
    let playground = Playground::new();
    let reader = Reader::new(&tokenizer(), 0, 1);
    let deep = |open: &str| open.repeat((1 << 20) / open.len());
    let attributes: String = (0..100_000).map(|n| format!(" a{n}")).collect();
    for (ending, open, page) in [
        ("html", "<main>", deep("<main>")),
        ("html", "<div>", deep("<div>")),
        ("html", "<ul><li>", deep("<ul><li>")),
        ("html", "attributes", format!("<p{attributes}>")),
        ("xhtml", "<p>", deep("<p>")),
    ] {
        let (deep, next) = (format!("deep.{ending}"), format!("next.{ending}"));
        playground.write(&deep, page);
        playground.write(&next, "<html><body><p>text</p></body></html>");
        let start = Instant::now();
        let results = reader.read(&playground.path(&deep));
        assert!(start.elapsed() < Duration::from_secs(8), "{open}: {:?}", start.elapsed());
        let is_fair = |result: &Result<Document, Failure>| match result {
            Ok(_) => true,
            Err(failure) => matches!(failure.cause, DocumentError::TooSlow { seconds: 1 }),
        };
        assert!(results.iter().all(is_fair), "{open}: {:?}", told(&results));
        assert_eq!(reader.read(&playground.path(&next))[0].as_ref().unwrap().content.text().trim(), "text");
    }
}

/// The rules that find the main content look at each node of a page a few times, whatever the page is made of.
#[test]
fn the_main_content_of_a_hostile_page_is_found_in_time() {
    const SIZE: usize = 500_000;
    let repeat = |part: &str| part.repeat(SIZE / part.len());
    let playground = Playground::new();
    let reader = Reader::new(&tokenizer(), 0, 10);
    let deep = "<div class='related x'>".repeat(200) + "a" + &"</div>".repeat(200);
    for page in [
        format!("<div class='{}'>{}</div>", repeat("a b "), repeat("<p>a</p>")),
        format!("<script type='application/ld+json'>{}</script><p>a", repeat("[")),
        format!("<script type='application/ld+json'>[{}0]</script><p>a", repeat("{\"@type\":\"Article\"},")),
        repeat("<script type='application/ld+json'>{\"articleBody\":\"<p>a\"}</script>"),
        repeat("<script type='text/template'><p>a text that is long enough for a paragraph</p></script>"),
        repeat("<h2></h2><p>a<h2>x</h2><ul><li><a href=a>a headline of another page</a></ul>"),
        repeat("<table><tr><td>a</table>"),
        repeat("<div hidden>a</div>"),
        repeat(&deep),
    ] {
        playground.write("page.html", &page);
        let results = reader.read(&playground.path("page.html"));
        assert!(results[0].is_ok(), "{}: {:?}", &page[..60], told(&results));
    }
}
