//! Prints the lines at the end of a run.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::plan::BuildPlan;
use super::report::BuildOutcome;
use crate::cli::BuildArguments;
use crate::console::{
    DecimalBytes, HumanCount, Reporter, counted, human_elapsed, human_seconds, tokens_per_second,
};
use crate::index::Written;
use crate::pipeline::{Reused, TallyWording, Work};

/// Returns the words for the summary. If no vectors existed before the run, vectors were reused only for duplicate texts, and
/// the summary says so.
pub fn wording(plan: &BuildPlan, outcome: &BuildOutcome) -> TallyWording {
    let were_there = plan.reuses_old() || outcome.chunks_resumed > 0;
    let reused = if were_there { Reused::Vectors } else { Reused::Duplicates };
    TallyWording { is_dry: plan.job.is_dry, reused }
}

/// Prints the results of a run: the counts of documents, the work and the changes in the output.
pub fn tell(
    arguments: &BuildArguments,
    outcome: &BuildOutcome,
    written: &Written,
    wording: TallyWording,
    reporter: &Reporter,
) {
    written.published.warnings.iter().for_each(|warning| reporter.warn(warning));
    let mut details = outcome.documents.details();
    if let Value::Object(members) = &mut details {
        members.insert("chunks".into(), outcome.work.chunks.into());
        members.insert("tokens".into(), outcome.work.tokens.into());
        members.insert("seconds".into(), reporter.elapsed().as_secs_f64().into());
    }
    reporter.info_with(&outcome.documents.summary(wording), details);
    if let Some(speed) = outcome.work.tokens_per_second() {
        let line = format!("{}, {}", work_done(&outcome.work), tokens_per_second(speed));
        reporter.info_with(&line, json!({"work": outcome.work, "tokens_per_second": speed}));
    }
    reporter.info_with(&file_line(arguments, written, reporter), json!({"rows": outcome.rows}));
}

fn work_done(work: &Work) -> String {
    format!("{} in {}", counted(work.tokens, "token"), counted(work.chunks, "chunk"))
}

fn file_line(arguments: &BuildArguments, written: &Written, reporter: &Reporter) -> String {
    let (changes, output) = (&written.changes, arguments.output.display());
    let mut line = counted(written.rows as u64, "row");
    let [added, changed, removed] =
        [&changes.added, &changes.changed, &changes.removed].map(|rows| HumanCount(rows.len() as u64));
    // Writing to a string cannot fail.
    let _ = match written.is_new {
        true => write!(
            line,
            " ({added} added, {changed} changed, {removed} removed), {} in {output}",
            DecimalBytes(written.bytes)
        ),
        false => write!(line, ", as before: {output} is unchanged"),
    };
    format!("{line}; took {}", human_elapsed(reporter.elapsed()))
}

/// Prints to standard output the work that a run without `--dry-run` would do, for people or as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_plan(outcome: &BuildOutcome, wording: TallyWording, json: bool) -> io::Result<()> {
    let BuildOutcome { documents, work, .. } = outcome;
    let mut out = io::stdout().lock();
    if json {
        let plan = json!({
            "documents": documents,
            "chunks": work.chunks,
            "tokens": work.tokens,
            "tokens_per_second": work.tokens_per_second(),
        });
        return writeln!(out, "{plan}");
    }
    write!(out, "{}", documents.summary(wording))?;
    if documents.gone > 0 {
        write!(out, "; {} gone from the inputs", HumanCount(documents.gone))?;
    }
    writeln!(out)?;
    write!(out, "{} to embed", work_done(work))?;
    if let Some(speed) = work.tokens_per_second() {
        let time = human_seconds(work.tokens as f64 / speed);
        write!(out, ": {time} at {}", tokens_per_second(speed))?;
    }
    writeln!(out)
}
