//! Collects the documents that a worker finds in a file, and sends them in groups.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::ContentError;
use crate::source::extract::Extracted;
use crate::source::fields::{self, Record};

/// Maximum number of documents per group.
const GROUP_MEMBERS: usize = 256;

/// Size at which a group is complete, in bytes of documents. No more documents are added to a complete group.
const GROUP_BYTES: usize = 64 << 10;

/// Time after which a group is complete. The limit on the time of a worker is per group, and the first document of a group
/// may need all of it.
const GROUP_TIME: Duration = Duration::from_secs(1);

/// One document of a file that holds several, or the reason why it cannot be read.
#[derive(Debug, Serialize, Deserialize)]
pub enum Member {
    /// The number of a row, counted from 1, and the values of its requested columns.
    Row(u64, Result<Record, ContentError>),
    /// A section that is one document.
    Document(Result<Extracted, ContentError>),
}

impl Member {
    /// Returns the approximate size in memory, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Member::Row(_, Ok(record)) => fields::bytes(record),
            Member::Document(Ok(extracted)) => extracted.content.text().len(),
            Member::Row(_, Err(_)) | Member::Document(Err(_)) => 0,
        }
    }
}

/// A group of documents from a worker.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// The part of the file that the documents are in, as it follows the id of the file in their ids: `#Prices` for the sheet
    /// `Prices`, and nothing in a file without parts.
    pub section: String,
    /// The names of all columns of a table, before its first row.
    pub columns: Vec<String>,
    pub members: Vec<Member>,
    /// How many bytes of the file have been read so far, or an estimate of that.
    pub consumed: u64,
    /// How reading the file ended; `None` if more groups follow.
    pub end: Option<Result<(), ContentError>>,
}

/// Collects documents into groups and sends each complete group.
pub struct Outbox<'a> {
    send: &'a mut dyn FnMut(&Sent) -> io::Result<()>,
    /// The group that is not complete yet.
    group: Sent,
    /// Size of the documents in the group, in bytes.
    bytes: usize,
    started: Instant,
}

impl<'a> Outbox<'a> {
    /// Returns an empty outbox. `send` sends one group.
    pub fn new(send: &'a mut dyn FnMut(&Sent) -> io::Result<()>) -> Self {
        Outbox { send, group: Sent::default(), bytes: 0, started: Instant::now() }
    }

    /// Starts a section. The documents that follow are in it.
    pub fn section(&mut self, name: String) -> io::Result<()> {
        self.flush()?;
        self.group.section = name;
        Ok(())
    }

    /// Starts a table with these columns.
    pub fn columns(&mut self, names: Vec<String>) {
        self.group.columns = names;
    }

    /// Records how many bytes of the file have been read so far.
    pub fn consumed(&mut self, bytes: u64) {
        self.group.consumed = bytes;
    }

    /// Adds a document.
    pub fn push(&mut self, member: Member) -> io::Result<()> {
        self.bytes += member.bytes();
        self.group.members.push(member);
        let is_full = self.group.members.len() >= GROUP_MEMBERS || self.bytes >= GROUP_BYTES;
        if is_full || self.started.elapsed() >= GROUP_TIME { self.flush() } else { Ok(()) }
    }

    /// Sends the final group.
    pub fn end(mut self, end: Result<(), ContentError>) -> io::Result<()> {
        self.group.end = Some(end);
        (self.send)(&self.group)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.group.members.is_empty() {
            (self.send)(&self.group)?;
        }
        let Sent { section, consumed, .. } = mem::take(&mut self.group);
        self.group = Sent { section, consumed, ..Sent::default() };
        (self.bytes, self.started) = (0, Instant::now());
        Ok(())
    }
}
