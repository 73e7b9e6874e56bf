//! Turns the counts of a run into words: phase, documents, speed and time left.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::number::{HumanCount, counted, human_elapsed, human_seconds, tokens_per_second};
use super::width::joined;

/// The phase of a run. In the phases of loading, scanning and embedding, another thread finds and reads documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the index of the previous run.
    ReadingOldIndex,
    /// Comparing the files of the model with the files that the old index was made with.
    CheckingModel,
    /// Loading the model.
    LoadingModel,
    /// Finding and reading documents, until the first text has to be embedded.
    Scanning,
    /// Embedding a few texts in a dry run, to measure the speed.
    MeasuringSpeed,
    /// Embedding texts.
    Embedding,
    /// Writing the index, checking it and putting it in place.
    Writing,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Phase::ReadingOldIndex => "reading the old index",
            Phase::CheckingModel => "checking the model",
            Phase::LoadingModel => "loading the model",
            Phase::Scanning => "scanning",
            Phase::MeasuringSpeed => "measuring the speed",
            Phase::Embedding => "embedding",
            Phase::Writing => "writing",
        }
    }
}

/// The counts of a run so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunProgress {
    /// `None` before the first phase and after the final phase.
    pub phase: Option<Phase>,
    /// The time when embedding began.
    pub embedding_since: Option<Instant>,
    /// The size of all inputs, in bytes. `None` until the size is known, and always `None` for standard input.
    pub bytes_total: Option<u64>,
    /// The number of bytes read from the inputs so far.
    pub bytes_prepared: u64,
    /// The number of tokens to embed in the documents read so far.
    pub tokens_prepared: u64,
    pub tokens_embedded: u64,
    /// The number of documents with a text, among the documents found so far.
    pub documents_found: u64,
    pub is_all_found: bool,
    /// The number of documents that have all their vectors.
    pub documents_done: u64,
}

/// A count that may be an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Total {
    Exact(u64),
    About(u64),
}

impl RunProgress {
    /// Returns the number of embedded tokens divided by the number of all tokens. Returns `None` outside the phase of
    /// embedding, and while the number of all tokens is unknown.
    pub fn fraction(&self) -> Option<f64> {
        let left = self.tokens_left().filter(|_| self.phase == Some(Phase::Embedding))?;
        let all = self.tokens_embedded + left;
        (all > 0).then(|| self.tokens_embedded as f64 / all as f64)
    }

    /// Returns the number of tokens left to embed. Until all inputs have been read, the number is an estimate: unread inputs
    /// are assumed to have as many tokens per byte as the inputs that have been read. Returns `None` while no estimate is
    /// possible.
    pub fn tokens_left(&self) -> Option<u64> {
        let prepared = self.tokens_prepared.saturating_sub(self.tokens_embedded);
        if self.is_all_found {
            return Some(prepared);
        }
        Some(prepared + scaled(self.tokens_prepared, self.bytes_unread()?, self.bytes_prepared))
    }

    fn bytes_unread(&self) -> Option<u64> {
        let total = self.bytes_total.filter(|_| self.bytes_prepared > 0)?;
        Some(total.saturating_sub(self.bytes_prepared))
    }

    fn documents_total(&self) -> Option<Total> {
        if self.is_all_found {
            return Some(Total::Exact(self.documents_found));
        }
        let unread = scaled(self.documents_found, self.bytes_unread()?, self.bytes_prepared);
        Some(Total::About(rounded(self.documents_found + unread)))
    }

    fn speed(&self, embedding: Duration) -> Option<f64> {
        (self.tokens_embedded > 0).then(|| self.tokens_embedded as f64 / embedding.as_secs_f64().max(1e-3))
    }

    /// Returns the progress in words. `elapsed` is the time since the run began.
    pub fn in_words(&self, elapsed: Duration) -> ProgressWords {
        let embedding = self.embedding_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.in_words_at(elapsed, embedding)
    }

