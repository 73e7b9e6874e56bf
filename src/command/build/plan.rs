//! Makes the plan of a build before any document is read. The plan depends on the arguments, the inputs, the model and the
//! old index.

use std::sync::Arc;

use anyhow::ensure;

use super::lazy_model::LazyModel;
use crate::cli::BuildArguments;
use crate::command::setup::{inputs, model};
use crate::console::Reporter;
use crate::index::{Fingerprint, IndexFile, Metadata, OPERATION, Old, Reusable, RowKind, Setting};
use crate::pipeline::{Job, OldOutput};
use crate::source::{PagePart, Reading, Roots};
use crate::storage::object::Stores;

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
        let reading = inputs::reading(&arguments.reading, arguments.delta.as_ref().map(|_| OPERATION))?;
        Ok(BuildInputs { roots, reading })
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
        let fingerprint = fingerprint(arguments, model)?;
        before.map_or(Ok(()), |before| check_settings(&before.fingerprint, &fingerprint, arguments))?;
        let old = match old {
            OldOutput::Absent => OldOutput::Absent,
            OldOutput::Damaged { rows } => OldOutput::Damaged { rows },
            OldOutput::Index(file) => {
                OldOutput::Index(compared(file, &fingerprint, arguments.rebuild, reporter))
            }
        };
        let job = Job {
            roots: documents.roots,
            reading: documents.reading,
            tokenizer: model.tokenizer.clone(),
            max_tokens: model.workload.max_tokens,
            document_tokens: model::document_tokens(arguments.max_document_tokens),
            batch_tokens: model.workload.batch_tokens,
            rows: fingerprint.rows,
            dim: fingerprint.dim,
            shard: arguments.reading.shard,
            old,
            is_rebuild: arguments.rebuild,
            allow_empty: arguments.allow_empty,
            allow_shrink: arguments.allow_shrink,
            is_dry: arguments.dry_run,
        };
        let metadata = model::metadata(&model.model, &model.source, fingerprint);
        let metadata = Metadata { shard: arguments.reading.shard, ..metadata };
        Ok(BuildPlan { job: Arc::new(job), metadata })
    }

    /// Returns whether the run can reuse vectors of the old index.
    pub fn reuses_old(&self) -> bool {
        !self.job.is_rebuild && self.job.old.index().is_some_and(Old::has_vectors)
    }
}

fn fingerprint(arguments: &BuildArguments, model: &LazyModel) -> anyhow::Result<Fingerprint> {
    let of_model = model.fingerprint().clone();
    let dim = model::dim(arguments.dim, of_model.width)?;
    let rows = if arguments.chunks { RowKind::Chunks } else { RowKind::Documents };
    let whole_pages = arguments.reading.html == Some(PagePart::Whole);
    let fingerprint = model::fingerprint(of_model, dim, model.workload.max_tokens, &model.prompt, rows);
    Ok(Fingerprint { whole_pages, ..fingerprint })
}

/// Checks that each setting of the old index that prevents the reuse of its vectors has been changed on purpose: by an argument
/// of this run, or by a new version of this tool.
fn check_settings(before: &Fingerprint, now: &Fingerprint, arguments: &BuildArguments) -> anyhow::Result<()> {
    let is_meant = |setting: &Setting| match setting {
        // Another model has stopped the run already, unless a new version of this tool has made another export of it.
        Setting::Tool | Setting::Model => true,
        Setting::Dim => arguments.dim.is_some(),
        Setting::Instruction => arguments.instruction.is_some(),
        Setting::MaxTokens => arguments.max_tokens.is_some(),
        Setting::Rows => arguments.chunks,
    };
    let mut differences = before.differences(now);
    differences.retain(|(setting, _)| !is_meant(setting));
    let mut parts = names(&differences);
    // Vectors are looked up by text, so another part of the pages is no difference for them. But it changes many texts.
    if before.whole_pages != now.whole_pages && arguments.reading.html.is_none() {
        parts.push("the part of web pages".to_owned());
    }
    ensure!(
        parts.is_empty(),
        "output {}: was made with other settings, which no argument of this run changes: {}; repeat the arguments of the old run, or embed all texts again with --rebuild (the old output is untouched)",
        arguments.output.display(),
        parts.join(", ")
    );
    Ok(())
}

fn names(differences: &[(Setting, String)]) -> Vec<String> {
    differences.iter().map(|(_, name)| name.clone()).collect()
}

/// Compares the fingerprint in the old index with the fingerprint of this run, and decides which vectors can be reused.
fn compared(file: IndexFile, now: &Fingerprint, is_rebuild: bool, reporter: &Reporter) -> Old {
    let before = file.metadata().map(|metadata| &metadata.fingerprint);
    let differences = match before {
        Some(before) => before.differences(now),
        None => vec![(Setting::Tool, "the version of this tool".to_owned())],
    };
    if !differences.is_empty() && !is_rebuild {
        reporter.warn(&format!(
            "all texts are embedded again, because the old output was made with other settings: {}",
            names(&differences).join(", ")
        ));
    }
    let reusable = match before {
        Some(before) if before == now => Reusable::File,
        Some(_) if differences.is_empty() => Reusable::Vectors,
        _ => Reusable::Nothing,
    };
    Old { file, reusable }
}
