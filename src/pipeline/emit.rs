//! Makes the rows of a document after all vectors of the document have been made or found.

use super::account::{Account, Stale};
use super::job::Job;
use super::pending::{PendingDocument, PendingVectors};
use crate::console::Reporter;
use crate::error::NoVector;
use crate::index::{Row, RowId, RowKind, Vector};
use crate::source::Document;
use crate::vector::mean::mean;

/// Limit on the stale rows that are held in memory at a time, between reading them from the old file and writing them.
const STALE_ROWS: usize = 1024;

/// Counts a document and returns its rows. If the rows cannot be made, this function counts and reports a failure, and returns no
/// rows. In a dry run, this function only counts the document.
pub(super) fn finish(pending: PendingDocument, job: &Job, account: &mut Account) -> Vec<Row> {
    let PendingDocument { document, id, vectors, is_new } = pending;
    let place = document.place();
    let count = vectors.rows(job.rows);
    let made = if job.is_dry { Ok(Vec::new()) } else { rows(document, vectors, job) };
    match made {
        Ok(rows) => {
            account.finish(is_new, count);
            rows
        }
        Err(cause) => {
            account.fail_without_vector(id, place, cause);
            Vec::new()
        }
    }
}

/// Makes one row with the mean of the chunks' vectors, or one row per chunk. If a chunk failed, the whole document fails: the
/// mean of the remaining chunks would not be the vector of the document's text.
fn rows(document: Document, vectors: PendingVectors, job: &Job) -> Result<Vec<Row>, NoVector> {
    let Document { id, content, kept, .. } = document;
    let text = content.into_text();
    let row = |chunk, text, vector| {
        let id = RowId { document: id.clone(), chunk };
        Row { id, text, vector, kept: kept.clone() }
    };
    let chunks = match vectors {
        PendingVectors::Old(old) => return Ok(vec![row(None, text, Vector::Old(old))]),
        PendingVectors::Chunks { chunks, .. } => chunks,
    };
    let mut vectors = Vec::with_capacity(chunks.len());
    let mut spans = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        vectors.push(chunk.vector.unwrap_or_else(|| panic!("a vector for each chunk of {id}"))?);
        spans.push(chunk.span);
    }
    match job.rows {
        RowKind::Documents => {
            let mean = mean(&vectors.into_iter().map(Vector::made).collect::<Vec<_>>())?;
            Ok(vec![row(None, text, Vector::New(mean.truncate(job.dim)?))])
        }
        RowKind::Chunks => spans
            .into_iter()
            .zip(vectors)
            .zip(0..)
            .map(|((span, vector), chunk)| {
                Ok(row(Some(chunk), text[span].to_owned(), vector.truncate(job.dim)?))
            })
            .collect(),
    }
}

/// Writes the stale rows, and reports each stale document once. Must be called after all other rows are written.
///
/// # Errors
/// The old file cannot be read any more, or `sink` fails.
pub(super) fn emit_stale(
    Stale { file, rows }: &Stale,
    job: &Job,
    reporter: &Reporter,
    sink: &mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let keep: Vec<&str> = job.reading.fields.keep.iter().map(String::as_str).collect();
    for rows in rows.chunks(STALE_ROWS) {
        let rows = file.rows_with(rows, &keep)?;
        for row in rows.iter().filter(|row| row.id.chunk.unwrap_or(0) == 0) {
            reporter.stale(&row.id.document);
        }
        if !job.is_dry {
            sink(rows)?;
        }
    }
    Ok(())
}
