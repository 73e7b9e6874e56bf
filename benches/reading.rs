//! Measures how fast the tool and the bare libraries read the same documents. `scripts/bench/reading` runs it.
//!
//! Prints a Markdown table of speeds per CPU second of this process and its workers, on one thread. Each figure is the
//! median of five runs. A run reads all documents of a format repeatedly, for at least [`SECONDS_PER_RUN`].

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark panics to fail, and prints its table.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use hayro_interpret::font::GlyphRun;
use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::kurbo::{Affine, BezPath, Rect};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, interpret_page,
};
use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::RcDom;
use ndarray::Array2;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::Type;
use qwen3_index::console::{LogFormat, Reporter};
use qwen3_index::index::provenance::MoreColumns;
use qwen3_index::index::{Fingerprint, INDEX, IndexWriter, Metadata, RowKind, VectorType};
use qwen3_index::model::ModelFingerprint;
use qwen3_index::pipeline::journal::{Header, Journal};
use qwen3_index::pipeline::{self, ChunkStore, Engine, Job, OldOutput, Tally, Work};
use qwen3_index::source::{Document, Fields, Filter, Found, Limits, Reading, Roots, Workers};
use qwen3_index::storage::place::Place;
use qwen3_index::text::chunk::{ChunkBy, ChunkContext, ChunkRules, chunk};
use qwen3_index::text::clean::clean;
use qwen3_index::text::tokenize::Tokenizer;
use qwen3_index::vector::batch::{Batch, Batching};
use qwen3_index::vector::embedder::Embedder;
use serde_json::{Value, json};
use zip::ZipArchive;

use crate::support::{argument, cpu_seconds, files, json_lines, repository};

/// Bytes and documents after which the corpus of a format ends.
const CORPUS_BYTES: usize = 10 << 20;
const CORPUS_DOCUMENTS: usize = 4000;

/// Number of workbooks. Each of them has a worker of its own.
const SHEETS: usize = 200;

/// The largest real document in bytes, so that no single one dominates its corpus.
const DOCUMENT_BYTES: u64 = 512 << 10;

/// Dimensions of a vector, as many as Qwen3-Embedding-0.6B has.
const WIDTH: usize = 1024;

/// Tokens per batch.
const BATCH_TOKENS: usize = 8192;

/// Tokens per chunk at most, the default of the tool.
const MAX_TOKENS: usize = 2048;

const RUNS: usize = 5;
const SECONDS_PER_RUN: f64 = 0.4;

/// Does the least work by which a library gets the text of a file.
type Bare = fn(&Path);

/// A folder with documents of one format.
struct Corpus {
    name: &'static str,
    folder: PathBuf,
    bare: Bare,
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    // scripts/bench/tokenizer makes it.
    let path = repository("target/bench/tokenizer.json");
    let tokenizers = Tokenizers { bare: tokenizers::Tokenizer::from_file(&path).unwrap(), path };
    println!("tokenizer: {} tokens", tokenizers.ours().vocabulary());
    println!(
        "| format | documents | MB | KB each | read MB/s | bare | ratio | whole MB/s | bare | ratio | M characters/s | k tokens/s | to rows |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for corpus in corpora(folder.path(), &argument()) {
        println!("{}", measure(&corpus, &tokenizers, folder.path()));
    }
}

struct Tokenizers {
    path: PathBuf,
    bare: tokenizers::Tokenizer,
}

impl Tokenizers {
    /// Loads a tokenizer with an empty cache, as each run of the tool does.
    fn ours(&self) -> Tokenizer {
        Tokenizer::load(&self.path, Some("<|endoftext|>")).unwrap()
    }
}

