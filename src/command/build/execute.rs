//! Runs the plan of a build and puts the new index in place.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::lazy_model::LazyModel;
use super::plan::BuildPlan;
use super::report::{BuildOutcome, RowCounts};
use super::session::Session;
use super::summary;
use crate::cli::BuildArguments;
use crate::command::advice::{explained_run, known_fields};
use crate::command::process::Exit;
use crate::command::setup::inputs;
use crate::console::{HumanCount, Phase, Reporter, counted, debug};
use crate::index::{IndexWriter, RowKind, Written};
use crate::model::{CpuReason, LoadedModel};
use crate::pipeline::journal::{Header, Journal, Useless};
use crate::pipeline::{self, ChunkStore, Engine, Job};
use crate::storage::place::Place;
use crate::vector::embedder::Embedder;

/// The end of the journal's file name. The journal is a hidden file beside the output. It stores the vectors of a run until
/// the output is in place.
const JOURNAL: &str = "journal";

/// The end of the name of the chunk store, a hidden file beside an output with one row per document.
const CHUNK_STORE: &str = "chunks";

/// Embeds the texts that need a new vector, and puts the new index in place. A dry run only estimates this work.
///
/// # Errors
/// The run ended early. The old output is untouched.
pub fn execute(
    arguments: &BuildArguments,
    plan: &BuildPlan,
    model: &mut LazyModel,
    session: &mut Session,
    reporter: &Arc<Reporter>,
    outcome: &mut BuildOutcome,
) -> anyhow::Result<Exit> {
    let header = Header::new(plan.metadata.fingerprint.model.clone(), plan.job.is_rebuild);
    let mut journal = open_journal(&session.place, &header, plan.job.is_dry)?;
    outcome.chunks_resumed = journal.resumed();
    debug(|| {
        let (path, vectors) = (session.place.sibling(JOURNAL), journal.resumed() as u64);
        format!("journal {}: {} of an interrupted run", path.display(), counted(vectors, "vector"))
    });
    if journal.resumed() > 0 {
        let count = HumanCount(journal.resumed() as u64);
        reporter.info(&format!("an earlier run was interrupted: resuming with its {count} vectors"));
    }
    if let Some((vectors, why)) = journal.useless() {
        let which = match why {
            Useless::OfAnotherModel => "of another model",
            Useless::BeforeRebuild => "that were made without --rebuild",
        };
        let vectors = counted(vectors, "vector");
        reporter.warn(&format!(
            "an interrupted run has left {vectors} {which}, which this run cannot use; they are removed as soon as a text is embedded"
        ));
    }
    let place = session.place.clone();
    let mut writer = IndexWriter::new(&place, plan.job.old.index(), plan.metadata.clone(), &plan.job.columns);
    let has_store = plan.job.rows == RowKind::Documents && !plan.job.is_rebuild;
    if !has_store {
        let why = if plan.job.is_rebuild { "of --rebuild" } else { "each row is a chunk" };
        debug(|| format!("chunk store: not used, because {why}"));
    }
    let mut chunk_store = ChunkStore::new(place.sibling(CHUNK_STORE), header.model, has_store);
    run_stages(plan, model, &mut journal, &mut chunk_store, &mut writer, reporter, outcome)?;
    let documents = &outcome.documents;
    // If only some documents fail, the run writes an index without these documents. If all documents fail, the run fails too,
    // because the cause is probably a wrong field or a wrong folder.
    ensure!(
        documents.embedded + documents.reused + documents.stale > 0 || !documents.have_failures(),
        "no document could be embedded: {documents}; fix the failures and run again (output {} is untouched)",
        arguments.output.display()
    );
    if documents.all_ids_changed {
        reporter.warn(
            "no document has its old id, so a delta replaces every row; with several inputs, ids begin with the name of the input: choose --id-prefix always or never to keep ids stable",
        );
    }
    let about_ids = inputs::about_ids(&arguments.reading, &plan.job.reading.seen);
    about_ids.iter().for_each(|warning| reporter.warn(warning));
    if documents.ignored > 0 {
        let excluded = counted(documents.ignored, "document");
        reporter.warn(&format!(
            "{excluded} of the old output: excluded by a .gitignore or .ignore, so not in the new one; --no-ignore reads what these files exclude"
        ));
    }
    let is_well = !documents.have_failures() && !plan.job.old.is_damaged();
    let exit = if is_well { Exit::Done } else { Exit::Partial };
    let wording = summary::wording(plan, outcome);
    if plan.job.is_dry {
        reporter.finish();
        summary::print_plan(outcome, wording, arguments.json)?;
        return Ok(exit);
    }
    let written = publish(session, writer, journal, chunk_store, reporter, outcome)?;
    outcome.rows = Some(RowCounts::of(&written));
    warn_of_empty_columns(&written, plan, reporter);
    summary::tell(arguments, outcome, &written, wording, reporter);
    Ok(if written.published.needs_attention { Exit::Partial } else { exit })
}

fn open_journal(place: &Place, header: &Header, is_dry: bool) -> anyhow::Result<Journal> {
    let path = place.sibling(JOURNAL);
    let journal = match is_dry {
        true => Journal::look(&path, header),
        false => Journal::open(&path, header, place.sibling_options()),
    };
    journal.with_context(|| format!("{}: cannot be opened; remove the file if it is damaged", path.display()))
}

