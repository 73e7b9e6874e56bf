//! Makes the plan of a build before any document is read. The plan depends on the arguments, the inputs, the model and the
//! old index.

use std::sync::Arc;

use super::lazy_model::LazyModel;
use crate::cli::BuildArguments;
use crate::command::setup::{inputs, model};
use crate::console::Reporter;
use crate::index::{Fingerprint, IndexFile, Metadata, OPERATION, Old, Reusable, RowKind};
use crate::pipeline::Job;
use crate::source::{Reading, Roots};
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
    /// Checks the arguments against the model, and compares the old index with the arguments and the model. `has_output` says
    /// whether the old output has documents. A damaged old output is assumed to have documents.
    ///
    /// # Errors
    /// An argument does not fit the model.
    pub fn new(
        arguments: &BuildArguments,
        documents: BuildInputs,
        model: &LazyModel,
        old: Option<IndexFile>,
        has_output: bool,
        reporter: &Reporter,
    ) -> anyhow::Result<Self> {
        let fingerprint = fingerprint(arguments, model)?;
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
            old: old.map(|file| compared(file, &fingerprint, arguments.rebuild, reporter)),
            is_rebuild: arguments.rebuild,
            has_output,
            allow_empty: arguments.allow_empty,
            allow_shrink: arguments.allow_shrink,
            is_dry: arguments.dry_run,
        };
        let metadata = model::metadata(&model.model, fingerprint);
        let metadata = Metadata { shard: arguments.reading.shard, ..metadata };
        Ok(BuildPlan { job: Arc::new(job), metadata })
    }

    /// Returns whether the run can reuse vectors of the old index.
    pub fn reuses_old(&self) -> bool {
        !self.job.is_rebuild && self.job.old.as_ref().is_some_and(Old::has_vectors)
    }
}

fn fingerprint(arguments: &BuildArguments, model: &LazyModel) -> anyhow::Result<Fingerprint> {
    let of_model = model.fingerprint().clone();
    let dim = model::dim(arguments.dim, of_model.width)?;
    let rows = if arguments.chunks { RowKind::Chunks } else { RowKind::Documents };
    Ok(model::fingerprint(of_model, dim, model.workload.max_tokens, &model.prompt, rows))
}

/// Compares the fingerprint in the old index with the fingerprint of this run, and decides which vectors can be reused.
fn compared(file: IndexFile, now: &Fingerprint, is_rebuild: bool, reporter: &Reporter) -> Old {
    let before = file.metadata().map(|metadata| &metadata.fingerprint);
    let differences = match before {
        Some(before) => before.differences(now),
        None => vec!["the version of this tool".to_owned()],
    };
    if !differences.is_empty() && !is_rebuild {
        reporter.warn(&format!(
            "all texts are embedded again, because the old output was made with other settings: {}",
            differences.join(", ")
        ));
    }
    let reusable = match before {
        Some(before) if before == now => Reusable::File,
        Some(_) if differences.is_empty() => Reusable::Vectors,
        _ => Reusable::Nothing,
    };
    Old { file, reusable }
}
