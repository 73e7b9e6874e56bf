//! Makes the plan of a build before any document is read. The plan depends on the arguments, the inputs, the model and the
//! old index.

use std::sync::Arc;

use anyhow::{bail, ensure};

use super::lazy_model::LazyModel;
use crate::cli::BuildArguments;
use crate::command::setup::{inputs, model};
use crate::console::{Reporter, counted, debug};
use crate::error::Usage;
use crate::index::provenance::{CHUNKS, DocumentColumn, MoreColumns, TOKENS};
use crate::index::{
    Effect, Fingerprint, IndexFile, Metadata, OPERATION, Old, OtherTexts, Reusable, RowKind, Setting,
    SettingDifference,
};
use crate::pipeline::{DocumentSize, Job, OldOutput};
use crate::source::{PagePart, Reading, Roots};
use crate::storage::object::Stores;
use crate::text::chunk::{ChunkBy, ChunkContext, ChunkRules};

/// The documents of a run.
pub struct BuildInputs {
    roots: Roots,
    reading: Reading,
}

impl BuildInputs {
    /// Checks that the inputs exist.
    ///
    /// # Errors
    /// An input is missing, or an argument is wrong.
    pub fn new(arguments: &BuildArguments, stores: &mut Stores) -> anyhow::Result<Self> {
        let roots = inputs::roots(&arguments.reading, arguments.allow_empty, stores)?;
        // A delta has the additional column `op`, so no kept column may have that name.
        let columns = columns(arguments, Vec::new());
        let mut taken = columns.names();
        taken.extend(arguments.delta.as_ref().map(|_| OPERATION));
        let reading = inputs::reading(&arguments.reading, &taken)?;
        let wants_title = arguments.chunks || arguments.columns.contains(&DocumentColumn::Title);
        Ok(BuildInputs { roots, reading: Reading { wants_title, ..reading } })
    }
}

/// The plan of a build.
pub struct BuildPlan {
    pub job: Arc<Job>,
    /// The metadata to write into the new index.
    pub metadata: Metadata,
}

impl BuildPlan {
    /// Checks the arguments against the model, and compares the old index with the arguments and the model. `before` is the
    /// metadata of the old index, which may be damaged.
    ///
    /// # Errors
    /// An argument does not fit the model. The old index was made with other settings, which no argument of this run changes.
    pub fn new(
        arguments: &BuildArguments,
        documents: BuildInputs,
        model: &LazyModel,
        old: OldOutput<IndexFile>,
        before: Option<&Metadata>,
        reporter: &Reporter,
    ) -> anyhow::Result<Self> {
        if arguments.chunk_by == Some(ChunkBy::Length) && arguments.overlap.is_some_and(|tokens| tokens > 0) {
            bail!(Usage("--overlap: works only with --chunk-by structure".to_owned()));
        }
        let fingerprint = fingerprint(arguments, model)?;
        if let Some(before) = before.filter(|before| before.fingerprint != fingerprint) {
            check_settings(&before.fingerprint, &fingerprint, arguments)?;
            // Arguments that leave no room for text are told before the run begins.
            model.tokenizer()()?;
        }
        let old = match old {
            OldOutput::Absent => OldOutput::Absent,
            OldOutput::Damaged { rows } => OldOutput::Damaged { rows },
            OldOutput::Index(file) => {
                OldOutput::Index(compared(file, &fingerprint, arguments.rebuild, reporter))
            }
        };
        let columns = columns(arguments, documents.reading.fields.keep.clone());
        let sized = old.index().filter(|_| !columns.of_documents.is_empty());
        let old_sizes = sized.map_or(Ok(None), |old| old.file.whole_numbers([TOKENS, CHUNKS]))?;
        let sizes = |rows: Vec<[u64; 2]>| {
            rows.into_iter().map(|[tokens, chunks]| DocumentSize { tokens, chunks }).collect()
        };
        let job = Job {
            roots: documents.roots,
            reading: documents.reading,
            tokenizer: model.tokenizer(),
            chunking: rules(arguments, model),
            batch_tokens: model.texts.batch_tokens,
            rows: fingerprint.rows,
            columns,
            old_sizes: old_sizes.map(sizes),
            dim: fingerprint.dim,
            shard: arguments.reading.shard,
            old,
            is_rebuild: arguments.rebuild,
            allow_empty: arguments.allow_empty,
            allow_shrink: arguments.allow_shrink,
            is_dry: arguments.dry_run,
        };
        let metadata = model::metadata(&model.texts.model, &model.source, fingerprint);
        let metadata = Metadata { shard: arguments.reading.shard, ..metadata };
        Ok(BuildPlan { job: Arc::new(job), metadata })
    }

    /// Returns whether the run can reuse vectors of the old index.
    pub fn reuses_old(&self) -> bool {
        !self.job.is_rebuild && self.job.old.index().is_some_and(|old| old.reusable != Reusable::Nothing)
    }
}

fn columns(arguments: &BuildArguments, keep: Vec<String>) -> MoreColumns {
    let mut of_documents = arguments.columns.clone();
    of_documents.sort_by_key(|column| column.name());
    of_documents.dedup();
    MoreColumns { rows: rows(arguments), of_documents, keep }
}

fn rows(arguments: &BuildArguments) -> RowKind {
    if arguments.chunks { RowKind::Chunks } else { RowKind::Documents }
}

