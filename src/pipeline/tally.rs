//! What became of the documents of a run, and what the model had to do.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::console::HumanCount;
use crate::source::LeftOut;

/// What became of the documents.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Tally {
    /// Found.
    pub seen: u64,
    /// Of which something went through the model in this run.
    pub embedded: u64,
    /// Whose vectors were there: from the old output, an interrupted run, or an equal text in this one.
    pub reused: u64,
    /// With nothing in them after cleaning.
    pub empty: u64,
    /// Something is wrong with them; each is told by name.
    pub failed: u64,
    /// Failures that do not say of which document, where this is a shard other than the first, which counts them: some of
    /// what is behind them may have been this one's.
    pub unassigned: u64,
    /// Cannot be read today, and have the rows of the old output.
    pub stale: u64,
    /// Were in the old output, and neither they nor their texts are in the inputs any more.
    pub gone: u64,
    /// In another encoding than UTF-8.
    pub decoded: BTreeMap<&'static str, u64>,
    /// Found, and no document by rule.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// What the model had to do.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Work {
    /// Inputs of the model.
    pub chunks: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Time in the model.
    #[serde(skip)]
    pub embedding: Duration,
    /// Tokens that went through it in this time: all, unless it was a trial.
    #[serde(skip)]
    pub tokens_timed: u64,
}

impl Work {
    /// How fast tokens go through the model, once some have.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens_timed > 0).then(|| self.tokens_timed as f64 / self.embedding.as_secs_f64().max(1e-3))
    }
}

impl Tally {
    /// Counts one, and the encoding that it was in, where that was not UTF-8.
    pub fn found(&mut self, encoding: Option<&'static str>) {
        self.seen += 1;
        if let Some(encoding) = encoding {
            *self.decoded.entry(encoding).or_default() += 1;
        }
    }

    /// What became of them where none is to be embedded.
    pub fn read(&self) -> String {
        let (seen, empty, failed) = (HumanCount(self.seen), HumanCount(self.empty), HumanCount(self.failed));
        format!("{seen} documents: {empty} empty, {failed} failed{}", self.by_kind())
    }

    fn by_kind(&self) -> String {
        let mut kinds = String::new();
        for (at, (encoding, count)) in self.decoded.iter().enumerate() {
            let start = if at == 0 { "; decoded:" } else { "," };
            let _ = write!(kinds, "{start} {} {encoding}", HumanCount(*count));
        }
        for (at, (why, count)) in self.left_out.iter().enumerate() {
            let what = match why {
                LeftOut::Hidden => "hidden",
                LeftOut::Link => "links",
                LeftOut::Excluded => "excluded",
                LeftOut::OtherKind => "of other kinds",
                LeftOut::Special => "sockets, pipes or devices",
                LeftOut::Index => "indexes of this tool",
            };
            let start = if at == 0 { "; left out:" } else { "," };
            let _ = write!(kinds, "{start} {} {what}", HumanCount(*count));
        }
        kinds
    }

    /// Whether something has no row, or an old one, or may have none.
    pub fn have_failures(&self) -> bool {
        self.failed + self.unassigned > 0
    }

    /// Whether every document is accounted for.
    pub fn add_up(&self) -> bool {
        self.seen == self.embedded + self.reused + self.empty + self.failed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents: {} embedded", HumanCount(self.seen), HumanCount(self.embedded))?;
        if self.reused > 0 {
            write!(f, ", {} reused", HumanCount(self.reused))?;
        }
        write!(f, ", {} empty, {} failed", HumanCount(self.empty), HumanCount(self.failed))?;
        if self.unassigned > 0 {
            write!(f, "; {} failures of unknown documents", HumanCount(self.unassigned))?;
        }
        if self.stale > 0 {
            write!(f, "; {} kept from the last run", HumanCount(self.stale))?;
        }
        f.write_str(&self.by_kind())
    }
}
