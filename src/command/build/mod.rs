//! `build`: documents in, one Parquet file out.

mod report;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::cli::BuildArguments;
use crate::command::advice::explained;
use crate::command::process::{Exit, TOOL, listen};
use crate::command::setup::target::Target;
use crate::command::setup::{inputs, model, output};
use crate::console::{DecimalBytes, HumanCount, LogFormat, Reporter, human_seconds, now, tokens_per_second};
use crate::index::{
    DELTA, INDEX, IndexFile, IndexWriter, Metadata, OPERATION, Old, RowKind, Unusable, Written,
};
use crate::model::{LoadedModel, Model, Resources, Texts};
use crate::pipeline::journal::{Header, Journal};
use crate::pipeline::{self, Engine, Job};
use crate::source::{Reading, Roots};
use crate::storage::object::Stores;
use crate::storage::place::{FileKind, Place};
use crate::vector::embedder::Embedder;
use report::{Report, RowCounts, Seconds, peak_memory};

const REPORT: FileKind = FileKind { name: "JSON", magic: b"{", is_kept: false };

/// A file that belongs to an output while a run is at work, or was interrupted.
const JOURNAL: &str = "journal";

pub fn run(arguments: BuildArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let reporter = Arc::new(Reporter::new(arguments.quiet, format).explaining(explained));
    let mut report = Report {
        format: 1,
        tool: TOOL,
        started: now(),
        output: arguments.output.display().to_string(),
        shard: arguments.reading.shard,
        dry_run: arguments.dry_run,
        ..Report::default()
    };
    output::check_files(
        &arguments.reading.inputs,
        &[
            ("-o", Some(&arguments.output)),
            ("--delta", arguments.delta.as_ref()),
            ("--report", arguments.report.as_ref()),
        ],
    )?;
    listen(format)?;
    let mut stores = Stores::new(arguments.reading.endpoint.as_deref(), reporter.clone());
    let target = |path: &PathBuf| Target::new("--report", path, &REPORT, &mut stores)?.look();
    let target = arguments.report.as_ref().map(target).transpose()?;
    let place = target.as_ref().map(Target::place).transpose()?;
    let result = build(&arguments, &mut stores, &reporter, &mut report);
    reporter.finish();
    // The run that holds the output has its own report to write.
    let place = place.filter(|_| !matches!(&result, Err(e) if Exit::of(e) == Exit::Held));
    let Some(place) = place else { return result };
    let exit = result.as_ref().map_or_else(Exit::of, |&exit| exit);
    report.exit_code = exit as u8;
    report.error = result.as_ref().err().map(|e| format!("{e:#}"));
    report.seconds.total = started.elapsed().as_secs_f64();
    report.peak_memory_bytes = peak_memory();
    (report.failures, report.stale) = reporter.take_names();
    // The run has come to its end, good or bad, whether that can be written down or not.
    let written = write_report(&place, &report);
    if let Err(e) = written.and_then(|()| target.map_or(Ok(()), |target| target.upload(reporter.format()))) {
        reporter.warn(&format!("{e:#}"));
    }
    result
}

fn write_report(place: &Place, report: &Report) -> anyhow::Result<()> {
    place.clean()?;
    let mut file = place.temporary()?;
    let text = serde_json::to_string_pretty(report)? + "\n";
    file.as_file_mut().write_all(text.as_bytes()).map_err(|e| place.cannot_write(&e))?;
    place.put(file).map(drop)
}

