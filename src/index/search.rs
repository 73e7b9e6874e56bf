//! Finds the rows of an index that are nearest to the vectors of questions. One pass over the index compares every row with every
//! question.

use std::cmp::Ordering;
use std::hash::Hash;

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::best::{Best, Ranked};
use super::parts::{Parts, RowAt};
use super::schema::{ID, VECTOR};
use crate::digest::Digest;

/// A row and its similarity to a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Cosine similarity, from -1 to 1.
    pub score: f32,
    /// The position of the row.
    pub row: RowAt,
    /// The digest of the document's id; `None` if [`Search::by_document`] is not set.
    document: Option<Digest>,
}

impl Ranked for Neighbor {
    /// The nearer row is `Less`. If two rows are equally near, the row that comes first in the index is `Less`.
    fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }

    /// Documents of different files are different documents, even if their ids are equal.
    fn identity(&self) -> Option<impl Hash + Eq> {
        self.document.map(|document| (self.row.part, document))
    }
}

/// The settings of a search.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Limit on the rows per question.
    pub most: usize,
    /// Whether to find only the nearest row of each document.
    pub by_document: bool,
}

/// Returns the nearest rows for each question, the nearest first. `questions` has the shape `[questions, dim]`. The vectors of
/// the questions and of the index must be L2-normalized, so that the dot product is the cosine. Memory use does not depend on
/// the size of the index: each thread needs memory for a batch of rows, and for at most `2 * most` rows per question.
///
/// # Errors
/// The index cannot be read, or a vector is not finite.
pub fn nearest(
    parts: &Parts,
    questions: ArrayView2<f32>,
    search: Search,
) -> anyhow::Result<Vec<Vec<Neighbor>>> {
    let none = || vec![Best::new(search.most); questions.nrows()];
    // One list serves all row groups that a thread reads in a row, so that a row group does not begin with an empty list.
    let found = parts.groups().into_par_iter().try_fold(none, |mut nearest, group| {
        search_group(parts, group, questions, search, &mut nearest)?;
        Ok(nearest)
    });
    let nearest = found.try_reduce(none, |mut one, other: Vec<Best<Neighbor>>| {
        one.iter_mut().zip(other).for_each(|(one, other)| one.join(other));
        anyhow::Ok(one)
    })?;
    Ok(nearest.iter().map(|nearest| nearest.sorted().copied().collect()).collect())
}

/// Compares the rows of a row group with all questions.
fn search_group(
    parts: &Parts,
    group: (usize, usize),
    questions: ArrayView2<f32>,
    search: Search,
    nearest: &mut [Best<Neighbor>],
) -> anyhow::Result<()> {
    let columns = if search.by_document { vec![ID, VECTOR] } else { vec![VECTOR] };
    parts.read(group, &columns, |first, batch| {
        let scores = questions.dot(&batch.unit_vectors()?.t());
        let documents: Vec<Option<Digest>> = match search.by_document {
            true => batch.documents()?.map(|(document, _)| Some(Digest::of(document))).collect(),
            false => vec![None; batch.rows()],
        };
        for (nearest, scores) in nearest.iter_mut().zip(scores.rows()) {
            for ((&score, &document), row) in scores.iter().zip(&documents).zip(first.row..) {
                anyhow::ensure!(score.is_finite(), "row {row} has a vector that is not finite");
                nearest.offer(Neighbor { score, row: RowAt { row, ..first }, document });
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_nearest_are_the_first_of_all_sorted(
            scores in proptest::collection::vec((0u8..20, 0u8..9), 0..60),
            most in 0usize..12,
            by_document in any::<bool>(),
            cut in 0usize..60,
        ) {
            let row = |(at, &(score, document)): (usize, &(u8, u8))| Neighbor {
                score: f32::from(score) / 8.0 - 1.0,
                row: RowAt { part: at / 7, row: u32::try_from(at % 7).unwrap() },
                document: by_document.then(|| Digest::of([document])),
            };
            let all: Vec<Neighbor> = scores.iter().enumerate().map(row).collect();
            let mut expected = all.clone();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
            let mut seen = Vec::new();
            expected.retain(|near| near.document.is_none() || !seen.contains(&(near.row.part, near.document)) && {
                seen.push((near.row.part, near.document));
                true
            });
            expected.truncate(most);
            // Joins two halves in reverse order, which can happen with two threads.
            let (left, right) = all.split_at(cut.min(all.len()));
            let mut nearest = Best::new(most);
            for half in [right, left] {
                let mut part = Best::new(most);
                half.iter().for_each(|&near| part.offer(near));
                nearest.join(part);
            }
            let found: Vec<Neighbor> = nearest.sorted().copied().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