fn measure(corpus: &Corpus, tokenizers: &Tokenizers, scratch: &Path) -> String {
    let Corpus { name, folder, bare } = corpus;
    let files = files(folder);
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let mut texts = Vec::new();
    let mut failed = 0;
    read(folder, |document| match document {
        Some(document) => texts.push(clean(document.content.text())),
        None => failed += 1,
    });
    let ours = tokenizers.ours();
    for text in &texts {
        let bare = tokenizers.bare.encode_fast(text.as_str(), true).unwrap();
        assert_eq!(ours.encode(text).unwrap().ids(), bare.get_ids());
    }
    let mut tokens = 0;
    let reading = seconds(|| read(folder, |document| drop(black_box(document))));
    let bare_reading = seconds(|| files.iter().for_each(|file| bare(file)));
    let whole = seconds_with(
        || tokenizers.ours(),
        |ours| {
            tokens = 0;
            read(folder, |document| tokens += document.map_or(0, |document| prepare(&document, &ours)));
        },
    );
    let bare_whole = seconds(|| {
        files.iter().for_each(|file| bare(file));
        for text in &texts {
            black_box(tokenizers.bare.encode_fast(text.as_str(), true).unwrap());
        }
    });
    let to_rows = seconds_with(|| tokenizers.ours(), |ours| build(scratch, folder, ours));
    let megabytes = bytes as f64 / 1e6;
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let documents = texts.len() + failed;
    let mut row = format!("| {name} | {documents}");
    if failed > 0 {
        write!(row, " ({failed} failed)").unwrap();
    }
    write!(row, " | {megabytes:.1} | {:.1}", megabytes * 1e3 / documents as f64).unwrap();
    for (ours, bare) in [(reading, bare_reading), (whole, bare_whole)] {
        write!(row, " | {:.1} | {:.1} | {:.2}", megabytes / ours, megabytes / bare, bare / ours).unwrap();
    }
    write!(row, " | {:.2} | {:.0}", characters as f64 / 1e6 / whole, tokens as f64 / 1e3 / whole).unwrap();
    write!(row, " | {:.0} |", tokens as f64 / 1e3 / to_rows).unwrap();
    row
}

/// Does what `src/pipeline/prepare.rs` does with a document. Returns how many tokens it has.
fn prepare(document: &Document, tokenizer: &Tokenizer) -> usize {
    let chunks =
        chunk(&document.content.clean(), None, ChunkRules::of_documents(MAX_TOKENS, usize::MAX), tokenizer)
            .unwrap();
    chunks.iter().map(|chunk| chunk.encoding.len()).sum()
}

fn columns() -> MoreColumns {
    MoreColumns { rows: RowKind::Documents, of_documents: Vec::new(), keep: Vec::new() }
}

/// A model that takes no time.
struct NoModel;

impl Embedder for NoModel {
    fn width(&self) -> usize {
        WIDTH
    }

    fn batching(&self) -> Batching {
        Batching::EqualLengths
    }

    fn batch_tokens(&self) -> usize {
        BATCH_TOKENS
    }

    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
        Ok(Array2::ones((batch.len(), WIDTH)))
    }
}

/// Runs everything but the model, from the documents of a folder to an index.
fn build(scratch: &Path, folder: &Path, tokenizer: Tokenizer) {
    let output = scratch.join("out.parquet");
    let _ = fs::remove_file(&output);
    let place = Place::new("output", &output, &INDEX).unwrap();
    let fingerprint = fingerprint();
    let header = Header::new(fingerprint.model.clone(), true);
    let mut journal = Journal::open(&scratch.join("journal"), &header, OpenOptions::new()).unwrap();
    let metadata = Metadata {
        tool: String::new(),
        model_file: String::new(),
        model: None,
        quality: None,
        fingerprint,
        stale: 0,
        outdated: Vec::new(),
        shard: None,
    };
    let mut writer = IndexWriter::new(&place, None, metadata, &columns());
    let (mut documents, mut work) = (Tally::default(), Work::default());
    let mut chunk_store = ChunkStore::new(PathBuf::new(), ModelFingerprint::default(), false);
    let engine = Engine {
        chunk_store: &mut chunk_store,
        load: &mut || Ok(vec![Box::new(NoModel) as Box<dyn Embedder>]),
        journal: &mut journal,
        sink: &mut |rows| writer.push(rows),
        documents: &mut documents,
        work: &mut work,
    };
    let job = Job {
        roots: Roots::new(&[folder.to_owned()], filter(), false).unwrap(),
        reading: reading(),
        tokenizer: Box::new(move || Ok(tokenizer.clone())),
        chunking: ChunkRules::of_documents(MAX_TOKENS, usize::MAX),
        columns: columns(),
        old_sizes: None,
        batch_tokens: Some(BATCH_TOKENS),
        rows: RowKind::Documents,
        dim: WIDTH,
        shard: None,
        old: OldOutput::Absent,
        allow_empty: false,
        allow_shrink: false,
        is_rebuild: false,
        is_dry: false,
    };
    pipeline::run(&Arc::new(job), engine, &Arc::new(Reporter::new(true, LogFormat::Text))).unwrap();
    writer.publish(None, 0, Vec::new()).unwrap();
    journal.remove().unwrap();
}