    fn in_words_at(&self, elapsed: Duration, embedding: Duration) -> ProgressWords {
        let is_embedding = self.phase == Some(Phase::Embedding);
        let speed = self.speed(embedding).filter(|_| is_embedding);
        let (documents, documents_briefly) = self.documents_in_words();
        let left = self.fraction().and(self.tokens_left());
        ProgressWords {
            percent: self.fraction().map(|fraction| format!("{:.0}%", (fraction * 100.0).floor())),
            phase: self.phase.map(|phase| phase.words().to_owned()),
            documents,
            documents_briefly,
            speed: speed.map(tokens_per_second),
            elapsed: Some(format!("{} elapsed", human_elapsed(elapsed))),
            left: left.zip(speed).map(|(left, speed)| format!("{} left", human_seconds(left as f64 / speed))),
        }
    }

    /// Returns a document count in words, and the same count in fewer words. In the phases of embedding and writing, this is
    /// the number of documents that are done. In the other phases, it is the number of documents found.
    fn documents_in_words(&self) -> (Option<String>, Option<String>) {
        let (done, found) = (HumanCount(self.documents_done), self.documents_found);
        let words = match (self.phase, self.documents_total()) {
            (Some(Phase::Writing | Phase::Embedding), Some(Total::Exact(total))) => {
                let documents = counted(total, "document");
                (format!("{done} of {documents}"), format!("{done} of {}", HumanCount(total)))
            }
            (Some(Phase::Embedding), Some(Total::About(total))) => {
                let total = HumanCount(total);
                (format!("{done} of about {total} documents"), format!("{done} of {total}"))
            }
            (Some(Phase::Embedding), None) => (counted(self.documents_done, "document"), done.to_string()),
            _ if found > 0 => {
                let documents = counted(found, "document");
                (format!("{documents} found"), documents)
            }
            _ => return (None, None),
        };
        (Some(words.0), Some(words.1))
    }

    /// Returns the counts as a JSON object.
    pub fn details(&self) -> Value {
        json!({
            "phase": self.phase.map(Phase::words),
            "documents_found": self.documents_found,
            "documents": self.documents_done,
            "tokens": self.tokens_embedded,
            "tokens_left": self.tokens_left(),
        })
    }
}

/// Returns `count * part / whole`, rounded to the nearest number.
#[allow(clippy::cast_possible_truncation)] // `as` saturates, which is fine for an estimate.
fn scaled(count: u64, part: u64, whole: u64) -> u64 {
    (count as f64 * part as f64 / whole.max(1) as f64).round() as u64
}

/// Rounds an estimate to three significant digits.
fn rounded(count: u64) -> u64 {
    let unit = 10_u64.pow(count.max(1).ilog10().saturating_sub(2));
    count.saturating_add(unit / 2) / unit * unit
}

/// The progress of a run in words.
pub(super) struct ProgressWords {
    percent: Option<String>,
    phase: Option<String>,
    documents: Option<String>,
    documents_briefly: Option<String>,
    speed: Option<String>,
    elapsed: Option<String>,
    left: Option<String>,
}

impl ProgressWords {
    /// Returns all words in one line.
    pub fn all(&self) -> String {
        joined([&self.phase, &self.documents, &self.speed, &self.elapsed, &self.left])
    }

