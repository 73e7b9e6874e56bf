//! Makes the rows of a document after all vectors of the document have been made or found.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::account::{Account, Stale};
use super::chunk_store::ChunkStore;
use super::job::{DocumentSize, Job};
use super::pending::{PendingDocument, PendingVectors};
use crate::console::Reporter;
use crate::error::NoVector;
use crate::index::provenance::DocumentColumn;
use crate::index::{Row, RowId, RowKind, Vector};
use crate::source::Document;
use crate::text::chunk::{ChunkPlace, heading_text};
use crate::vector::mean::mean;

/// Limit on the stale rows that are held in memory at a time, between reading them from the old file and writing them.
const STALE_ROWS: usize = 1024;

/// Counts a document and returns its rows. If the rows cannot be made, this function counts and reports a failure, and returns no
/// rows. In a dry run, this function only counts the document.
pub(super) fn finish(
    pending: PendingDocument,
    job: &Job,
    chunk_store: &mut ChunkStore,
    account: &mut Account,
) -> Vec<Row> {
    let PendingDocument { document, id, vectors, is_new } = pending;
    let place = document.place();
    let count = vectors.rows(job.rows);
    if job.rows == RowKind::Documents && !job.is_dry {
        note(document.content.text(), &vectors, job, chunk_store);
    }
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

/// Tells the chunk store about a document that may have several chunks.
fn note(text: &str, vectors: &PendingVectors, job: &Job, chunk_store: &mut ChunkStore) {
    match vectors {
        // A token has at least one byte, so a shorter text has one chunk.
        PendingVectors::Old(..) if text.len() > job.chunking.tokens => chunk_store.saw(text),
        PendingVectors::Chunks { chunks, .. } if chunks.len() > 1 => {
            chunk_store.split(text, chunks.iter().map(|chunk| chunk.digest).collect());
        }
        _ => {}
    }
}

/// Makes one row with the mean of the chunks' vectors, or one row per chunk. If a chunk failed, the whole document fails: the
/// mean of the remaining chunks would not be the vector of the document's text.
fn rows(document: Document, vectors: PendingVectors, job: &Job) -> Result<Vec<Row>, NoVector> {
    let Document { id, content, kept, title, .. } = document;
    let row =
        |chunk, text, vector, kept| Row { id: RowId { document: id.clone(), chunk }, text, vector, kept };
    let chunks = match vectors {
        PendingVectors::Old(old, size) => {
            let kept = with_columns(kept, title, size, job);
            return Ok(vec![row(None, content.into_text(), Vector::Old(old), kept)]);
        }
        PendingVectors::Chunks { chunks, .. } => chunks,
    };
    let mut vectors = Vec::with_capacity(chunks.len());
    let mut places = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        vectors.push(chunk.vector.unwrap_or_else(|| panic!("a vector for each chunk of {id}"))?);
        places.push(chunk.place);
    }
    match job.rows {
        RowKind::Documents => {
            let tokens = places.iter().map(|place| place.tokens);
            let size =
                DocumentSize { tokens: tokens.clone().sum::<usize>() as u64, chunks: places.len() as u64 };
            let mean = mean(&vectors.into_iter().map(Vector::made).zip(tokens).collect::<Vec<_>>())?;
            let vector = Vector::New(mean.truncate(job.dim)?);
            let kept = with_columns(kept, title, size, job);
            Ok(vec![row(None, content.into_text(), vector, kept)])
        }
        RowKind::Chunks => {
            let text = content.text();
            let mut characters = Characters { text, at: 0, count: 0 };
            let rows = places.iter().zip(vectors).zip(0u32..).map(|((place, vector), chunk)| {
                let span = characters.span(&place.span);
                let mut values = provenance(&id, chunk, title.as_deref(), place, text, span);
                values.extend(kept.iter().cloned());
                Ok(row(Some(chunk), place.text(text), vector.truncate(job.dim)?, values.into()))
            });
            rows.collect()
        }
    }
}

/// Puts the values of the columns of documents before the kept values.
fn with_columns(kept: Arc<[Value]>, title: Option<String>, size: DocumentSize, job: &Job) -> Arc<[Value]> {
    if job.columns.of_documents.is_empty() {
        return kept;
    }
    let value = |column: &DocumentColumn| match column {
        DocumentColumn::Title => title.clone().into(),
        DocumentColumn::Tokens => size.tokens.into(),
        DocumentColumn::Chunks => size.chunks.into(),
    };
    job.columns.of_documents.iter().map(value).chain(kept.iter().cloned()).collect()
}

/// Returns the values of the columns in [`provenance`](crate::index::provenance). `span` is the place of the chunk in characters.
fn provenance(
    document: &str,
    chunk: u32,
    title: Option<&str>,
    place: &ChunkPlace,
    text: &str,
    span: Range<usize>,
) -> Vec<Value> {
    let headings = place.headings.iter().map(|heading| Value::from(heading_text(&text[heading.clone()])));
    let (page, page_end) = place.pages.unzip();
    vec![
        document.into(),
        chunk.into(),
        title.into(),
        headings.collect(),
        page.into(),
        page_end.into(),
        span.start.into(),
        span.end.into(),
        place.tokens.into(),
    ]
}

/// Converts positions in bytes to positions in characters. Counts each character once if the positions only grow.
struct Characters<'a> {
    text: &'a str,
    /// The latest start, in bytes, and in characters.
    at: usize,
    count: usize,
}

impl Characters<'_> {
    fn span(&mut self, span: &Range<usize>) -> Range<usize> {
        let characters = |range: Range<usize>| self.text[range].chars().count();
        // With an overlap, a chunk starts before the end of the chunk before it, but never before its start.
        self.count += characters(self.at..span.start);
        self.at = span.start;
        self.count..self.count + characters(span.clone())
    }
}

/// Writes the id of the document and the number of the chunk into their columns, which come first. A file of an older version has no
/// such columns.
fn name_document(row: &mut Row) {
    let named = [Value::from(row.id.document.as_str()), row.id.chunk.into()];
    let others = row.kept.iter().skip(named.len()).cloned();
    row.kept = named.into_iter().chain(others).collect();
}

/// Writes the stale rows, and reports each stale document once. Must be called after all other rows are written.
///
/// # Errors
/// The old file cannot be read any more, or `sink` fails.
pub(super) fn emit_stale(
    Stale { file, rows }: &Stale,
    job: &Job,
    reporter: &Reporter,
    chunk_store: &mut ChunkStore,
    sink: &mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let keep = job.columns.names();
    for rows in rows.chunks(STALE_ROWS) {
        let mut rows = file.rows_with(rows, &keep)?;
        if job.rows == RowKind::Chunks {
            rows.iter_mut().for_each(name_document);
        }
        for row in rows.iter().filter(|row| row.id.chunk.unwrap_or(0) == 0) {
            reporter.stale(&row.id.document);
            chunk_store.saw(&row.text);
        }
        if !job.is_dry {
            sink(rows)?;
        }
    }
    Ok(())
}
