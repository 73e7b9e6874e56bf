//! Reads an index, and returns figures about its rows and a list of problems. The function `inspect` needs 40 bytes of memory per
//! row, and memory for the vectors of a sample of rows.

use std::collections::BTreeMap;
use std::fs;

use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;

use super::parts::{Parts, RowAt};
use super::row::Row;
use super::schema::COLUMNS;
use super::search::{Neighbor, Search, nearest};
use super::vector_column::VectorType;
use crate::digest::Digest;

/// Limit on the rows in the sample. For each row in the sample, [`inspect`] searches for the nearest other row.
const SAMPLE_ROWS: u64 = 256;

/// Two rows are near-duplicates if their cosine is at least this number.
pub const NEAR_DUPLICATE: f64 = 0.98;

/// Limit on the example rows per kind of problem.
const EXAMPLES: usize = 5;

/// Figures about all rows of an index.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Number of rows.
    pub rows: u64,
    /// Size of all files together, in bytes.
    pub bytes: u64,
    /// Lengths of the texts in characters.
    pub characters: Spread,
    /// For each n, the number of texts with 2^n to 2^(n+1) - 1 characters.
    pub characters_log2: BTreeMap<u32, u64>,
    /// Euclidean lengths of the vectors.
    pub vector_length: Spread,
    /// Number of rows that have the same text as an earlier row.
    pub duplicate_texts: u64,
    /// Figures about the nearest rows; `None` if a vector is not L2-normalized or there is only one row.
    pub nearest: Option<NearestFigures>,
}

/// The spread of a list of values.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub mean: f64,
    pub max: f64,
}

/// Figures about a sample of rows, and about the nearest other row of each row in the sample.
#[derive(Debug, Serialize)]
pub struct NearestFigures {
    /// Number of rows in the sample. The rows are evenly spaced over the index.
    pub sample: usize,
    /// Cosines between each row in the sample and its nearest other row.
    pub cosine: Spread,
    /// For each n, the number of cosines that are at least n / 10 and less than (n + 1) / 10. A cosine of 1 is counted for n = 9.
    pub cosine_tenths: BTreeMap<i32, u64>,
    /// Number of rows in the sample that have a near-duplicate: another row at a cosine of at least [`NEAR_DUPLICATE`].
    pub near_duplicates: u64,
}

/// One kind of problem, and the rows with this problem.
#[derive(Debug, PartialEq, Serialize)]
pub struct Problem {
    /// A description of the problem.
    pub what: &'static str,
    /// Number of rows with this problem.
    pub count: u64,
    /// The first few rows with this problem. Each example names the file, the row number (from 0) and the id.
    pub examples: Vec<String>,
}

