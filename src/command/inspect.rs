//! `inspect`: prints figures about an index and, with `--verify`, the problems of its rows.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use super::process::{Exit, printed};
use super::terminal::Screen;
use crate::cli::InspectArguments;
use crate::console::{DecimalBytes, HumanCount, counted, shown};
use crate::index::inspect::{Figures, NEAR_DUPLICATE, Problem, Spread, inspect};
use crate::index::{Fingerprint, IndexFile, IndexFileError, Metadata, Parts, RowKind, VectorType};
use crate::interrupt::Interrupted;
use crate::text::chunk::{ChunkBy, ChunkContext};

/// The length of the longest bar of a histogram, in columns, on a wide screen.
const BAR_MAX: usize = 40;

/// The width of the names of the bins, including the gap before the bars, in columns.
const BIN: usize = 22;

/// How many hexadecimal digits `inspect` prints of the weights' digest.
const DIGITS: usize = 12;

/// The indent of the second and later lines of a paragraph, in columns.
const INDENT: usize = 4;

pub fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let parts = Parts::open(&arguments.index)?;
    // A damaged page may crash the decoder, so the digests are checked before the pages are decoded.
    let changed = if arguments.verify { not_as_written(&parts)? } else { None };
    let (figures, mut problems) = inspect(&parts).map_err(|e| match &changed {
        Some(Problem { examples, .. }) => anyhow!("index {}", examples.join(", ")),
        None => e,
    })?;
    problems.extend(changed);
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
        let json = serde_json::to_string_pretty(&page).context("the figures cannot be written as JSON")?;
        printed(writeln!(out, "{json}"))?;
    } else {
        printed(page.print(Screen::stdout(), &mut out))?;
    }
    Ok(if page.problems.is_some_and(|problems| !problems.is_empty()) { Exit::Failed } else { Exit::Done })
}

/// Checks whether the rows or the metadata of a file have changed since the file was written. Returns a problem that names
/// all changed files.
fn not_as_written(parts: &Parts) -> anyhow::Result<Option<Problem>> {
    let mut examples = Vec::new();
    for path in parts.paths() {
        match IndexFile::open(path) {
            Ok(_) => {}
            Err(IndexFileError::Unreadable(e)) if e.is::<Interrupted>() => return Err(e),
            Err(IndexFileError::Unreadable(e)) => {
                bail!("index {}: cannot be read: {e:#}; check the disk and run again", path.display())
            }
            Err(error) => examples.push(format!("{}: {error}", path.display())),
        }
    }
    let (what, count) = ("a file that has changed since it was written", examples.len() as u64);
    Ok((count > 0).then_some(Problem { what, count, examples }))
}

#[derive(Serialize)]
struct InspectPage<'a> {
    files: Vec<String>,
    metadata: &'a Metadata,
    kept: &'a [String],
    stale: u32,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<Problem>>,
}