fn build(
    arguments: &BuildArguments,
    stores: &mut Stores,
    reporter: &Arc<Reporter>,
    report: &mut Report,
) -> anyhow::Result<Exit> {
    let roots = inputs::roots(&arguments.reading, arguments.allow_empty, stores)?;
    let reading = inputs::reading(&arguments.reading, arguments.delta.as_ref().map(|_| OPERATION))?;
    let mut target = Target::new("output", &arguments.output, &INDEX, stores)?;
    let to_delta = arguments.delta.as_ref().map(|path| Target::new("--delta", path, &DELTA, stores)?.look());
    let to_delta = to_delta.transpose()?;
    let delta = to_delta.as_ref().map(Target::place).transpose()?;
    // A copy of an object is fetched in a dry run too.
    let is_free = arguments.dry_run && !target.is_object();
    let lock =
        if is_free { None } else { output::lock(&target.place()?, &|warning| reporter.warn(warning))? };
    target.fetch(reporter.format())?;
    // Again, since another run may have had the lock until now.
    let mut place = target.place()?;
    if let (Some(delta), Some(_)) = (&delta, &lock) {
        delta.clean()?;
    }
    let model = model::open(&arguments.model, None, reporter.format())?;

    let started = Instant::now();
    let old = old_file(&mut place, arguments, reporter)?;
    let has_output = old.as_ref().map_or(place.is_taken(), |old| old.documents() > 0);
    report.seconds.old_output = started.elapsed().as_secs_f64();

    let was_left = lock.as_ref().is_some_and(|lock| lock.was_left);
    let opened = Opened { roots, reading, model, old, has_output, was_left };
    let settled = settle(arguments, opened, reporter, &mut report.seconds)?;
    report.fingerprint = Some(settled.metadata.fingerprint.clone());
    let places =
        Places { output: &place, delta: delta.as_ref(), targets: [to_delta.as_ref(), Some(&target)] };
    let ran = run_settled(arguments, places, settled, reporter, report);
    if let (Err(_), true, Some(lock)) = (&ran, target.is_object(), lock) {
        // The store may have taken the object all the same: the delta that leads to it must outlive the next run then.
        lock.leave();
    }
    ran
}

/// What is there from the last run.
fn old_file(
    place: &mut Place,
    arguments: &BuildArguments,
    reporter: &Reporter,
) -> anyhow::Result<Option<IndexFile>> {
    if !place.is_taken() {
        return Ok(None);
    }
    match IndexFile::open(place.path()) {
        Ok(file) => {
            let shard = |metadata: &Metadata| metadata.shard;
            output::check_shard(place, file.metadata().map(shard), arguments.reading.shard)?;
            Ok(Some(file))
        }
        Err(error @ (Unusable::Foreign | Unusable::Delta)) => Err(output::would_be_lost(place, &error)),
        Err(Unusable::Damaged(e)) => {
            let kept = place.keep();
            let will = if arguments.dry_run { "would be" } else { "will be" };
            let delta = if arguments.delta.is_some() { "; the delta has all rows" } else { "" };
            reporter.warn(&format!(
                "{place}: is damaged ({e:#}); all is embedded anew{delta}, and it {will} kept as {}",
                kept.display()
            ));
            Ok(None)
        }
    }
}

/// Where a run puts what it makes.
struct Places<'a> {
    output: &'a Place,
    delta: Option<&'a Place>,
    /// What they are in, in the order in which they are uploaded.
    targets: [Option<&'a Target>; 2],
}

/// Arguments that have been checked against each other, the model and the old output.
struct Settled {
    job: Arc<Job>,
    metadata: Metadata,
    model: Model,
    /// Where it had to be loaded to know what it is.
    loaded: Option<LoadedModel>,
    resources: Resources,
    texts: Texts,
    /// Whether the last run died.
    was_left: bool,
}

/// What has been opened.
struct Opened {
    roots: Roots,
    reading: Reading,
    model: Model,
    old: Option<IndexFile>,
    has_output: bool,
    was_left: bool,
}