fn rules(arguments: &BuildArguments, model: &LazyModel) -> ChunkRules {
    let (chosen, is_default) = (&arguments.context, arguments.context.is_empty());
    let has = |part: &str| arguments.chunks && (is_default || chosen.iter().any(|asked| asked == part));
    ChunkRules {
        by: arguments.chunk_by.unwrap_or_default(),
        tokens: model.texts.max_tokens,
        text_tokens: model::document_tokens(arguments.max_document_tokens),
        overlap: arguments.overlap.unwrap_or(0),
        context: ChunkContext { title: has("title"), headings: has("headings") },
    }
}

fn fingerprint(arguments: &BuildArguments, model: &LazyModel) -> anyhow::Result<Fingerprint> {
    let of_model = model.fingerprint().clone();
    let dim = model::dim(arguments.dim, of_model.width)?;
    let fingerprint =
        model::fingerprint(of_model, dim, &rules(arguments, model), &model.texts.prompt, rows(arguments));
    let whole_pages = arguments.reading.html == Some(PagePart::Whole);
    let vector_type = arguments.vector_type.unwrap_or_default();
    let scans = arguments.reading.ocr.is_some();
    Ok(Fingerprint { whole_pages, scans, vector_type, ..fingerprint })
}

/// Checks that each setting in which the old index differs has been changed on purpose: by an argument of this run, or by a new
/// version of this tool.
fn check_settings(before: &Fingerprint, now: &Fingerprint, arguments: &BuildArguments) -> anyhow::Result<()> {
    let is_meant = |setting: &Setting| match setting {
        // Another model has stopped the run already, unless a new version of this tool has made another export of it.
        Setting::Tool | Setting::Model => true,
        Setting::Dim => arguments.dim.is_some(),
        Setting::VectorType => arguments.vector_type.is_some(),
        Setting::Instruction => arguments.instruction.is_some(),
        Setting::MaxTokens => arguments.max_tokens.is_some() || arguments.chunk_tokens.is_some(),
        Setting::Rows => arguments.chunks,
        Setting::ChunkBy => arguments.chunk_by.is_some(),
        Setting::Overlap => arguments.overlap.is_some(),
        Setting::Context => !arguments.context.is_empty(),
    };
    let mut differences = before.differences(now);
    differences.retain(|difference| !is_meant(&difference.setting));
    let mut parts = names(&differences);
    let is_forgotten = |texts: &OtherTexts| match texts {
        OtherTexts::WebPages => arguments.reading.html.is_none(),
        OtherTexts::Scans => arguments.reading.ocr.is_none(),
    };
    parts.extend(before.other_texts(now).iter().filter(|texts| is_forgotten(texts)).map(ToString::to_string));
    ensure!(
        parts.is_empty(),
        "output {}: was made with other settings, which no argument of this run changes: {}; repeat the arguments of the old run, or embed all texts again with --rebuild (the old output is untouched)",
        arguments.output.display(),
        parts.join(", ")
    );
    Ok(())
}

fn names(differences: &[SettingDifference]) -> Vec<String> {
    differences.iter().map(|difference| difference.name.clone()).collect()
}

/// Compares the fingerprint in the old index with the fingerprint of this run, and decides which vectors can be reused.
fn compared(file: IndexFile, now: &Fingerprint, is_rebuild: bool, reporter: &Reporter) -> Old {
    let before = file.metadata().map(|metadata| &metadata.fingerprint);
    let differences = before.map_or_else(
        || {
            let name = "the version of this tool".to_owned();
            vec![SettingDifference { setting: Setting::Tool, name, effect: Effect::AllRows }]
        },
        |before| before.differences(now),
    );
    let effect = differences.iter().map(|difference| difference.effect).max();
    let again = match effect {
        Some(Effect::AllTexts | Effect::AllRows) => Some("all texts are embedded again"),
        Some(Effect::LongTexts) => Some("texts of several chunks are embedded again"),
        Some(Effect::Rows) => Some("texts are split in another way, and only new chunks are embedded"),
        None => None,
    };
    if let Some(again) = again.filter(|_| !is_rebuild) {
        let names = names(&differences).join(", ");
        reporter.warn(&format!("{again}, because the old output was made with other settings: {names}"));
    }
    let reusable = match (before, effect) {
        (Some(before), None) if before == now => Reusable::File,
        (Some(_), None | Some(Effect::Rows)) => Reusable::Vectors,
        (Some(before), Some(Effect::LongTexts)) => Reusable::OneChunk(before.max_tokens.min(now.max_tokens)),
        (Some(_), Some(Effect::AllTexts)) => Reusable::StaleRows,
        _ => Reusable::Nothing,
    };
    debug(|| {
        let reused = match reusable {
            _ if is_rebuild => "no vector is reused, because of --rebuild",
            Reusable::File => "it was made with the same settings, so a text that it has keeps its vector",
            Reusable::Vectors => "a text that it has keeps its vector",
            Reusable::OneChunk(_) => "only a text of one chunk that it has keeps its vector",
            Reusable::StaleRows => "no vector is reused, but the rows of documents that cannot be read stay",
            Reusable::Nothing => "nothing of it is reused",
        };
        let tool = file.metadata().map_or("another version of this tool", |metadata| &metadata.tool);
        let (rows, documents) =
            (counted(file.rows().into(), "row"), counted(file.documents().into(), "document"));
        format!("old output: {rows} of {documents}, made by {tool}; {reused}")
    });
    Old { file, reusable }
}
