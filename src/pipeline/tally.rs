//! Counts of a run: what became of its documents, and how much the model had to do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::console::{HumanCount, counted};
use crate::source::LeftOut;

/// What became of the documents. The members are those of the report: `docs/report.schema.json` describes them.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Tally {
    /// Documents found.
    pub seen: u64,
    /// Documents of which at least one chunk went through the model in this run.
    pub embedded: u64,
    /// Documents whose vectors existed already: in the old output, from an interrupted run, or from an equal text in this run.
    pub reused: u64,
    /// Documents without text after cleaning.
    pub empty: u64,
    /// Documents that could not be read or embedded. Each is named on stderr.
    pub failed: u64,
    /// Failures that name no document, in a shard other than the first, which counts them as failed. Some of the documents
    /// behind them may belong to this shard.
    pub unassigned: u64,
    /// Documents that could not be read and keep their rows of the old output.
    pub stale: u64,
    /// Documents of the old output that are no longer in the inputs, neither by id nor by text.
    pub gone: u64,
    /// Documents by encoding, for encodings other than UTF-8.
    pub decoded: BTreeMap<&'static str, u64>,
    /// What was found and skipped, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// How a summary speaks of the documents.
#[derive(Debug, Clone, Copy)]
pub struct TallyWording {
    /// Whether the run embeds nothing and only says what it would do.
    pub is_dry: bool,
    /// Where the vectors of reused documents came from.
    pub reused: Reused,
}

/// Where the vectors of reused documents came from.
#[derive(Debug, Clone, Copy)]
pub enum Reused {
    /// From earlier runs, or from equal texts in this one.
    Vectors,
    /// Only from equal texts in this run.
    Duplicates,
}

/// What the model had to do.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Work {
    /// Chunks that went through the model; in a dry run, chunks that would.
    pub chunks: u64,
    /// Tokens in these chunks.
    pub tokens: u64,
    /// Time in the model.
    #[serde(skip)]
    pub embedding: Duration,
    /// Tokens that went through the model in this time: all of them, or in a dry run those of a trial.
    #[serde(skip)]
    pub tokens_timed: u64,
}

impl Work {
    /// Returns the speed of the model; `None` before the first tokens.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens_timed > 0).then(|| self.tokens_timed as f64 / self.embedding.as_secs_f64().max(1e-3))
    }
}

impl Tally {
    /// Counts a document that was found, and its encoding unless that is UTF-8.
    pub fn found(&mut self, encoding: Option<&'static str>) {
        self.seen += 1;
        if let Some(encoding) = encoding {
            *self.decoded.entry(encoding).or_default() += 1;
        }
    }

    /// Says what became of documents that were only read.
    pub fn read(&self) -> String {
        let (empty, failed) = (HumanCount(self.empty), HumanCount(self.failed));
        format!("{}: {empty} empty, {failed} failed{}", documents(self.seen), self.asides())
    }

    /// Says what became of the documents of a run.
    pub fn summary(&self, TallyWording { is_dry, reused }: TallyWording) -> String {
        let embedded = if is_dry { "would be embedded" } else { "embedded" };
        let mut line = format!("{}: {} {embedded}", documents(self.seen), HumanCount(self.embedded));
        if self.reused > 0 {
            let reused = match reused {
                Reused::Vectors => format!("{} reused", HumanCount(self.reused)),
                Reused::Duplicates => counted(self.reused, "duplicate"),
            };
            line += &format!(", {reused}");
        }
        line += &format!(", {} empty, {} failed", HumanCount(self.empty), HumanCount(self.failed));
        if self.unassigned > 0 {
            let failures = counted(self.unassigned, "failure");
            line += &format!("; {failures} of unknown documents");
        }
        if self.stale > 0 {
            line += &format!("; {} kept from the last run", HumanCount(self.stale));
        }
        line + &self.asides()
    }

    /// Returns the counts for programs.
    pub fn details(&self) -> Value {
        json!({
            "documents": self.seen,
            "embedded": self.embedded,
            "reused": self.reused,
            "empty": self.empty,
            "failed": self.failed,
            "unassigned": self.unassigned,
            "stale": self.stale,
            "gone": self.gone,
            "decoded": self.decoded,
            "skipped": self.left_out,
        })
    }

    /// Says which encodings there were beside UTF-8, and what was skipped.
    fn asides(&self) -> String {
        let decoded =
            self.decoded.iter().map(|(encoding, count)| format!("{} {encoding}", HumanCount(*count)));
        let skipped = self.left_out.iter().map(|(&why, &count)| skipped(why, count));
        let list = |start: &str, items: Vec<String>| {
            if items.is_empty() { String::new() } else { format!("; {start}: {}", items.join(", ")) }
        };
        list("decoded", decoded.collect()) + &list("skipped", skipped.collect())
    }

    /// Whether a document has no row or an old one, or may have none.
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
        f.write_str(&self.summary(TallyWording { is_dry: false, reused: Reused::Vectors }))
    }
}

fn documents(count: u64) -> String {
    counted(count, "document")
}

fn skipped(why: LeftOut, count: u64) -> String {
    match why {
        LeftOut::Hidden => format!("{} hidden", HumanCount(count)),
        LeftOut::Link => counted(count, "symlink"),
        LeftOut::Excluded => format!("{} excluded", HumanCount(count)),
        LeftOut::OtherKind => format!("{} of other formats", HumanCount(count)),
        LeftOut::Special => counted(count, "special file"),
        LeftOut::Index => format!("{} made by this tool", HumanCount(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let wording = TallyWording { is_dry: false, reused: Reused::Vectors };
        let mut tally = Tally { seen: 1, embedded: 1, ..Tally::default() };
        assert_eq!(tally.summary(wording), "1 document: 1 embedded, 0 empty, 0 failed");
        tally.left_out.extend([(LeftOut::Link, 1), (LeftOut::OtherKind, 2315)]);
        tally.decoded.insert("GBK", 1000);
        (tally.seen, tally.reused) = (2316, 2315);
        assert_eq!(
            tally.summary(TallyWording { is_dry: true, reused: Reused::Duplicates }),
            "2,316 documents: 1 would be embedded, 2,315 duplicates, 0 empty, 0 failed; decoded: 1,000 GBK; \
             skipped: 1 symlink, 2,315 of other formats"
        );
        (tally.stale, tally.unassigned) = (1, 1);
        let line = tally.to_string();
        assert!(line.contains(", 2,315 reused, "), "{line}");
        assert!(line.contains("; 1 failure of unknown documents; 1 kept from the last run; "), "{line}");
    }
}
