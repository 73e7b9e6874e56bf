//! Counts documents, reports failures, and records which documents of the old file were found, lost or moved.

use std::collections::HashSet;

use anyhow::ensure;
use serde_json::json;

use super::job::{Job, OldOutput};
use super::origins::NotReused;
use super::prepare::{PreparedDocument, Ready};
use super::stale::{ID_SEPARATORS, Missing};
use super::tally::Tally;
use crate::console::{Detail, Reporter, trace};
use crate::digest::Digest;
use crate::error::{Failure, Lost, NoVector};
use crate::index::{IndexFile, Old};

pub(super) struct Account<'a> {
    job: &'a Job,
    reporter: &'a Reporter,
    tally: &'a mut Tally,
    /// The old index, and the state of each of its documents in this run; `None` if there is no old index.
    old: Option<(&'a Old, Missing)>,
    /// For each row of the old file, how many rows of the new file were found to have its text.
    texts: Vec<u32>,
    /// The digests of the paths that a `.ignore` or `.gitignore` excludes. Empty if there is no old index.
    ignored: HashSet<Digest>,
    /// The number of rows of all documents that have their vectors.
    rows: u64,
}

/// Rows of the old file that stay in the index, because their documents cannot be read in this run.
pub(super) struct Stale<'a> {
    pub file: &'a IndexFile,
    pub rows: Vec<u32>,
}

/// The reason why the new index may not be written.
#[derive(Debug, thiserror::Error)]
pub enum TooFewDocuments {
    /// A root contains no documents, but the old output has documents.
    #[error("input {root}: contains no documents, but the old output does")]
    NoneInRoot {
        /// The name of the root.
        root: String,
    },
    /// A root contains no documents, and there is no old output with documents.
    #[error("input {root}: contains no documents")]
    NoneYet {
        /// The name of the root.
        root: String,
    },
    /// More than half of the documents of the old output are gone.
    #[error("{removed} of the {documents} documents of the old output are gone{}", because_ignored(*ignored))]
    MostGone {
        /// How many documents are gone.
        removed: usize,
        /// How many documents the old output has.
        documents: u32,
        /// How many of the documents that are gone are excluded by a `.ignore` or `.gitignore`.
        ignored: u64,
    },
    /// The old output is damaged, and has more than twice as many rows as the new one.
    #[error("the damaged old output has {before} rows, but the inputs have only {rows}")]
    FewerRows {
        /// How many rows the new output has.
        rows: u64,
        /// How many rows the old output has, according to its footer.
        before: u64,
    },
}

fn because_ignored(ignored: u64) -> String {
    match ignored {
        0 => String::new(),
        _ => format!(", {ignored} of them because a .gitignore or .ignore excludes them"),
    }
}

