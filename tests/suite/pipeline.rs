//! The real pipeline, with an engine that a test can slow down or break.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use ndarray::Array2;
use proptest::prelude::*;
use qwen3_index::console::{LogFormat, Reporter};
use qwen3_index::index::provenance::MoreColumns;
use qwen3_index::index::{Row, RowKind, Vector};
use qwen3_index::model::ModelFingerprint;
use qwen3_index::pipeline::journal::{Header, Journal};
use qwen3_index::pipeline::{self, ChunkStore, Engine, Job, OldOutput, Tally, Work};
use qwen3_index::source::{Fields, Filter, Found, Limits, Reading, Roots, Workers};
use qwen3_index::text::chunk::ChunkRules;
use qwen3_index::text::clean::clean;
use qwen3_index::text::tokenize::Tokenizer;
use qwen3_index::vector::batch::{Batch, Batching};
use qwen3_index::vector::embedder::{Embedder, OutOfMemory};
use qwen3_index::vector::embedding::Embedding;

use crate::make::{parquet, strings};
use crate::util::{Playground, jsonl, repository};

const WIDTH: usize = 32;

/// An engine that makes a different vector for each sequence of token ids, and records its batches.
#[derive(Clone)]
struct Fake {
    /// A text with this token id gets a vector of NaN.
    poison: Option<u32>,
    /// Whether the poison has no effect on a text that has a batch for itself.
    is_poison_weak: bool,
    /// Maximum number of tokens in a batch that fit into memory, padding included.
    memory_tokens: usize,
    batching: Batching,
    /// The engine fails after this many batches.
    batches_max: usize,
    /// Number of rows that the engine leaves out of each batch.
    rows_missing: usize,
    /// The time that a batch takes.
    time: Duration,
    /// The lengths of the texts of each batch so far.
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
    devices: usize,
    /// Makes each device wait with its first batch until every device has a batch.
    all_at_work: Option<Arc<Barrier>>,
}

impl Fake {
    fn new(batching: Batching) -> Self {
        Fake {
            poison: None,
            is_poison_weak: false,
            memory_tokens: usize::MAX,
            batching,
            batches_max: usize::MAX,
            rows_missing: 0,
            time: Duration::ZERO,
            batches: Arc::default(),
            devices: 1,
            all_at_work: None,
        }
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        self.batches.lock().unwrap().clone()
    }
}

