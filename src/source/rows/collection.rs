//! Reads files that hold several documents and need a parser that a damaged file may crash. A worker reads such a file and
//! sends the documents to this process.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::vec;

use super::source::Source;
use crate::error::DocumentError;
use crate::source::collection::outbox::{Member, Sent};
use crate::source::format::CollectionFormat;
use crate::source::found::Found;
use crate::source::location::Location;
use crate::source::raw::{Reading, RowContent};
use crate::source::seen_fields::SeenFields;
use crate::source::worker::Worker;

/// The documents of one file.
pub struct Members {
    /// `None` after the final group.
    worker: Option<Worker>,
    members: vec::IntoIter<Member>,
    /// How many bytes of the file had been read before the latest group, and after it.
    consumed: (u64, u64),
    /// The number of documents in the latest group.
    group: u64,
    /// The error that ended the reading of the file. It follows the documents of the final group.
    error: Option<DocumentError>,
    source: Source,
    seen: Arc<SeenFields>,
    /// The number of the latest row of the section; `None` if the documents are no rows.
    row: Option<u64>,
}

impl Members {
    pub fn open(
        location: &Location,
        format: CollectionFormat,
        source: Source,
        is_root: bool,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        // A worker can open no files and has no credentials for object storage, so it gets an open file.
        let file = location.file()?;
        let (worker, sent) = reading.workers.collection(&file, format, &reading.fields, is_root)?;
        // All documents of a Parquet file are rows.
        let row = (format == CollectionFormat::Parquet).then_some(0);
        let (members, seen) = (Vec::new().into_iter(), reading.seen.clone());
        let (worker, consumed) = (Some(worker), (0, 0));
        let mut documents = Members { worker, members, consumed, group: 0, error: None, source, seen, row };
        documents.accept(sent);
        Ok(documents)
    }

    fn accept(&mut self, sent: Sent) {
        let Sent { section, columns, members, consumed, end } = sent;
        self.seen.columns(&columns);
        self.source.section(section);
        self.consumed = (self.consumed.1, consumed.max(self.consumed.1));
        self.group = members.len() as u64;
        self.members = members.into_iter();
        if let Some(end) = end {
            self.worker = None;
            self.error = end.err().map(DocumentError::from);
        }
    }

    fn found(&mut self, member: Member) -> Found {
        // The documents of a group share what was read for it.
        let (before, after) = self.consumed;
        let done = self.group - self.members.len() as u64;
        let share = u128::from(after - before) * u128::from(done) / u128::from(self.group.max(1));
        self.source.consumed.store(before + u64::try_from(share).unwrap_or(0), Relaxed);
        match member {
            Member::Row(number, Ok(record)) => {
                self.row = Some(number);
                self.source.row(number, RowContent::Record(record))
            }
            Member::Row(number, Err(cause)) => {
                self.row = Some(number);
                self.source.failed(number, cause.into())
            }
            Member::Document(Ok(extracted)) => self.source.document(extracted),
            Member::Document(Err(cause)) => self.source.failed_document(cause.into()),
        }
    }
}

impl Iterator for Members {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(member) = self.members.next() {
                return Some(self.found(member));
            }
            if let Some(cause) = self.error.take() {
                return Some(self.source.failed_from(self.row.map(|row| row + 1), cause));
            }
            match self.worker.as_mut()?.receive::<Sent>().and_then(|sent| Ok(sent?)) {
                Ok(sent) => self.accept(sent),
                Err(cause) => {
                    self.worker = None;
                    self.error = Some(cause);
                }
            }
        }
    }
}