/// Describes the vectors of [`NoModel`]; nothing here reads it.
fn fingerprint() -> Fingerprint {
    Fingerprint {
        model: ModelFingerprint { width: WIDTH, ..ModelFingerprint::default() },
        dim: WIDTH,
        instruction: None,
        prompt: None,
        max_tokens: MAX_TOKENS,
        rows: RowKind::Documents,
        extraction: 0,
        cleaning: 0,
        whole_pages: false,
        scans: false,
        chunking: 0,
        chunk_by: ChunkBy::default(),
        overlap: 0,
        context: ChunkContext::default(),
        vector_type: VectorType::default(),
    }
}

fn filter() -> Filter {
    Filter::new(&[], &[], false, false).unwrap()
}

/// Returns settings for reading, with worker processes that end when the value is dropped.
fn reading() -> Reading {
    let limits = Limits { document_bytes: 256 << 20, seconds: 60, expansion: 100 };
    Reading {
        fields: Fields { id: "id".into(), text: vec!["text".into()], keep: Vec::new() },
        seen: Default::default(),
        encoding: None,
        wants_title: false,
        limits,
        workers: Workers::new(env!("CARGO_BIN_EXE_qwen3-index").into(), limits),
        ocr: None,
    }
}

/// Reads every document below a folder, `None` for a failure. The workers end before it returns, so that their CPU time counts.
fn read(folder: &Path, mut take: impl FnMut(Option<Document>)) {
    let reading = reading();
    let roots = Roots::new(&[folder.to_owned()], filter(), false).unwrap();
    for found in roots.documents(&reading) {
        match found {
            Found::Raw(raw) => take(raw.read(&reading).ok()),
            Found::Failed(_) => take(None),
            Found::LeftOut(_) | Found::Ignored(_) | Found::Nothing(_) => {}
        }
    }
}

/// Returns the CPU seconds that some work takes.
fn seconds(mut what: impl FnMut()) -> f64 {
    seconds_with(|| (), |()| what())
}

/// Returns the CPU seconds of work on a value. `ready` makes the value before each run, which does not count.
fn seconds_with<T>(mut ready: impl FnMut() -> T, mut what: impl FnMut(T)) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let (mut spent, mut times) = (0.0, 0.0);
            while spent < SECONDS_PER_RUN {
                let ready = ready();
                let start = cpu_seconds();
                what(ready);
                spent += cpu_seconds() - start;
                times += 1.0;
            }
            spent / times
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