fn vector(ids: &[i64], poison: Option<u32>) -> Vec<f32> {
    if ids.iter().any(|&id| poison.is_some_and(|poison| id == i64::from(poison))) {
        return vec![f32::NAN; WIDTH];
    }
    let mut state = 1u64;
    for &id in ids {
        state = state.wrapping_add(id as u64).wrapping_mul(6_364_136_223_846_793_005).rotate_left(17);
    }
    (0..WIDTH as u64)
        .map(|n| (state.wrapping_mul(2 * n + 1) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        .collect()
}

impl Embedder for Fake {
    fn width(&self) -> usize {
        WIDTH
    }

    fn batching(&self) -> Batching {
        self.batching
    }

    fn batch_tokens(&self) -> usize {
        2048
    }

    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
        if let Some(all) = self.all_at_work.take() {
            all.wait();
        }
        let mut batches = self.batches.lock().unwrap();
        if batches.len() == self.batches_max {
            bail!("the engine is out of order");
        }
        batches.push(batch.lengths());
        drop(batches);
        thread::sleep(self.time);
        if batch.padded_tokens() > self.memory_tokens {
            return Err(OutOfMemory.into());
        }
        let poison = self.poison.filter(|_| !self.is_poison_weak || batch.len() > 1);
        let ids = batch.ids();
        let rows = ids.rows().into_iter().zip(batch.lengths());
        let rows = rows.skip(self.rows_missing);
        let values: Vec<f32> =
            rows.flat_map(|(row, length)| vector(&row.to_vec()[..length], poison)).collect();
        Ok(Array2::from_shape_vec((values.len() / WIDTH, WIDTH), values).unwrap())
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&repository("fixtures/qwen3-tiny/tokenizer.json"), Some("<|endoftext|>")).unwrap()
}

fn run(texts: &[String], fake: &Fake, job: Job) -> anyhow::Result<(Tally, Vec<Row>)> {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    let roots = Roots::new(&[playground.path("in.jsonl")], filter(), false)?;
    let mut journal = journal(&playground)?;
    run_with(&mut journal, fake, Job { roots, ..job })
}

fn journal(playground: &Playground) -> anyhow::Result<Journal> {
    let model = ModelFingerprint { width: WIDTH, ..ModelFingerprint::default() };
    Ok(Journal::open(&playground.path("journal"), &Header::new(model, false), OpenOptions::new())?)
}

fn run_with(journal: &mut Journal, fake: &Fake, job: Job) -> anyhow::Result<(Tally, Vec<Row>)> {
    let (mut documents, mut work, mut rows) = (Tally::default(), Work::default(), Vec::new());
    let mut chunk_store = ChunkStore::new("chunks".into(), ModelFingerprint::default(), false);
    let engine = Engine {
        chunk_store: &mut chunk_store,
        load: &mut || Ok((0..fake.devices).map(|_| Box::new(fake.clone()) as Box<dyn Embedder>).collect()),
        journal,
        sink: &mut |made| {
            rows.extend(made);
            Ok(())
        },
        documents: &mut documents,
        work: &mut work,
    };
    pipeline::run(&Arc::new(job), engine, &Arc::new(Reporter::new(true, LogFormat::Text)))?;
    Ok((documents, rows))
}

pub fn reading() -> Reading {
    let limits = Limits { document_bytes: 1 << 20, seconds: 10, expansion: 100 };
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

pub fn filter() -> Filter {
    Filter::new(&[], &[], false, false).unwrap()
}

pub fn job(max_tokens: usize, batch_tokens: usize, rows: RowKind) -> Job {
    Job {
        roots: Roots::new(&[], filter(), false).unwrap(),
        reading: reading(),
        tokenizer: Box::new(|| Ok(tokenizer())),
        chunking: ChunkRules::of_documents(max_tokens, usize::MAX),
        columns: MoreColumns { rows, of_documents: Vec::new(), keep: Vec::new() },
        old_sizes: None,
        batch_tokens: Some(batch_tokens),
        rows,
        dim: WIDTH,
        shard: None,
        old: OldOutput::Absent,
        is_rebuild: false,
        allow_empty: true,
        allow_shrink: false,
        is_dry: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For any lengths, batches and failures, each row has the vector of its own text.
    #[test]
    fn a_vector_belongs_to_its_text(
        texts in proptest::collection::vec("([a-z]{1,8}[ .]|今天。|7){0,40}", 0..60),
        max_tokens in 17usize..80,
        batch_tokens in 1usize..400,
        alone in any::<bool>(),
    ) {
        let batching = if alone { Batching::Alone } else { Batching::EqualLengths };
        let tokenizer = tokenizer();
        // A digit is always a single token.
        let poison = tokenizer.encode("7").unwrap().ids()[0];
        let fake = Fake { poison: Some(poison), ..Fake::new(batching) };
        let (documents, rows) = run(&texts, &fake, job(max_tokens, batch_tokens, RowKind::Chunks)).unwrap();
        for row in &rows {
            let ids: Vec<i64> = tokenizer.encode(&row.text).unwrap().ids().iter().map(|&id| id.into()).collect();
            prop_assert_eq!(&row.vector, &Vector::New(Embedding::normalized(vector(&ids, None)).unwrap()));
        }
        let mut by_document: HashMap<usize, String> = HashMap::new();
        for row in &rows {
            let document = row.id.document.parse().unwrap();
            by_document.entry(document).or_default().push_str(&row.text.replace(' ', ""));
        }
        for (document, text) in texts.iter().enumerate() {
            let text = clean(text).replace(' ', "");
            let expected = if text.is_empty() || text.contains('7') { None } else { Some(text) };
            prop_assert_eq!(by_document.remove(&document), expected);
        }
        prop_assert!(documents.add_up() && documents.seen == texts.len() as u64);
        prop_assert!(fake.batches().iter().all(|batch| batch.len() == 1 || (!alone && batch.iter().sum::<usize>() <= batch_tokens)));
    }
}

#[test]
fn rows_are_in_the_order_of_the_documents() {
    let texts: Vec<String> = (0..9000).map(|n| "word ".repeat(1 + n * 7 % 13) + &n.to_string()).collect();
    let fake = Fake::new(Batching::AnyLengths);
    let (documents, rows) = run(&texts, &fake, job(64, 2048, RowKind::Documents)).unwrap();
    assert_eq!(documents.embedded, 9000);
    assert!(
        rows.iter()
            .enumerate()
            .all(|(at, row)| row.id.to_string() == at.to_string() && row.text == texts[at])
    );
}

#[test]
fn equal_lengths_go_through_the_model_together() {
    let texts: Vec<String> = (0..400).map(|n| format!("{}{}", "a".repeat(1 + n % 9), n % 10)).collect();
    let fake = Fake::new(Batching::AnyLengths);
    run(&texts, &fake, job(64, 2048, RowKind::Documents)).unwrap();
    assert!(fake.batches().len() <= 10, "{:?}", fake.batches());
    assert!(fake.batches().iter().all(|batch| batch.windows(2).all(|pair| pair[0] == pair[1])));
}

#[test]
fn an_engine_that_fails_ends_the_run_with_its_own_message() {
    let texts: Vec<String> = (0..3000).map(|n| "a ".repeat(1 + n % 100)).collect();
    let fake = Fake { batches_max: 3, ..Fake::new(Batching::AnyLengths) };
    let error = run(&texts, &fake, job(128, 128, RowKind::Documents)).unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains("in.jsonl:") && said.ends_with(": cannot be embedded: the engine is out of order"),
        "{said}"
    );
}

/// Returns texts of 1 to 40 words and their vectors.
fn texts_and_vectors() -> (Vec<String>, Vec<Vector>) {
    let texts: Vec<String> = (0..2000).map(|n| format!("{}{n}", "a ".repeat(n % 40))).collect();
    let tokenizer = tokenizer();
    let ids = |text: &String| {
        tokenizer.encode(text).unwrap().ids().iter().map(|&id| id.into()).collect::<Vec<i64>>()
    };
    let vectors = texts.iter().map(|text| Embedding::normalized(vector(&ids(text), None)).unwrap());
    let vectors = vectors.map(Vector::New).collect();
    (texts, vectors)
}

#[test]
fn several_devices_work_on_one_queue() {
    let (texts, vectors) = texts_and_vectors();
    let mut fake = Fake::new(Batching::AnyLengths);
    (fake.devices, fake.all_at_work) = (3, Some(Arc::new(Barrier::new(3))));
    let (documents, rows) = run(&texts, &fake, job(128, 256, RowKind::Documents)).unwrap();
    assert_eq!(documents.embedded, 2000);
    assert!(rows.into_iter().map(|row| row.vector).eq(vectors));

    let broken = Fake {
        batches_max: 10,
        time: Duration::from_millis(20),
        all_at_work: None,
        batches: Arc::default(),
        ..fake
    };
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    let roots = Roots::new(&[playground.path("in.jsonl")], filter(), false).unwrap();
    let mut kept = journal(&playground).unwrap();
    let error = run_with(&mut kept, &broken, Job { roots, ..job(128, 256, RowKind::Documents) }).unwrap_err();
    assert!(format!("{error:#}").ends_with("the engine is out of order"), "{error:#}");
    drop(kept);
    let made: usize = broken.batches().iter().map(Vec::len).sum();
    assert_eq!(journal(&playground).unwrap().resumed(), made, "the vectors of the other devices are kept");
}

#[test]
fn batches_that_do_not_fit_into_memory_are_halved_down_to_one_text() {
    let (texts, vectors) = texts_and_vectors();
    let fake = Fake { memory_tokens: 70, ..Fake::new(Batching::AnyLengths) };
    let (documents, rows) = run(&texts, &fake, job(128, 2048, RowKind::Documents)).unwrap();
    assert_eq!(documents.embedded, 2000);
    assert!(rows.into_iter().map(|row| row.vector).eq(vectors));
    let padded = |batch: &Vec<usize>| batch.iter().max().unwrap() * batch.len();
    let too_large = fake.batches().iter().filter(|batch| padded(batch) > 70).count();
    assert!(too_large <= 6, "{too_large} batches were too large");

    let tiny = Fake { memory_tokens: 30, ..Fake::new(Batching::AnyLengths) };
    let (documents, rows) = run(&texts, &tiny, job(128, 2048, RowKind::Documents)).unwrap();
    assert!(documents.add_up() && documents.failed > 0 && documents.embedded > 0);
    let tokenizer = tokenizer();
    let failed: Vec<&String> =
        texts.iter().filter(|text| tokenizer.encode(text).unwrap().len() > 30).collect();
    assert_eq!(failed.len() as u64, documents.failed);
    assert!(rows.iter().all(|row| !failed.contains(&&row.text)));
}

#[test]
fn a_vector_that_is_not_finite_is_tried_again_alone() {
    let texts: Vec<String> = (0..90).map(|n| format!("a {n}")).collect();
    let poison = Some(tokenizer().encode("7").unwrap().ids()[0]);
    let fake = Fake { poison, is_poison_weak: true, ..Fake::new(Batching::AnyLengths) };
    let (documents, _) = run(&texts, &fake, job(64, 2048, RowKind::Documents)).unwrap();
    assert_eq!((documents.embedded, documents.failed), (90, 0));
    let strong = Fake { is_poison_weak: false, ..fake };
    let (documents, _) = run(&texts, &strong, job(64, 2048, RowKind::Documents)).unwrap();
    assert_eq!((documents.embedded, documents.failed), (90 - 18, 18));
}

#[test]
#[should_panic(expected = "one row per chunk")]
fn an_engine_that_returns_too_few_rows_is_a_bug_and_panics() {
    let fake = Fake { rows_missing: 1, ..Fake::new(Batching::AnyLengths) };
    let _ = run(&["text".to_owned()], &fake, job(64, 2048, RowKind::Documents));
}

/// Other programs may change files between the walk and the reading.
#[test]
fn a_file_may_vanish_or_grow_before_it_is_read() {
    let playground = Playground::new();
    for name in ["a.txt", "b.txt", "c.txt"] {
        playground.write(&format!("docs/{name}"), "text");
    }
    let (roots, reading) = (Roots::new(&[playground.path("docs")], filter(), false).unwrap(), reading());
    let found: Vec<Found> = roots.documents(&reading).collect();
    std::fs::remove_file(playground.path("docs/a.txt")).unwrap();
    playground.write("docs/b.txt", "text that has grown");
    let read: Vec<_> = found
        .into_iter()
        .map(|found| match found {
            Found::Raw(raw) => raw
                .read(&reading)
                .map(|document| document.content.into_text())
                .map_err(|failure| failure.place),
            other => panic!("{other:?}"),
        })
        .collect();
    let gone = playground.path("docs/a.txt").display().to_string();
    assert_eq!(read, [Err(gone), Ok("text that has grown".into()), Ok("text".into())]);
}

/// The time left is estimated from the progress.
#[test]
fn rows_of_a_table_share_its_progress() {
    let texts: Vec<String> = (0..1000).map(|n| format!("text {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let playground = Playground::new().with("in.parquet", parquet(&[("text", strings(&texts))]));
    let roots = Roots::new(&[playground.path("in.parquet")], filter(), false).unwrap();
    let reading = reading();
    let progress = roots.documents(&reading).filter_map(|found| match found {
        Found::Raw(raw) => Some(raw.progress()),
        _ => None,
    });
    let progress: Vec<u64> = progress.collect();
    let size = roots.total_bytes().unwrap();
    assert_eq!((progress.len(), progress.iter().sum::<u64>()), (1000, size));
    assert!(progress.iter().all(|&bytes| bytes.abs_diff(size / 1000) <= 1), "{progress:?}");
}