fn settle(
    arguments: &BuildArguments,
    opened: Opened,
    reporter: &Reporter,
    seconds: &mut Seconds,
) -> anyhow::Result<Settled> {
    let Opened { roots, reading, model, old, has_output, was_left } = opened;
    let started = Instant::now();
    let resources = model::resources(&arguments.model);
    let tokenizer = model::tokenizer(&model, arguments.instruction.as_deref())?;
    let max_tokens = model::max_tokens(arguments.max_tokens, &model, &tokenizer)?;
    let together = arguments.batch_tokens.map(|tokens| tokens as usize);
    let texts = Texts { together, ..model::texts(&tokenizer, max_tokens)? };
    let before = old.as_ref().and_then(IndexFile::metadata).map(|metadata| metadata.fingerprint.clone());
    // Perhaps the model need not be loaded.
    let reusable = before.as_ref().filter(|_| !arguments.rebuild);
    let known = reusable.map(|before| model.fingerprint_as(&before.model)).transpose()?.flatten();
    let loaded = if known.is_none() { Some(model.load(&resources, &texts)?) } else { None };
    seconds.model = started.elapsed().as_secs_f64();
    let Some(of_model) = known.or_else(|| loaded.as_ref().map(|loaded| loaded.fingerprint.clone())) else {
        unreachable!("a model that is not known is loaded")
    };
    let dim = model::dim(arguments.dim, of_model.width)?;
    let rows = if arguments.chunks { RowKind::Chunks } else { RowKind::Documents };
    let fingerprint = model::fingerprint(of_model, dim, max_tokens, arguments.instruction.as_deref(), rows);
    let old = old.map(|file| {
        let differences = match &before {
            Some(before) => before.differences(&fingerprint),
            None => vec!["the version of this tool".to_owned()],
        };
        if !differences.is_empty() && !arguments.rebuild {
            let parts = differences.join(", ");
            reporter.warn(&format!(
                "the old output was made with other settings, so all is embedded anew: {parts}"
            ));
        }
        Old {
            has_vectors: differences.is_empty(),
            is_reused: differences.is_empty() && !arguments.rebuild,
            is_same: before.as_ref() == Some(&fingerprint),
            file,
        }
    });
    let job = Job {
        roots,
        reading,
        tokenizer,
        max_tokens,
        batch_tokens: texts.together,
        rows: fingerprint.rows,
        dim: fingerprint.dim,
        shard: arguments.reading.shard,
        old,
        has_output,
        allow_empty: arguments.allow_empty,
        allow_shrink: arguments.allow_shrink,
        is_dry: arguments.dry_run,
    };
    let metadata = Metadata { shard: arguments.reading.shard, ..model::metadata(&model, fingerprint) };
    Ok(Settled { job: Arc::new(job), metadata, model, loaded, resources, texts, was_left })
}

fn run_settled(
    arguments: &BuildArguments,
    Places { output: place, delta, targets }: Places,
    settled: Settled,
    reporter: &Arc<Reporter>,
    report: &mut Report,
) -> anyhow::Result<Exit> {
    let Settled { job, metadata, model, mut loaded, resources, texts, was_left } = settled;
    let header = Header::new(metadata.fingerprint.model.clone(), arguments.rebuild);
    let mut journal = open_journal(place, &header, arguments.dry_run)?;
    report.chunks_resumed = journal.resumed();
    if journal.resumed() > 0 {
        let count = HumanCount(journal.resumed() as u64);
        reporter.info(&format!(
            "an earlier run did not come to its end: going on with the {count} vectors that it made"
        ));
    }
    let dim = metadata.fingerprint.dim;
    let mut seconds_load = 0.0;
    let mut load = || {
        let started = Instant::now();
        measure(&job, reporter);
        let loaded = loaded.take().map_or_else(|| model.load(&resources, &texts), Ok)?;
        seconds_load += started.elapsed().as_secs_f64();
        let onnx = model.folder.onnx.display();
        ensure!(loaded.fingerprint == header.model, "model {onnx}: has changed during this run; run again");
        if let Some(warning) = loaded.warning() {
            reporter.warn(&format!("model {onnx}: {warning}"));
        }
        reporter.info(&format!("model {onnx}, {dim} numbers a vector, {}", loaded.device()));
        if loaded.is_shared {
            reporter.info(&format!(
                "the first {} tokens of every text are the instruction's, and computed once",
                texts.prefix.len()
            ));
        }
        Ok(loaded.embedders.into_iter().map(|embedder| Box::new(embedder) as Box<dyn Embedder>).collect())
    };
    let mut writer = IndexWriter::new(place, job.old.as_ref(), metadata, &job.reading.fields.keep);
    let mut writing = 0.0;
    let mut sink = |rows| {
        let started = Instant::now();
        writer.push(rows)?;
        writing += started.elapsed().as_secs_f64();
        reporter.show();
        Ok(())
    };
    let engine = Engine {
        load: &mut load,
        journal: &mut journal,
        sink: &mut sink,
        documents: &mut report.documents,
        work: &mut report.work,
    };
    let ran = pipeline::run(&job, engine, reporter);
    reporter.finish();
    report.seconds.model += seconds_load;
    report.seconds.embedding = report.work.embedding.as_secs_f64();
    report.tokens_per_second = report.work.tokens_per_second();
    ran?;
    let documents = &report.documents;
    // One bad document costs itself; all of them are a wrong field or folder, and no new index.
    ensure!(
        documents.embedded + documents.reused + documents.stale > 0 || !documents.have_failures(),
        "no document could be embedded: {documents}; mend what failed first (output {} is untouched)",
        arguments.output.display()
    );
    let exit = if documents.have_failures() { Exit::Partial } else { Exit::Done };
    if arguments.dry_run {
        print_plan(report)?;
        return Ok(exit);
    }
    let started = Instant::now();
    let written = writer.publish(delta, report.documents.stale as u32, was_left)?;
    for target in targets.into_iter().flatten() {
        target.upload(reporter.format())?;
    }
    report.seconds.writing = writing + started.elapsed().as_secs_f64();
    journal
        .remove()
        .with_context(|| format!("{place}: is in place, but what was kept for it cannot be removed"))?;
    tell(&written, reporter, report);
    Ok(exit)
}