fn warn_of_empty_columns(written: &Written, plan: &BuildPlan, reporter: &Reporter) {
    let shard = plan.job.shard.map_or(String::new(), |shard| format!(" of shard {shard}"));
    for column in &written.empty_columns {
        let known = known_fields(column, &plan.job.reading.seen.names());
        reporter.warn(&format!(
            "--keep {column}: no document{shard} has this field, so the column is empty{known}"
        ));
    }
}

/// Passes all documents through the pipeline to the writer.
fn run_stages(
    plan: &BuildPlan,
    model: &mut LazyModel,
    journal: &mut Journal,
    chunk_store: &mut ChunkStore,
    writer: &mut IndexWriter,
    reporter: &Arc<Reporter>,
    outcome: &mut BuildOutcome,
) -> anyhow::Result<()> {
    reporter.enter(Phase::Scanning);
    let seconds = &mut outcome.seconds;
    let mut load = || {
        let started = Instant::now();
        reporter.enter(Phase::LoadingModel);
        measure(&plan.job, reporter);
        let loaded = load(plan, model, reporter)?;
        seconds.model += started.elapsed().as_secs_f64();
        reporter.enter(if plan.job.is_dry { Phase::MeasuringSpeed } else { Phase::Embedding });
        Ok(loaded.embedders.into_iter().map(|embedder| Box::new(embedder) as Box<dyn Embedder>).collect())
    };
    let mut sink = |rows| {
        let started = Instant::now();
        writer.push(rows)?;
        seconds.writing += started.elapsed().as_secs_f64();
        Ok(())
    };
    let engine = Engine {
        load: &mut load,
        journal,
        chunk_store,
        sink: &mut sink,
        documents: &mut outcome.documents,
        work: &mut outcome.work,
    };
    pipeline::run(&plan.job, engine, reporter)
}

fn load(plan: &BuildPlan, model: &mut LazyModel, reporter: &Reporter) -> anyhow::Result<LoadedModel> {
    let loaded = model.load()?;
    let name = &model.name;
    let expected = &plan.metadata.fingerprint.model;
    if let Some(differs) = loaded.fingerprint.difference(expected) {
        bail!(
            "model {name}: makes other vectors than the old output has ({differs}); embed all texts again with --rebuild (the old output is untouched)"
        );
    }
    ensure!(loaded.fingerprint == *expected, "model {name}: has changed during this run; run again");
    for warning in [loaded.head_warning(), loaded.batching_warning()].into_iter().flatten() {
        reporter.warn(&format!("model {name}: {warning}"));
    }
    let dimensions = HumanCount(plan.job.dim as u64);
    let cpu_reason = match loaded.cpu_reason() {
        Some(CpuReason::Unusable(error)) => format!(" ({})", explained_run(error)),
        Some(CpuReason::NoGpu(_)) | None => String::new(),
    };
    reporter.info(&format!("model {name}, {dimensions} dimensions, {}{cpu_reason}", loaded.device()));
    if loaded.shares_prefix() {
        let tokens = counted(loaded.workload.prefix.len() as u64, "token");
        let prompt = if plan.metadata.fingerprint.instruction.is_some() { "instruction" } else { "prompt" };
        reporter.info(&format!(
            "every text begins with the {prompt} ({tokens}), so the {prompt} is computed only once"
        ));
    }
    Ok(loaded)
}

/// Adds up the sizes of all inputs in a separate thread, so that the progress can show the time left.
fn measure(job: &Arc<Job>, reporter: &Arc<Reporter>) {
    let (job, reporter) = (job.clone(), reporter.clone());
    thread::spawn(move || job.roots.total_bytes().into_iter().for_each(|bytes| reporter.total_bytes(bytes)));
}

/// Puts the new index in place, and uploads the index if the output is an object.
fn publish(
    session: &mut Session,
    writer: IndexWriter,
    mut journal: Journal,
    chunk_store: ChunkStore,
    reporter: &Reporter,
    outcome: &mut BuildOutcome,
) -> anyhow::Result<Written> {
    let started = Instant::now();
    reporter.enter(Phase::Writing);
    #[allow(clippy::cast_possible_truncation)]
    // This number fits into 32 bits: all stale documents are in the old index, and an index counts its documents in 32 bits.
    let stale = outcome.documents.stale as u32;
    let outdated = mem::take(&mut outcome.documents.outdated);
    let mut written = session.publish(writer, stale, outdated)?;
    // Removes the bar of the run, because an upload shows a separate bar.
    reporter.finish();
    written.published.warnings.extend(session.upload(reporter.format())?);
    outcome.seconds.writing += started.elapsed().as_secs_f64();
    let place = &session.place;
    if let Err(e) = chunk_store.write(&mut journal, || place.temporary()) {
        written.published.warnings.push(format!(
            "{place}: is in place, but the vectors of its chunks cannot be kept in {} ({e:#}); a long document that changes will be embedded as a whole",
            place.sibling(CHUNK_STORE).display()
        ));
    }
    if let Err(e) = journal.remove() {
        let (place, journal) = (&session.place, session.place.sibling(JOURNAL));
        written.published.warnings.push(format!(
            "{place}: is in place, but {} cannot be removed ({e}); remove it",
            journal.display()
        ));
        written.published.needs_attention = true;
    }
    Ok(written)
}
