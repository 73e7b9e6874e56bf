//! Ranks documents by their vectors, separately for each question. Takes the documents in batches, and keeps the nearest
//! documents.

use std::cmp::Ordering;
use std::hash::Hash;

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::index::best::{Best, Ranked};

/// The most documents that a ranking keeps, as in BEIR. nDCG and recall use only the first ten of these documents.
const MOST: usize = 1000;

/// One ranking per question, of the documents offered so far.
pub struct Rankings {
    questions: Array2<f32>,
    nearest: Vec<Best<RankedDocument>>,
}

struct RankedDocument {
    score: f32,
    document: Box<str>,
}

impl Ranked for RankedDocument {
    /// Orders the nearer document first. Of two equally near documents, orders the document with the greater name first, as
    /// trec_eval does.
    fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(other.document.cmp(&self.document))
    }

    fn identity(&self) -> Option<impl Hash + Eq> {
        Some(&*self.document)
    }
}

impl Rankings {
    /// Makes one empty ranking per question. `questions` has shape `[questions, dim]` and L2-normalized rows.
    pub fn new(questions: Array2<f32>) -> Self {
        let nearest = (0..questions.nrows()).map(|_| Best::new(MOST)).collect();
        Rankings { questions, nearest }
    }

    /// Returns the number of dimensions of the vectors.
    pub fn dim(&self) -> usize {
        self.questions.ncols()
    }

    /// Adds documents with their L2-normalized vectors `[documents, dim]`. If a document has several vectors, such as one per
    /// chunk, the ranking uses only the nearest vector of the document.
    pub fn offer(&mut self, documents: &[&str], vectors: ArrayView2<f32>) {
        let scores = self.questions.dot(&vectors.t());
        self.nearest.par_iter_mut().enumerate().for_each(|(question, nearest)| {
            for (&score, document) in scores.row(question).iter().zip(documents) {
                // The name is copied only if the document may be among the nearest.
                if nearest.worst().is_none_or(|worst| score >= worst.score) {
                    nearest.offer(RankedDocument { score, document: (*document).into() });
                }
            }
        });
    }

    /// Returns the documents of each question, nearest first.
    pub fn documents(&self) -> impl Iterator<Item = Vec<&str>> {
        self.nearest.iter().map(|nearest| nearest.sorted().map(|near| &*near.document).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Axis;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn documents_come_as_if_all_were_sorted(
            rows in proptest::collection::vec((0u8..20, 0u16..1500), 1..3000),
            cut in 0usize..3000,
        ) {
            let names: Vec<String> = rows.iter().map(|(_, document)| format!("d{document}")).collect();
            let mut expected: Vec<(u8, &str)> =
                rows.iter().zip(&names).map(|((score, _), name)| (*score, name.as_str())).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            let mut seen = std::collections::HashSet::new();
            expected.retain(|(_, name)| seen.insert(*name));
            expected.truncate(MOST);

            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let vectors = Array2::from_shape_fn((rows.len(), 1), |(at, _)| f32::from(rows[at].0) / 19.0);
            let mut rankings = Rankings::new(Array2::ones((1, 1)));
            let cut = cut.min(rows.len());
            for part in [0..cut, cut..rows.len()] {
                rankings.offer(&names[part.clone()], vectors.slice_axis(Axis(0), part.into()));
            }
            let expected: Vec<&str> = expected.into_iter().map(|(_, name)| name).collect();
            prop_assert_eq!(rankings.documents().next().unwrap(), expected);
        }
    }
}
