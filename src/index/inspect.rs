//! An index in, figures on it out, and what is wrong with it. 40 bytes are kept of each row, and vectors of a sample.

use std::collections::BTreeMap;
use std::fs;

use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;

use super::parts::{Parts, RowAt};
use super::row::Row;
use super::schema::COLUMNS;
use super::search::{Neighbor, Search, nearest};
use crate::digest::Digest;

/// How far the length of a vector may be from 1. Rounding each of 1024 numbers to a float changes it by 1e-7.
const LENGTH_TOLERANCE: f64 = 1e-4;

/// Rows whose nearest other row is looked for.
const SAMPLE_ROWS: u64 = 256;

/// From this cosine on, two rows are near-duplicates.
pub const NEAR_DUPLICATE: f64 = 0.98;

/// Of what is wrong with many rows, so many are named.
const EXAMPLES: usize = 5;

/// What is in an index.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// In all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Lengths of the texts, in characters.
    pub characters: Spread,
    /// Texts of 2^n to 2^(n+1) - 1 characters, for each n.
    pub characters_log2: BTreeMap<u32, u64>,
    /// Euclidean lengths of the vectors.
    pub vector_length: Spread,
    /// Rows with the text of an earlier row.
    pub duplicate_texts: u64,
    /// How near to each other the rows are; unknown where a vector has not the length 1, or there is one row only.
    pub nearest: Option<NearestFigures>,
}

/// How values lie.
#[derive(Debug, Default, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// Half of them are no larger.
    pub median: f64,
    /// Their sum over their number.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

/// Of a sample of rows, the nearest other row.
#[derive(Debug, Serialize)]
pub struct NearestFigures {
    /// Rows in the sample, evenly spaced.
    pub sample: usize,
    /// Cosines to the nearest other row.
    pub cosine: Spread,
    /// How many of them lie between n and n + 1 tenths, for each n.
    pub cosine_tenths: BTreeMap<i32, u64>,
    /// How many are at least [`NEAR_DUPLICATE`].
    pub near_duplicates: u64,
}

/// What is wrong.
#[derive(Debug, PartialEq, Serialize)]
pub struct Problem {
    /// What it is.
    pub what: &'static str,
    /// How many times.
    pub count: u64,
    /// The first of them: file, number of the row from 0, and id.
    pub examples: Vec<String>,
}

/// What has been read of some rows, in their order.
#[derive(Default)]
struct Pass {
    ids: Vec<Digest>,
    texts: Vec<Digest>,
    characters: Vec<u32>,
    lengths: Vec<f32>,
    wrong: Vec<(&'static str, RowAt)>,
    sample: Vec<(RowAt, Vec<f32>)>,
}

/// Reads all rows.
///
/// # Errors
/// A file cannot be read.
pub fn inspect(parts: &Parts) -> anyhow::Result<(Figures, Vec<Problem>)> {
    let passes = parts.groups().into_par_iter().map(|group| pass(parts, group));
    let all = passes.collect::<anyhow::Result<Vec<_>>>()?.into_iter().fold(Pass::default(), Pass::join);
    let sizes = parts.paths().map(|path| fs::metadata(path).map(|metadata| metadata.len()));
    // Else the dot product is no cosine.
    let are_unit = all.lengths.iter().all(|&length| is_unit(f64::from(length)));
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
    wrong.extend(repeated(&all.ids).into_iter().map(|at| ("an id that an earlier row has", parts.row(at))));
    Ok((figures, problems(parts, &wrong)?))
}

fn pass(parts: &Parts, group: (usize, usize)) -> anyhow::Result<Pass> {
    let sample_every = parts.rows().div_ceil(SAMPLE_ROWS);
    let mut pass = Pass::default();
    parts.read(group, &COLUMNS, |first, block| {
        let vectors = block.vectors()?;
        let rows = block.ids()?.zip(block.texts()?).zip(vectors.rows());
        for (((id, text), vector), row) in rows.zip(first.row..) {
            let at = RowAt { row, ..first };
            let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if !length.is_finite() {
                pass.wrong.push(("a vector with a NaN or an infinity", at));
            } else if !is_unit(length) {
                pass.wrong.push(("a vector whose length is not 1", at));
            }
            if text.is_empty() {
                pass.wrong.push(("a row without text", at));
            }
            if parts.number(at).is_multiple_of(sample_every) {
                pass.sample.push((at, vector.to_vec()));
            }
            pass.ids.push(Digest::of(id));
            pass.texts.push(Digest::of(text));
            pass.characters.push(u32::try_from(text.chars().count()).unwrap_or(u32::MAX));
            pass.lengths.push(length as f32);
        }
        Ok(())
    })?;
    Ok(pass)
}

fn is_unit(length: f64) -> bool {
    (length - 1.0).abs() <= LENGTH_TOLERANCE
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
    // One of two is another row than the one itself.
    let found = nearest(parts, questions.view(), Search { most: 2, by_document: false })?;
    let other =
        |(near, (own, _)): (Vec<_>, &(RowAt, _))| near.into_iter().find(|near: &Neighbor| near.row != *own);
    let cosines = found.into_iter().zip(sample).filter_map(other);
    let cosines: Vec<f64> = cosines.map(|near| f64::from(near.score)).collect();
    Ok((!cosines.is_empty()).then(|| NearestFigures {
        sample: cosines.len(),
        cosine_tenths: histogram(cosines.iter().map(|cosine| (cosine * 10.0).floor().min(9.0) as i32)),
        near_duplicates: cosines.iter().filter(|&&cosine| cosine >= NEAR_DUPLICATE).count() as u64,
        cosine: spread(cosines.into_iter()),
    }))
}

/// What is wrong, by kind, in the order in which it was found first.
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

/// The places of values that an earlier place has too, ascending.
fn repeated(values: &[Digest]) -> Vec<u64> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by_key(|&at| (values[at as usize], at));
    let later = order.windows(2).filter(|pair| values[pair[0] as usize] == values[pair[1] as usize]);
    let mut repeated: Vec<u64> = later.map(|pair| u64::from(pair[1])).collect();
    repeated.sort_unstable();
    repeated
}
