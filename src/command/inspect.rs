//! `inspect`: an index in, figures on it and what is wrong with it on standard output.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::process::{Exit, printed};
use crate::cli::InspectArguments;
use crate::console::{DecimalBytes, HumanCount, shown};
use crate::index::inspect::{Figures, NEAR_DUPLICATE, Problem, Spread, inspect};
use crate::index::{IndexFile, Metadata, Parts, RowKind};

/// Characters of the longest bar of a histogram.
const BAR: u64 = 40;

/// Digits of a digest, for people.
const DIGITS: usize = 12;

pub fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let parts = Parts::open(&arguments.index)?;
    let (figures, mut problems) = inspect(&parts)?;
    if arguments.verify {
        problems.extend(not_as_written(&parts));
    }
    let page = InspectPage {
        files: parts.paths().map(|path| path.display().to_string()).collect(),
        metadata: parts.metadata(),
        kept: parts.kept(),
        stale: parts.stale(),
        figures,
        problems: arguments.verify.then_some(problems),
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        let json = serde_json::to_string_pretty(&page).context("figures as JSON")?;
        printed(writeln!(out, "{json}"))?;
    } else {
        printed(page.print(&mut out))?;
    }
    Ok(if page.problems.is_some_and(|problems| !problems.is_empty()) { Exit::Failed } else { Exit::Done })
}

/// Files with other rows than were written, or with other metadata.
fn not_as_written(parts: &Parts) -> Option<Problem> {
    let why = |path: &Path| Some(format!("{}: {}", path.display(), IndexFile::open(path).err()?));
    let examples: Vec<String> = parts.paths().filter_map(why).collect();
    let (what, count) = ("a file that is not as it was written", examples.len() as u64);
    (count > 0).then_some(Problem { what, count, examples })
}

/// All that is said.
#[derive(Serialize)]
struct InspectPage<'a> {
    files: Vec<String>,
    metadata: &'a Metadata,
    kept: Vec<&'a str>,
    stale: u32,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<Problem>>,
}

impl InspectPage<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        self.print_source(out)?;
        self.print_figures(out)?;
        for Problem { what, count, examples } in self.problems.iter().flatten() {
            let more = if *count > examples.len() as u64 { ", …" } else { "" };
            writeln!(out, "\nwrong ({count}): {what}: {}{more}", shown(&examples.join(", ")))?;
        }
        match &self.problems {
            Some(problems) if problems.is_empty() => {
                writeln!(out, "\nverified: every row is as it should be")
            }
            _ => Ok(()),
        }
    }

    fn print_source(&self, out: &mut impl Write) -> io::Result<()> {
        let Metadata { tool, model_file, fingerprint, shard, .. } = self.metadata;
        let (rows, bytes) = (HumanCount(self.figures.rows), DecimalBytes(self.figures.bytes));
        let files = match self.files.as_slice() {
            [file] => shown(file),
            files => format!("{} files", files.len()),
        };
        let kind = match fingerprint.rows {
            RowKind::Documents => "a document each",
            RowKind::Chunks => "a chunk each",
        };
        writeln!(out, "{files}: {rows} rows, {kind}, {} numbers a vector, {bytes}", fingerprint.dim)?;
        if let (Some(shard), [_]) = (shard, self.files.as_slice()) {
            writeln!(out, "shard {shard} of the documents")?;
        }
        let weights: String = fingerprint.model.weights.chars().take(DIGITS).collect();
        let architecture = &fingerprint.model.architecture;
        writeln!(out, "made by {tool} with {model_file} ({architecture}, weights {weights}…)")?;
        let instruction =
            fingerprint.instruction.as_ref().map_or("none".to_owned(), |text| format!("{text:?}"));
        writeln!(out, "instruction: {instruction}; at most {} tokens a chunk", fingerprint.max_tokens)?;
        if !self.kept.is_empty() {
            writeln!(out, "kept columns: {}", shown(&self.kept.join(", ")))?;
        }
        if self.stale > 0 {
            writeln!(
                out,
                "{} documents could not be read when it was made, and have older rows",
                self.stale
            )?;
        }
        Ok(())
    }

    fn print_figures(&self, out: &mut impl Write) -> io::Result<()> {
        let Figures { characters, characters_log2, vector_length, duplicate_texts, nearest, .. } =
            &self.figures;
        let Spread { min, median, mean, max } = characters;
        writeln!(out, "\ncharacters of a text: {min} to {max}, median {median}, mean {mean:.1}")?;
        bars(out, characters_log2, |n| format!("{} to {}", 1u64 << n, (2u64 << n) - 1))?;
        let Spread { min, max, .. } = vector_length;
        writeln!(out, "\nlengths of the vectors: {min:.6} to {max:.6}")?;
        writeln!(out, "texts that an earlier row has too: {}", HumanCount(*duplicate_texts))?;
        let Some(nearest) = nearest else {
            return writeln!(
                out,
                "cosine to the nearest other row: unknown, for want of rows, or as a vector has not the length 1"
            );
        };
        let Spread { min, median, max, .. } = nearest.cosine;
        let sample = HumanCount(nearest.sample as u64);
        writeln!(
            out,
            "\ncosine to the nearest other row, of {sample} rows: {min:.3} to {max:.3}, median {median:.3}"
        )?;
        bars(out, &nearest.cosine_tenths, |n| {
            format!("{:.1} to {:.1}", f64::from(n) / 10.0, f64::from(n + 1) / 10.0)
        })?;
        let share = 100.0 * nearest.near_duplicates as f64 / nearest.sample as f64;
        writeln!(out, "near-duplicates ({NEAR_DUPLICATE} or more): {share:.1} %")
    }
}

fn bars<T: Copy>(
    out: &mut impl Write,
    bins: &BTreeMap<T, u64>,
    name: impl Fn(T) -> String,
) -> io::Result<()> {
    let most = bins.values().copied().max().unwrap_or(1);
    for (&bin, &count) in bins {
        let bar = "█".repeat((count * BAR).div_ceil(most) as usize);
        writeln!(out, "{:>20}  {bar} {}", name(bin), HumanCount(count))?;
    }
    Ok(())
}