/// Writes the documents of every format with `wanted` in its name.
fn corpora(scratch: &Path, wanted: &str) -> Vec<Corpus> {
    let mut corpora = Vec::new();
    let mut add =
        |name: &'static str, extension: &str, contents: &mut dyn Iterator<Item = Vec<u8>>, bare: Bare| {
            if !name.contains(wanted) {
                return;
            }
            let folder = scratch.join(name);
            fs::create_dir(&folder).unwrap();
            let mut bytes = 0;
            for (number, content) in contents.enumerate().take(CORPUS_DOCUMENTS) {
                fs::write(folder.join(format!("{number}.{extension}")), &content).unwrap();
                bytes += content.len();
                if bytes > CORPUS_BYTES {
                    break;
                }
            }
            if bytes > 0 {
                corpora.push(Corpus { name, folder, bare });
            }
        };
    let rotated = |extension| varied(fixtures(extension), rotate_lines);
    let repeated = |extension| varied(fixtures(extension), |bytes, _| bytes.to_vec());
    let chinese = || fixtures("txt").into_iter().filter(|(path, _)| path.contains("zh/"));
    let gbk = chinese().map(|(_, text)| encoding_rs::GBK.encode(&utf8(&text)).0.into_owned()).collect();
    let texts = fixtures("txt").into_iter().map(|(_, text)| utf8(&text).into_bytes()).collect();
    add("text UTF-8", "txt", &mut varied_of(texts, rotate_lines), bare_text);
    add("text UTF-8, real", "txt", &mut tree(system_documents(), &["copyright", "README"]), bare_text);
    add("text GBK", "txt", &mut varied_of(gbk, rotate_lines), bare_gbk);
    add("Markdown", "md", &mut rotated("md"), bare_markdown);
    add("Markdown, real", "md", &mut tree(cargo_sources(), &[".md"]), bare_markdown);
    add("HTML", "html", &mut repeated("html"), bare_html);
    add("HTML, real", "html", &mut tree(rust_documents(), &[".html"]), bare_html);
    add("PDF", "pdf", &mut repeated("pdf"), bare_pdf);
    add("DOCX", "docx", &mut repeated("docx"), bare_docx);
    add("PPTX", "pptx", &mut repeated("pptx"), bare_pptx);
    add("ODT", "odt", &mut repeated("odt"), bare_odf);
    add("ODP", "odp", &mut repeated("odp"), bare_odf);
    add("EPUB", "epub", &mut repeated("epub"), bare_epub);
    add("reStructuredText", "rst", &mut rotated("rst"), bare_text);
    add("AsciiDoc", "adoc", &mut rotated("adoc"), bare_text);
    add("Org", "org", &mut rotated("org"), bare_text);
    add("LaTeX", "tex", &mut rotated("tex"), bare_text);
    add("notebooks", "ipynb", &mut repeated("ipynb"), bare_json);
    add("subtitles", "srt", &mut repeated("srt"), bare_text);
    add("XML", "xml", &mut repeated("xml"), bare_xml);
    add("XLSX", "xlsx", &mut repeated("xlsx").take(SHEETS), bare_excel);
    add("XLS", "xls", &mut repeated("xls").take(SHEETS), bare_excel);
    add("ODS", "ods", &mut repeated("ods").take(SHEETS), bare_ods);
    add("EML", "eml", &mut repeated("eml"), bare_mail);
    add("MBOX", "mbox", &mut [mailbox()].into_iter(), bare_text);
    add("RTF", "rtf", &mut repeated("rtf"), bare_text);
    let rows = rows();
    add("JSON", "json", &mut [json_array(&rows)].into_iter(), bare_json);
    add("JSONL", "jsonl", &mut [jsonl(&rows)].into_iter(), bare_jsonl);
    add("CSV", "csv", &mut [csv(&rows)].into_iter(), bare_csv);
    add("Parquet", "parquet", &mut [parquet(&rows)].into_iter(), bare_parquet);
    corpora
}

/// Returns paths and contents of the files in fixtures/corpus with an extension.
fn fixtures(extension: &str) -> Vec<(String, Vec<u8>)> {
    let paths = files(&repository("fixtures/corpus")).into_iter();
    let named = paths.filter(|path| path.extension().is_some_and(|other| other == extension));
    named.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

fn varied(files: Vec<(String, Vec<u8>)>, vary: fn(&[u8], usize) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    varied_of(files.into_iter().map(|(_, bytes)| bytes).collect(), vary)
}

/// Returns the files again and again, changed a little more in each round.
fn varied_of(files: Vec<Vec<u8>>, vary: fn(&[u8], usize) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    (0..).map(move |n| vary(&files[n % files.len()], n / files.len()))
}

/// Moves the first lines behind the last.
fn rotate_lines(text: &[u8], by: usize) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    let by = by % lines.len();
    lines.rotate_left(by);
    lines.concat()
}

/// Decodes a text of fixtures/corpus, which is UTF-8, UTF-16 or GBK.
fn utf8(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if bytes.starts_with(b"\xFF\xFE") => encoding_rs::UTF_16LE.decode(bytes).0.into_owned(),
        Err(_) => encoding_rs::GBK.decode(bytes).0.into_owned(),
    }
}

