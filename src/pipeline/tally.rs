//! The counts of a run: documents by outcome, and the work of the model.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::console::{HumanCount, Reporter, counted};
use crate::source::{Document, LeftOut};

/// The number of documents by outcome. `docs/report.schema.json` describes these fields.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Tally {
    /// Documents that were found.
    pub seen: u64,
    /// Documents with at least one chunk that the model embedded in this run.
    pub embedded: u64,
    /// Documents with vectors that existed already: in the old output, from an interrupted run, or from an equal text in this
    /// run.
    pub reused: u64,
    /// Documents with a text that is empty after cleaning.
    pub empty: u64,
    /// Documents that could not be read or embedded. Each failure is printed on stderr.
    pub failed: u64,
    /// Failures that name no document, in a shard after the first shard. Such a failure may hide documents of the shard. In the
    /// first shard, such failures are counted as `failed`.
    pub unassigned: u64,
    /// Documents whose rows were copied from the old output, because the documents could not be read.
    pub stale: u64,
    /// The ids of those of them whose vectors were made with other rules for long texts.
    #[serde(skip)]
    pub outdated: Vec<String>,
    /// Documents of the old output that are gone: neither the id nor the text is in the inputs any more.
    pub gone: u64,
    /// Documents that are gone because a `.ignore` or `.gitignore` excludes them.
    #[serde(skip)]
    pub ignored: u64,
    /// Whether no document of the old output has its id any more, although most of the texts are still there.
    #[serde(skip)]
    pub all_ids_changed: bool,
    /// Number of documents per encoding. Documents in UTF-8 are not counted.
    pub decoded: BTreeMap<&'static str, u64>,
    /// Documents with stray bytes that were replaced or removed. Each document is named on stderr.
    pub repaired: u64,
    /// Number of files and folders that were skipped, per reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// The wording of a summary.
#[derive(Debug, Clone, Copy)]
pub struct TallyWording {
    /// Whether the run is a dry run. A dry run only says how many documents a real run would embed.
    pub is_dry: bool,
    /// The source of the vectors of reused documents.
    pub reused: Reused,
}

/// The source of the vectors of reused documents.
#[derive(Debug, Clone, Copy)]
pub enum Reused {
    /// The vectors are from earlier runs, or from equal texts in this run.
    Vectors,
    /// The vectors are only from equal texts in this run.
    Duplicates,
}

/// The work of the model.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Work {
    /// Chunks that the model embedded, or in a dry run, chunks that the model would embed.
    pub chunks: u64,
    /// Tokens in the chunks that `chunks` counts.
    pub tokens: u64,
    /// The time that the model needed on all devices together, divided by the number of devices.
    #[serde(skip)]
    pub embedding: Duration,
    /// Tokens that the model embedded in the time `embedding`: all tokens, or in a dry run the tokens of the trial.
    #[serde(skip)]
    pub tokens_timed: u64,
}

impl Work {
    /// Returns the speed of the model in tokens per second; `None` before the first tokens are embedded.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens_timed > 0).then(|| self.tokens_timed as f64 / self.embedding.as_secs_f64().max(1e-3))
    }
}

impl Tally {
    /// Counts a document that was found, and its encoding if the encoding is not UTF-8.
    pub fn found(&mut self, encoding: Option<&'static str>) {
        self.seen += 1;
        if let Some(encoding) = encoding {
            *self.decoded.entry(encoding).or_default() += 1;
        }
    }

    /// Counts and reports a document if it has stray bytes.
    pub fn repaired(&mut self, document: &Document, reporter: &Reporter) {
        if document.repaired > 0 {
            self.repaired += 1;
            reporter.repaired(&document.place(), document.repaired as u64);
        }
    }

    /// Returns a summary of the documents for a command that only reads documents.
    pub fn read(&self) -> String {
        let (empty, failed) = (HumanCount(self.empty), HumanCount(self.failed));
        format!("{}: {empty} empty, {failed} failed{}", documents(self.seen), self.asides())
    }

    /// Returns a summary of the documents of a build.
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
            line += &format!("; {failures} with no known document");
        }
        if self.stale > 0 {
            line += &format!("; {} kept from the previous run", HumanCount(self.stale));
        }
        line + &self.asides()
    }

    /// Returns the counts as JSON, for programs.
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
            "repaired": self.repaired,
            "skipped": self.left_out,
        })
    }

    /// Returns the end of a summary: the encodings except UTF-8, the repaired documents, and the files that were skipped.
    fn asides(&self) -> String {
        let decoded =
            self.decoded.iter().map(|(encoding, count)| format!("{} {encoding}", HumanCount(*count)));
        let skipped = self.left_out.iter().map(|(&why, &count)| skipped(why, count));
        let list = |start: &str, items: Vec<String>| {
            if items.is_empty() { String::new() } else { format!("; {start}: {}", items.join(", ")) }
        };
        let repaired = (self.repaired > 0).then(|| documents(self.repaired));
        list("decoded", decoded.collect())
            + &list("repaired", repaired.into_iter().collect())
            + &list("skipped", skipped.collect())
    }

    /// Returns whether there were failures, including failures that name no document.
    pub fn have_failures(&self) -> bool {
        self.failed + self.unassigned > 0
    }

    /// Returns whether the counts of embedded, reused, empty and failed documents add up to the number of found documents.
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
        LeftOut::Attachment => format!("{} of other formats", counted(count, "attachment")),
        LeftOut::Page => format!("{} without text", counted(count, "page")),
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
        assert!(
            line.contains("; 1 failure with no known document; 1 kept from the previous run; "),
            "{line}"
        );
    }
}