fn open_journal(place: &Place, header: &Header, is_dry: bool) -> anyhow::Result<Journal> {
    let path = place.beside(JOURNAL);
    let journal = match is_dry {
        true => Journal::look(&path, header),
        false => Journal::open(&path, header, place.options()),
    };
    journal.with_context(|| format!("{}: cannot be opened; remove it if it is damaged", path.display()))
}

/// What became of the documents and the file.
fn tell(written: &Written, reporter: &Reporter, report: &mut Report) {
    let Written { rows, bytes, is_new, changes, empty_columns, warnings } = written;
    for column in empty_columns {
        let of = report.shard.map_or(String::new(), |shard| format!(" of shard {shard}"));
        reporter.warn(&format!("--keep {column}: no document{of} has it, so the column is empty"));
    }
    warnings.iter().for_each(|warning| reporter.warn(warning));
    reporter.info(&report.documents.to_string());
    let counts = [changes.added.len(), changes.changed.len(), changes.removed.len()];
    let [added, changed, removed] = counts;
    let mut line = format!("{} rows", HumanCount(*rows as u64));
    let _ = match is_new {
        true => write!(
            line,
            " ({added} added, {changed} changed, {removed} removed), {} in {}",
            DecimalBytes(*bytes),
            report.output
        ),
        false => write!(line, ", as before: {} is left as it was", report.output),
    };
    if let Some(speed) = report.tokens_per_second {
        let (tokens, chunks) = (HumanCount(report.work.tokens), HumanCount(report.work.chunks));
        let _ = write!(line, "; {tokens} tokens in {chunks} chunks, {}", tokens_per_second(speed));
    }
    reporter.info(&line);
    report.rows = Some(RowCounts { total: *rows, added, changed, removed, bytes: *bytes });
}

/// What a dry run has found out, on standard output.
fn print_plan(report: &Report) -> io::Result<()> {
    let (documents, work) = (&report.documents, &report.work);
    let mut out = io::stdout().lock();
    writeln!(out, "{documents}; {} gone", HumanCount(documents.gone))?;
    write!(out, "{} tokens in {} chunks to embed", HumanCount(work.tokens), HumanCount(work.chunks))?;
    if let Some(speed) = report.tokens_per_second {
        let time = human_seconds(work.tokens as f64 / speed);
        write!(out, ": {time} at {}", tokens_per_second(speed))?;
    }
    writeln!(out)
}

/// Walks the roots a second time, beside the run, to know how much there is to do.
fn measure(job: &Arc<Job>, reporter: &Arc<Reporter>) {
    let (job, reporter) = (job.clone(), reporter.clone());
    thread::spawn(move || job.roots.total_bytes().into_iter().for_each(|bytes| reporter.total_bytes(bytes)));
}