/// Returns an evenly spread sample of the files below a folder that end in one of these texts. Empty without the folder.
fn tree(folder: PathBuf, endings: &[&str]) -> impl Iterator<Item = Vec<u8>> {
    let mut found = files(&folder);
    found.retain(|path| endings.iter().any(|ending| path.as_os_str().to_string_lossy().ends_with(ending)));
    found.retain(|path| fs::metadata(path).is_ok_and(|file| (200..DOCUMENT_BYTES).contains(&file.len())));
    let step = (found.len() / CORPUS_DOCUMENTS).max(1);
    found.into_iter().step_by(step).filter_map(|path| fs::read(path).ok())
}

fn system_documents() -> PathBuf {
    "/usr/share/doc".into()
}

fn rust_documents() -> PathBuf {
    let output = std::process::Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Path::new(&sysroot.unwrap_or_default()).join("share/doc/rust/html")
}

fn cargo_sources() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).unwrap_or_default();
    home.join("registry/src")
}

/// A row of the tabular formats, with a text of fixtures/corpus.
struct Row {
    id: String,
    text: String,
    stars: i64,
    lang: &'static str,
}

fn rows() -> Vec<Row> {
    let texts: Vec<BTreeMap<String, Value>> = json_lines("fixtures/expected.jsonl");
    let texts = texts.iter().map(|row| row["text"].as_str().unwrap()).filter(|text| text.len() < 4000);
    let texts: Vec<&str> = texts.collect();
    let mut rows = Vec::new();
    let mut bytes = 0;
    while bytes < CORPUS_BYTES {
        let n = rows.len();
        let text = format!("{n}: {}", texts[n % texts.len()].replace(". ", ".\n"));
        bytes += text.len();
        rows.push(Row { id: format!("row-{n:06}"), text, stars: n as i64 % 5, lang: "en" });
    }
    rows
}

fn jsonl(rows: &[Row]) -> Vec<u8> {
    let line = |row: &Row| {
        let Row { id, text, stars, lang } = row;
        json!({"id": id, "text": text, "stars": stars, "meta": {"lang": lang, "tags": ["a", "b"]}})
            .to_string()
            + "\n"
    };
    rows.iter().map(line).collect::<String>().into_bytes()
}

fn json_array(rows: &[Row]) -> Vec<u8> {
    let lines = String::from_utf8(jsonl(rows)).unwrap();
    format!("[{}]", lines.trim_end().replace('\n', ",\n")).into_bytes()
}

/// Returns a mailbox of the messages in fixtures/corpus, repeated.
fn mailbox() -> Vec<u8> {
    let mails = fixtures("eml");
    let mut mailbox = Vec::new();
    while mailbox.len() < CORPUS_BYTES {
        for (_, mail) in &mails {
            mailbox.extend_from_slice(b"From - Mon Mar 02 08:15:00 2026\n");
            mailbox.extend_from_slice(mail);
            mailbox.extend_from_slice(b"\n\n");
        }
    }
    mailbox
}

fn csv(rows: &[Row]) -> Vec<u8> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "text", "stars", "lang"]).unwrap();
    for Row { id, text, stars, lang } in rows {
        writer.write_record([id, text, &stars.to_string(), *lang]).unwrap();
    }
    writer.into_inner().unwrap()
}