impl InspectPage<'_> {
    fn print(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        self.print_source(screen, out)?;
        self.print_figures(screen, out)?;
        let Some(problems) = &self.problems else { return Ok(()) };
        for Problem { what, count, examples } in problems {
            let more = if *count > examples.len() as u64 { ", …" } else { "" };
            let examples = shown(&examples.join(", "));
            writeln!(out)?;
            let line = format!("wrong ({}): {what}: {examples}{more}", HumanCount(*count));
            screen.write(out, "", INDENT, &line)?;
        }
        if problems.is_empty() {
            writeln!(out, "\nverified: no problems found")?;
        }
        Ok(())
    }

    fn print_source(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let Metadata { tool, model_file, quality, fingerprint, shard, .. } = self.metadata;
        let mut line = |text: String| screen.write(out, "", INDENT, &text);
        let files = match self.files.as_slice() {
            [file] => shown(file),
            files => counted(files.len() as u64, "file"),
        };
        let (rows, bytes) = (counted(self.figures.rows, "row"), DecimalBytes(self.figures.bytes));
        let per = match fingerprint.rows {
            RowKind::Documents => "one per document",
            RowKind::Chunks => "one per chunk",
        };
        let dim = counted(fingerprint.dim as u64, "dimension");
        let dim = match fingerprint.vector_type {
            VectorType::F32 => dim,
            other => format!("{dim} ({other})"),
        };
        line(format!("{files}: {rows}, {per}, {dim}, {bytes}"))?;
        if let (Some(shard), [_]) = (shard, self.files.as_slice()) {
            line(format!("shard {shard} of the documents"))?;
        }
        let weights: String = fingerprint.model.weights.chars().take(DIGITS).collect();
        let architecture = &fingerprint.model.architecture;
        line(format!("made by {tool} with {model_file} ({architecture}, weights {weights}…)"))?;
        if let Some(quality) = quality {
            line(format!("{quality}"))?;
        }
        let quoted = |text: &String| format!("{text:?}");
        let before = match (&fingerprint.instruction, &fingerprint.prompt) {
            (instruction, None) => {
                format!("instruction: {}", instruction.as_ref().map_or("none".to_owned(), quoted))
            }
            (_, Some(prompt)) => format!("prompt: {}", quoted(prompt)),
        };
        let max_tokens = HumanCount(fingerprint.max_tokens as u64);
        line(format!("{before}; at most {max_tokens} tokens per chunk{}", more_rules(fingerprint)))?;
        if !self.kept.is_empty() {
            line(format!("kept columns: {}", shown(&self.kept.join(", "))))?;
        }
        if self.stale > 0 {
            let documents = counted(self.stale.into(), "document");
            line(format!(
                "stale: {documents} could not be read in the latest run, so rows of an earlier run were kept"
            ))?;
        }
        Ok(())
    }

    fn print_figures(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let Figures { characters, characters_log2, vector_length, duplicate_texts, nearest, .. } =
            &self.figures;
        let Spread { min, median, mean, max } = characters;
        let [min, median, mean, max] = [min, median, mean, max].map(|&count| whole(count));
        let lengths = format!("characters per text: {min} to {max}, median {median}, mean {mean}");
        writeln!(out)?;
        screen.write(out, "", INDENT, &lengths)?;
        let between = |n| format!("{} to {}", HumanCount(1u64 << n), HumanCount((2u64 << n) - 1));
        print_bars(screen, out, characters_log2, between)?;
        let Spread { min, max, .. } = vector_length;
        writeln!(out, "\nlengths of the vectors: {min:.6} to {max:.6}")?;
        writeln!(out, "duplicate texts: {}", HumanCount(*duplicate_texts))?;
        let Some(nearest) = nearest else {
            let why = "unknown: needs at least two rows, and vectors of length 1";
            return screen.write(out, "", INDENT, &format!("cosine to the nearest other row: {why}"));
        };
        let Spread { min, median, max, .. } = nearest.cosine;
        let sample = counted(nearest.sample as u64, "row");
        let cosines = format!(
            "cosine to the nearest other row, sample of {sample}: {min:.3} to {max:.3}, median {median:.3}"
        );
        writeln!(out)?;
        screen.write(out, "", INDENT, &cosines)?;
        print_bars(screen, out, &nearest.cosine_tenths, |n| {
            format!("{:.1} to {:.1}", f64::from(n) / 10.0, f64::from(n + 1) / 10.0)
        })?;
        let share = 100.0 * nearest.near_duplicates as f64 / nearest.sample as f64;
        let line =
            format!("near-duplicates (cosine of {NEAR_DUPLICATE} or more): {share:.1} % of the sample");
        screen.write(out, "", INDENT, &line)
    }
}

/// Rounds a number of characters down to a whole number.
fn whole(count: f64) -> HumanCount {
    // The number was computed from 32-bit counts, so the number fits into 64 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    HumanCount(count as u64)
}

fn print_bars<T: Copy>(
    screen: Screen,
    out: &mut impl Write,
    bins: &BTreeMap<T, u64>,
    name: impl Fn(T) -> String,
) -> io::Result<()> {
    let most = bins.values().copied().max().unwrap_or(1);
    let beside = BIN + 1 + HumanCount(most).to_string().len();
    let width = screen.columns_beside(beside).unwrap_or(BAR_MAX).clamp(1, BAR_MAX) as u64;
    for (&bin, &count) in bins {
        let bar: String = (0..(count * width).div_ceil(most)).map(|_| '█').collect();
        writeln!(out, "{:>1$}  {bar} {2}", name(bin), BIN - 2, HumanCount(count))?;
    }
    Ok(())
}

/// Returns the rules for chunks that differ from the default.
fn more_rules(fingerprint: &Fingerprint) -> String {
    let mut rules = String::new();
    if fingerprint.chunk_by == ChunkBy::Length {
        rules += ", of about the same length";
    }
    if fingerprint.overlap > 0 {
        rules += &format!(", {} of them from the chunk before", HumanCount(fingerprint.overlap as u64));
    }
    if fingerprint.context != ChunkContext::default() {
        rules += &format!(", after the {}", fingerprint.context);
    }
    rules
}
