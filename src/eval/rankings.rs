//! Takes the vectors of documents batch by batch, and returns the nearest documents of each question.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::index::search::keep_best;

/// The number of documents kept per ranking, as in BEIR. Only the reciprocal rank looks beyond the first ten.
const MOST: usize = 1000;

/// The rankings of all questions so far.
pub struct Rankings {
    questions: Array2<f32>,
    nearest: Vec<Vec<RankedDocument>>,
}

struct RankedDocument {
    score: f32,
    document: Box<str>,
}

impl Rankings {
    /// Starts with no documents. `questions` has shape `[questions, dim]` and L2-normalized rows.
    pub fn new(questions: Array2<f32>) -> Self {
        let nearest = (0..questions.nrows()).map(|_| Vec::new()).collect();
        Rankings { questions, nearest }
    }

    /// Returns the number of dimensions.
    pub fn dim(&self) -> usize {
        self.questions.ncols()
    }

    /// Adds documents with their L2-normalized vectors `[documents, dim]`. If a document comes more than once, as the chunks
    /// of one do, its nearest vector counts.
    pub fn offer(&mut self, documents: &[&str], vectors: ArrayView2<f32>) {
        let scores = self.questions.dot(&vectors.t());
        self.nearest.par_iter_mut().enumerate().for_each(|(question, nearest)| {
            for (&score, document) in scores.row(question).iter().zip(documents) {
                insert(nearest, score, document);
            }
        });
    }

    /// Returns the documents of each question, nearest first.
    pub fn documents(&self) -> impl Iterator<Item = Vec<&str>> {
        self.nearest.iter().map(|nearest| nearest.iter().map(|near| &*near.document).collect())
    }
}

fn insert(nearest: &mut Vec<RankedDocument>, score: f32, document: &str) {
    // As in trec_eval, documents with equal scores are sorted by name, last name first.
    let is_before =
        |near: &RankedDocument| score.total_cmp(&near.score).then(document.cmp(&near.document)).is_lt();
    let is_same = |near: &RankedDocument| *near.document == *document;
    keep_best(nearest, MOST, is_before, is_same, || RankedDocument { score, document: document.into() });
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