fn parquet(rows: &[Row]) -> Vec<u8> {
    let strings =
        |of: fn(&Row) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let stars = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.stars))) as ArrayRef;
    let columns = [
        ("id", strings(|row| &row.id)),
        ("text", strings(|row| &row.text)),
        ("stars", stars),
        ("lang", strings(|row| row.lang)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn bare_text(path: &Path) {
    black_box(encoding_rs::UTF_8.decode(&fs::read(path).unwrap()));
}

fn bare_gbk(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes, true);
    black_box(detector.guess(None, Utf8Detection::Deny).decode(&bytes));
}

fn bare_markdown(path: &Path) {
    use pulldown_cmark::{Options, Parser};
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let bytes = fs::read(path).unwrap();
    let source = String::from_utf8_lossy(&bytes);
    Parser::new_ext(&source, options).for_each(|event| drop(black_box(event)));
}

fn bare_html(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let source = String::from_utf8_lossy(&bytes);
    black_box(html5ever::parse_document(RcDom::default(), Default::default()).one(&*source));
}

fn bare_pdf(path: &Path) {
    let file = Pdf::new(fs::read(path).unwrap()).unwrap();
    let cache = InterpreterCache::new();
    for page in file.pages().iter() {
        let (width, height) = page.render_dimensions();
        let shown = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
        let start = Affine::new(page.initial_transform(true).as_coeffs());
        let mut context = Context::new(start, shown, &cache, page.xref(), InterpreterSettings::default());
        interpret_page(page, &mut context, &mut Nothing);
    }
}

/// A device that draws nothing.
struct Nothing;

impl<'a> Device<'a> for Nothing {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, _: DrawProps<'a>, _: &DrawMode) {
        black_box(run.glyphs());
    }
    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_clip_rect(&mut self, _: &Rect) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}

/// Parses the text, and the styles that mark headings.
fn bare_docx(path: &Path) {
    bare_package(path, |part| matches!(part, "word/styles.xml" | "word/document.xml"));
}

/// Parses the slides, and the layouts that they inherit from.
fn bare_pptx(path: &Path) {
    bare_package(path, |part| part.starts_with("ppt/slide") && part.ends_with(".xml"));
}

fn bare_odf(path: &Path) {
    bare_package(path, |part| matches!(part, "styles.xml" | "content.xml"));
}

/// Parses the parts of a package whose names are wanted.
fn bare_package(path: &Path, is_wanted: fn(&str) -> bool) {
    let mut archive = ZipArchive::new(Cursor::new(fs::read(path).unwrap())).unwrap();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        if is_wanted(&part.name().unwrap()) {
            let mut xml = String::new();
            part.read_to_string(&mut xml).unwrap();
            black_box(roxmltree::Document::parse(&xml).unwrap());
        }
    }
}

/// Parses the pages of a book.
fn bare_epub(path: &Path) {
    let mut archive = ZipArchive::new(Cursor::new(fs::read(path).unwrap())).unwrap();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        if part.name().unwrap().ends_with(".xhtml") {
            let mut page = String::new();
            part.read_to_string(&mut page).unwrap();
            black_box(html5ever::parse_document(RcDom::default(), Default::default()).one(&*page));
        }
    }
}

fn bare_json(path: &Path) {
    black_box(serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap());
}

fn bare_xml(path: &Path) {
    let source = fs::read_to_string(path).unwrap();
    let mut reader = quick_xml::Reader::from_str(&source);
    while !matches!(black_box(reader.read_event().unwrap()), quick_xml::events::Event::Eof) {}
}

fn bare_jsonl(path: &Path) {
    for line in BufReader::new(File::open(path).unwrap()).split(b'\n') {
        black_box(serde_json::from_slice::<Value>(&line.unwrap()).unwrap());
    }
}

fn bare_excel(path: &Path) {
    use calamine::Reader;
    black_box(calamine::open_workbook_auto(path).unwrap().worksheets());
}

/// Parses the cells.
fn bare_ods(path: &Path) {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(archive.by_name("content.xml").unwrap()));
    let mut buffer = Vec::new();
    while !matches!(black_box(reader.read_event_into(&mut buffer).unwrap()), quick_xml::events::Event::Eof) {
        buffer.clear();
    }
}

fn bare_mail(path: &Path) {
    let bytes = fs::read(path).unwrap();
    black_box(mail_parser::MessageParser::default().parse(&bytes));
}

fn bare_csv(path: &Path) {
    for record in ::csv::Reader::from_path(path).unwrap().byte_records() {
        black_box(record.unwrap());
    }
}

/// Reads the two columns that the tool reads.
fn bare_parquet(path: &Path) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema();
    let wanted = schema.get_fields()[..2].to_vec();
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build().unwrap();
    for row in reader.get_row_iter(Some(projection)).unwrap() {
        black_box(row.unwrap());
    }
}