    /// Returns several versions of the same line, from the longest to the shortest. The terminal shows the longest version
    /// that fits: beside a bar if the share of embedded tokens is known, otherwise beside a spinner.
    pub fn lines(&self) -> Vec<String> {
        let ProgressWords { percent, phase, documents, documents_briefly, speed, elapsed, left } = self;
        match percent {
            None => vec![
                format!(" {}", self.all()),
                format!(" {}", joined([phase, documents, elapsed])),
                format!(" {}", joined([phase, documents])),
                format!(" {}", joined([phase])),
            ],
            Some(percent) => [
                self.all(),
                joined([phase, documents, speed, left]),
                joined([documents, speed, left]),
                joined([documents, left]),
                joined([documents_briefly, left]),
                joined([left]),
            ]
            .map(|words| format!(" {percent:>4}  {words}"))
            .to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::super::width::{fit_beside_bar, fit_beside_spinner};
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A run over about 50 million documents. After one of about four days, the run has embedded 12 million documents.
    fn large() -> RunProgress {
        RunProgress {
            phase: Some(Phase::Embedding),
            bytes_total: Some(400_000_000_000),
            bytes_prepared: 100_000_000_000,
            tokens_prepared: 25_000_000_000,
            tokens_embedded: 25_000_000_000,
            documents_found: 12_345_900,
            documents_done: 12_345_678,
            ..RunProgress::default()
        }
    }

    fn bar(progress: &RunProgress, columns: usize) -> String {
        fit_beside_bar(&progress.in_words_at(DAY + DAY / 24, DAY).lines(), columns)
    }

    #[test]
    fn a_bar_with_large_numbers_loses_words_as_the_terminal_narrows() {
        let large = large();
        assert_eq!(large.fraction(), Some(0.25));
        let all = "  25%  embedding, 12,345,678 of about 49,400,000 documents, 289,351 tokens/s, 1 d 1 h elapsed, 3 days left";
        assert_eq!(bar(&large, 200), all);
        let shown = [100, 90, 80, 60, 40, 20].map(|columns| bar(&large, columns));
        assert_eq!(
            shown,
            [
                "  25%  embedding, 12,345,678 of about 49,400,000 documents, 289,351 tokens/s, 3 days left",
                "  25%  12,345,678 of about 49,400,000 documents, 289,351 tokens/s, 3 days left",
                "  25%  12,345,678 of about 49,400,000 documents, 3 days left",
                "  25%  12,345,678 of 49,400,000, 3 days left",
                "  25%  3 days left",
                "  25%  3 days left",
            ]
        );
    }

    #[test]
    fn words_never_take_more_columns_than_there_are() {
        let phases = [
            Phase::ReadingOldIndex,
            Phase::CheckingModel,
            Phase::LoadingModel,
            Phase::Scanning,
            Phase::MeasuringSpeed,
            Phase::Embedding,
            Phase::Writing,
        ];
        for columns in 0..200 {
            for phase in phases {
                for is_all_found in [false, true] {
                    let progress = RunProgress { phase: Some(phase), is_all_found, ..large() };
                    assert!(measure_text_width(&bar(&progress, columns)) <= columns);
                    let lines = progress.in_words_at(DAY, DAY).lines();
                    assert!(measure_text_width(&fit_beside_spinner(&lines, columns)) < columns.max(1));
                }
            }
        }
    }

    #[test]
    fn a_phase_says_what_is_known() {
        let words = |progress: RunProgress| progress.in_words_at(Duration::from_secs(12), DAY / 24).all();
        let of = |phase| RunProgress { phase: Some(phase), ..RunProgress::default() };
        assert_eq!(words(of(Phase::Scanning)), "scanning, 12 s elapsed");
        let found = RunProgress { documents_found: 1, ..of(Phase::LoadingModel) };
        assert_eq!(words(found), "loading the model, 1 document found, 12 s elapsed");
        let stdin = RunProgress { documents_found: 2000, documents_done: 1024, ..of(Phase::Embedding) };
        assert_eq!(words(stdin), "embedding, 1,024 documents, 12 s elapsed");
        let last =
            RunProgress { is_all_found: true, tokens_prepared: 7_200, tokens_embedded: 3_600, ..stdin };
        assert_eq!(
            words(last),
            "embedding, 1,024 of 2,000 documents, 1 tokens/s, 12 s elapsed, 60 minutes left"
        );
    }

    #[test]
    fn an_estimate_has_three_digits() {
        assert_eq!([0, 7, 999, 1234, 1235, 9996].map(rounded), [0, 7, 999, 1230, 1240, 10_000]);
    }
}