/// The values that were collected from consecutive rows. Each of the first four lists has one value per row.
#[derive(Default)]
struct Pass {
    ids: Vec<Digest>,
    texts: Vec<Digest>,
    characters: Vec<u32>,
    lengths: Vec<f32>,
    wrong: Vec<(&'static str, RowAt)>,
    sample: Vec<(RowAt, Vec<f32>)>,
}

/// Reads all rows, and returns figures about the rows and a list of problems.
///
/// # Errors
/// A file cannot be read.
pub fn inspect(parts: &Parts) -> anyhow::Result<(Figures, Vec<Problem>)> {
    let passes = parts.groups().into_par_iter().map(|group| pass(parts, group));
    let all = passes.collect::<anyhow::Result<Vec<_>>>()?.into_iter().fold(Pass::default(), Pass::join);
    let sizes = parts.paths().map(|path| fs::metadata(path).map(|metadata| metadata.len()));
    // A vector of another length was changed by another program, so its cosines say nothing about the texts.
    let kind = parts.metadata().fingerprint.vector_type;
    let are_unit = all.lengths.iter().all(|&length| is_unit(f64::from(length), kind));
    let figures = Figures {
        rows: parts.rows(),
        bytes: sizes.sum::<Result<u64, _>>()?,
        characters: spread(all.characters.iter().map(|&count| f64::from(count))),
        characters_log2: histogram(all.characters.iter().map(|count| count.max(&1).ilog2())),
        vector_length: spread(all.lengths.iter().map(|&length| f64::from(length))),
        duplicate_texts: repeated(&all.texts).len() as u64,
        nearest: if are_unit { nearest_figures(parts, &all.sample)? } else { None },
    };
    let mut wrong = all.wrong;
    wrong.extend(
        repeated(&all.ids).into_iter().map(|at| ("an id that an earlier row has", parts.row(at as u64))),
    );
    Ok((figures, problems(parts, &wrong)?))
}

fn pass(parts: &Parts, group: (usize, usize)) -> anyhow::Result<Pass> {
    let sample_every = parts.rows().div_ceil(SAMPLE_ROWS);
    let kind = parts.metadata().fingerprint.vector_type;
    let mut pass = Pass::default();
    parts.read(group, &COLUMNS, |first, batch| {
        let vectors = batch.vectors()?;
        let rows = batch.ids()?.zip(batch.texts()?).zip(vectors.rows());
        let unit_vectors = batch.unit_vectors()?;
        for ((((id, text), vector), row), number) in rows.zip(first.row..).zip(parts.number(first)..) {
            let at = RowAt { row, ..first };
            let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if !length.is_finite() {
                pass.wrong.push(("a vector with a NaN or an infinity", at));
            } else if !is_unit(length, kind) {
                pass.wrong.push(("a vector whose length is not 1", at));
            }
            if text.is_empty() {
                pass.wrong.push(("a row without text", at));
            }
            if number.is_multiple_of(sample_every) {
                pass.sample.push((at, unit_vectors.row((row - first.row) as usize).to_vec()));
            }
            pass.ids.push(Digest::of(id));
            pass.texts.push(Digest::of(text));
            pass.characters.push(u32::try_from(text.chars().count()).unwrap_or(u32::MAX));
            pass.lengths.push(rounded(length));
        }
        Ok(())
    })?;
    Ok(pass)
}

/// Rounds a length to a 32-bit float. A 32-bit float needs half the memory of a 64-bit float, and is as precise as the numbers of
/// the vectors.
#[allow(clippy::cast_possible_truncation)]
fn rounded(length: f64) -> f32 {
    length as f32
}

/// Returns the histogram bin of a cosine. Bin n begins at n / 10. A cosine of 1 is in bin 9.
#[allow(clippy::cast_possible_truncation)] // a cosine is from -1 to 1
fn tenth(cosine: f64) -> i32 {
    (cosine * 10.0).floor().min(9.0) as i32
}

fn is_unit(length: f64, kind: VectorType) -> bool {
    (length - 1.0).abs() <= kind.length_tolerance()
}

impl Pass {
    fn join(mut self, next: Pass) -> Pass {
        self.ids.extend(next.ids);
        self.texts.extend(next.texts);
        self.characters.extend(next.characters);
        self.lengths.extend(next.lengths);
        self.wrong.extend(next.wrong);
        self.sample.extend(next.sample);
        self
    }
}

fn nearest_figures(parts: &Parts, sample: &[(RowAt, Vec<f32>)]) -> anyhow::Result<Option<NearestFigures>> {
    let dim = parts.metadata().fingerprint.dim;
    let values = sample.iter().flat_map(|(_, vector)| vector).copied().collect();
    let questions = Array2::from_shape_vec((sample.len(), dim), values)?;
    // The row nearest to a sample row is usually the sample row itself, so the search asks for two rows.
    let found = nearest(parts, questions.view(), Search { most: 2, by_document: false })?;
    let other =
        |(near, (own, _)): (Vec<_>, &(RowAt, _))| near.into_iter().find(|near: &Neighbor| near.row != *own);
    let cosines = found.into_iter().zip(sample).filter_map(other);
    let cosines: Vec<f64> = cosines.map(|near| f64::from(near.score)).collect();
    Ok((!cosines.is_empty()).then(|| NearestFigures {
        sample: cosines.len(),
        cosine_tenths: histogram(cosines.iter().copied().map(tenth)),
        near_duplicates: cosines.iter().filter(|&&cosine| cosine >= NEAR_DUPLICATE).count() as u64,
        cosine: spread(cosines.into_iter()),
    }))
}

/// Groups the rows with problems by kind of problem. The kinds are in the order in which they were found.
fn problems(parts: &Parts, wrong: &[(&'static str, RowAt)]) -> anyhow::Result<Vec<Problem>> {
    let mut kinds: Vec<&'static str> = Vec::new();
    for (what, _) in wrong {
        if !kinds.contains(what) {
            kinds.push(what);
        }
    }
    let problem = |what| {
        let rows: Vec<RowAt> = wrong.iter().filter(|(kind, _)| *kind == what).map(|&(_, row)| row).collect();
        let first = &rows[..rows.len().min(EXAMPLES)];
        let name =
            |(row, at): (Row, &RowAt)| format!("{}: row {} ({})", parts.path(*at).display(), at.row, row.id);
        let examples = parts.rows_at(first)?.into_iter().zip(first).map(name).collect();
        Ok(Problem { what, count: rows.len() as u64, examples })
    };
    kinds.into_iter().map(problem).collect()
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Spread::default() };
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Spread { min, median: values[(values.len() - 1) / 2], mean, max }
}

fn histogram<T: Ord>(values: impl Iterator<Item = T>) -> BTreeMap<T, u64> {
    values.fold(BTreeMap::new(), |mut bins, value| {
        *bins.entry(value).or_default() += 1;
        bins
    })
}

/// Returns the indices of all values that are equal to an earlier value. The indices are in ascending order.
fn repeated(values: &[Digest]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by_key(|&at| (values[at], at));
    let later = order.windows(2).filter(|pair| values[pair[0]] == values[pair[1]]);
    let mut repeated: Vec<usize> = later.map(|pair| pair[1]).collect();

    repeated.sort_unstable();
    repeated
}