impl<'a> Account<'a> {
    pub fn new(job: &'a Job, reporter: &'a Reporter, tally: &'a mut Tally) -> Self {
        let missing = |old: &'a Old| {
            let stale = old.file.metadata().map_or(0, |metadata| metadata.stale);
            (old, Missing::new(old.file.documents(), stale))
        };
        let rows = job.old.index().map_or(0, |old| old.file.rows() as usize);
        let texts = vec![0; rows];
        Account {
            job,
            reporter,
            tally,
            old: job.old.index().map(missing),
            texts,
            ignored: HashSet::new(),
            rows: 0,
        }
    }

    /// Counts one outcome: a document, a failure, a skipped file or a root without documents. Returns the document if the outcome
    /// is a document with a text.
    ///
    /// # Errors
    /// A store cannot be reached any more, or a root contains no documents and the settings do not allow this.
    pub fn count(&mut self, item: PreparedDocument) -> anyhow::Result<Option<Ready>> {
        match item {
            PreparedDocument::Ready(ready) => {
                self.tally.found(ready.document.encoding);
                self.tally.repaired(&ready.document, self.reporter);
                self.mark(ready.id, Missing::found);
                ready.same_text.iter().for_each(|&row| self.has_text_of(row));
                return Ok(Some(ready));
            }
            PreparedDocument::Empty(id) => {
                self.tally.seen += 1;
                self.tally.empty += 1;
                self.mark(id, Missing::empty);
            }
            PreparedDocument::Failed(failure) => {
                self.tally.seen += 1;
                let failure = failure.tolerated()?;
                self.lose(&failure);
                self.fail(&failure);
            }
            PreparedDocument::Unassigned(failure) => {
                self.tally.unassigned += 1;
                let failure = failure.tolerated()?;
                self.lose(&failure);
                self.reporter.failed(&failure);
            }
            PreparedDocument::LeftOut(why) => *self.tally.left_out.entry(why).or_default() += 1,
            PreparedDocument::Ignored(path) => {
                if self.old.is_some() {
                    self.ignored.insert(path);
                }
            }
            PreparedDocument::Nothing(root) => {
                ensure!(
                    self.job.allow_empty,
                    match self.job.old.has_documents() {
                        true => TooFewDocuments::NoneInRoot { root },
                        false => TooFewDocuments::NoneYet { root },
                    }
                );
                self.reporter.warn(&format!("input {root}: contains no documents"));
            }
        }
        Ok(None)
    }

    /// Returns why the old file does not have all vectors of the document with this id; `None` if there is no old file.
    pub fn not_reused(&self, id: Digest) -> Option<NotReused> {
        let (old, _) = self.old.as_ref()?;
        Some(match old.file.document(id) {
            _ if self.job.is_rebuild || !old.has_vectors() => NotReused::OtherSettings,
            None => NotReused::NewId,
            Some(_) => NotReused::OtherText,
        })
    }

    /// Counts a document that has all its vectors. `is_new` says whether the model made at least one of the vectors for this
    /// document, and `rows` how many rows the document has.
    pub fn finish(&mut self, is_new: bool, rows: usize) {
        self.rows += rows as u64;
        *(if is_new { &mut self.tally.embedded } else { &mut self.tally.reused }) += 1;
    }

    /// Counts and reports a document that has no vector.
    pub fn fail_without_vector(&mut self, id: Digest, place: String, cause: NoVector) {
        self.mark(id, Missing::failed);
        self.fail(&Failure { place, cause: cause.into(), lost: Lost::Nothing });
    }

    /// Records that the new file also has the text of this row of the old file.
    pub fn has_text_of(&mut self, row: u32) {
        self.texts[row as usize] += 1;
    }

    /// Returns the rows of the old file that stay in the index, because their documents cannot be read in this run. Must be
    /// called after all documents are counted.
    ///
    /// # Errors
    /// Too many documents of the old file are gone, or the old file cannot be read any more.
    pub fn stale(&mut self) -> anyhow::Result<Option<Stale<'a>>> {
        let tally = &mut *self.tally;
        assert!(tally.add_up(), "every document is accounted for: {tally:?}");
        // With --allow-empty, a run that finds no documents may remove all documents of the old file.
        let may_shrink = self.job.allow_shrink || self.job.allow_empty && tally.seen == 0;
        if let OldOutput::Damaged { rows: before } = self.job.old {
            ensure!(
                self.rows.saturating_mul(2) >= before || may_shrink,
                TooFewDocuments::FewerRows { rows: self.rows, before }
            );
        }
        let Some((old, missing)) = &mut self.old else { return Ok(None) };
        let file = &old.file;
        if missing.removed(&[]) > 0 {
            file.spread(&mut self.texts);
            for (document, (_, rows)) in (0..).zip(file.each_document()) {
                // Documents may share chunks, such as a licence, so one chunk does not tell that the document is there.
                if self.texts[rows.start as usize..rows.end as usize].iter().all(|&found| found > 0) {
                    missing.moved(document);
                }
            }
        }
        let stale = if old.has_stale_rows() {
            missing.stale(|documents| file.document_ids(documents))?
        } else {
            Vec::new()
        };
        let (removed, documents) = (missing.removed(&stale), file.documents());
        if Detail::Documents.is_said() {
            for id in file.document_ids(&missing.gone(&stale))? {
                let why = if is_ignored(&id, &self.ignored) { "excluded from" } else { "gone from" };
                let line = format!("{id}: {why} the inputs, so its rows are removed");
                trace(|| (line, json!({"id": id, "gone": true})));
            }
        }
        if !self.ignored.is_empty() {
            let ids = file.document_ids(&missing.gone(&stale))?;
            tally.ignored = ids.iter().filter(|id| is_ignored(id, &self.ignored)).count() as u64;
        }
        ensure!(
            removed * 2 <= documents as usize || may_shrink,
            TooFewDocuments::MostGone { removed, documents, ignored: tally.ignored }
        );
        tally.stale = stale.len() as u64;
        let is_outdated = |&document: &u32| !old.has_vectors() || file.is_outdated(document);
        let outdated: Vec<u32> = stale.iter().copied().filter(is_outdated).collect();
        tally.outdated = file.document_ids(&outdated)?;
        tally.gone = removed as u64;
        tally.all_ids_changed = missing.all_ids_changed();
        let rows = stale.iter().flat_map(|&document| file.rows_of(document)).collect();
        Ok(Some(Stale { file, rows }))
    }

    fn fail(&mut self, failure: &Failure) {
        self.tally.failed += 1;
        self.reporter.failed(failure);
    }

    fn lose(&mut self, failure: &Failure) {
        match (&failure.lost, &mut self.old) {
            (Lost::Document(id), _) => self.mark(Digest::of(id.as_bytes()), Missing::unreadable),
            (Lost::Below(path), Some((_, missing))) => missing.lost(Some(path)),
            (Lost::Unknown, Some((_, missing))) => missing.lost(None),
            (Lost::Nothing, _) | (_, None) => {}
        }
    }

    /// Calls `mark` for the document of the old file with this id. Does nothing if the old file has no such document.
    fn mark(&mut self, id: Digest, mark: fn(&mut Missing, u32)) {
        if let Some((old, missing)) = &mut self.old
            && let Some(document) = old.file.document(id)
        {
            mark(missing, document);
        }
    }
}

/// Returns whether the id is a path in `ignored`, or the id of a document, row or section below such a path.
fn is_ignored(id: &str, ignored: &HashSet<Digest>) -> bool {
    let ends = id.match_indices(ID_SEPARATORS).map(|(end, _)| end).chain([id.len()]);
    ends.into_iter().any(|end| ignored.contains(&Digest::of(&id.as_bytes()[..end])))
}
