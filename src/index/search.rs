//! Vectors of questions in, the rows nearest to each out: all rows of an index are compared, in one pass over it.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::parts::{Parts, RowAt};
use super::schema::COLUMNS;
use crate::digest::Digest;

/// A row, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Cosine similarity, from -1 to 1.
    pub score: f32,
    /// Which row.
    pub row: RowAt,
    /// Its document, where only the nearest row of each is wanted.
    document: Option<Digest>,
}

/// The nearest rows so far, the nearest first; of equally near ones, the first of the index.
#[derive(Debug, Clone)]
struct Neighbors {
    most: usize,
    rows: Vec<Neighbor>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// How many rows for each question, at most.
    pub most: usize,
    /// Whether only the nearest row of a document counts.
    pub by_document: bool,
}

/// For each of the questions `[questions, dim]`, vectors of length 1, the nearest rows of an index whose vectors have length
/// 1 too: the dot product is the cosine. Memory does not grow with the index, but with questions times rows wanted, for each
/// thread; of the index there are a few hundred rows a thread at a time.
///
/// # Errors
/// The index cannot be read, or has a vector that is not finite.
pub fn nearest(
    parts: &Parts,
    questions: ArrayView2<f32>,
    search: Search,
) -> anyhow::Result<Vec<Vec<Neighbor>>> {
    let none = || vec![Neighbors { most: search.most, rows: Vec::new() }; questions.nrows()];
    let found = parts.groups().into_par_iter().map(|group| {
        let mut nearest = none();
        look_through(parts, group, questions, search, &mut nearest)?;
        Ok(nearest)
    });
    let nearest = found.try_reduce(none, |mut one, other: Vec<Neighbors>| {
        for (one, other) in one.iter_mut().zip(other) {
            other.rows.into_iter().for_each(|near| one.offer(near));
        }
        anyhow::Ok(one)
    })?;
    Ok(nearest.into_iter().map(|nearest| nearest.rows).collect())
}

fn look_through(
    parts: &Parts,
    group: (usize, usize),
    questions: ArrayView2<f32>,
    search: Search,
    nearest: &mut [Neighbors],
) -> anyhow::Result<()> {
    let [id, _, vector] = COLUMNS;
    let columns = if search.by_document { vec![id, vector] } else { vec![vector] };
    parts.read(group, &columns, |first, block| {
        let scores = questions.dot(&block.vectors()?.t());
        let documents: Vec<Option<Digest>> = match search.by_document {
            true => block.documents()?.map(|(document, _)| Some(Digest::of(document))).collect(),
            false => vec![None; block.rows()],
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

impl Neighbors {
    fn offer(&mut self, near: Neighbor) {
        let is_before = |there: &Neighbor| there.is_before(&near);
        let is_same = |there: &Neighbor| near.document.is_some() && there.is_of_document(&near);
        keep_best(&mut self.rows, self.most, is_before, is_same, || near);
    }
}

/// Takes one more into a list that is sorted, the best first, where it is among the best `most`. `is_before` says what of the
/// list is better than it, and `is_same` what stands for the same thing, of which the better one stays. It is made only where
/// it is taken.
pub fn keep_best<T>(
    best: &mut Vec<T>,
    most: usize,
    is_before: impl Fn(&T) -> bool,
    is_same: impl Fn(&T) -> bool,
    make: impl FnOnce() -> T,
) {
    if best.len() == most && best.last().is_none_or(&is_before) {
        return;
    }
    if let Some(at) = best.iter().position(is_same) {
        if is_before(&best[at]) {
            return;
        }
        best.remove(at);
    }
    best.insert(best.partition_point(is_before), make());
    best.truncate(most);
}

impl Neighbor {
    /// Documents of different files are not the same, whatever their ids.
    fn is_of_document(&self, other: &Neighbor) -> bool {
        (self.row.part, self.document) == (other.row.part, other.document)
    }

    fn is_before(&self, other: &Neighbor) -> bool {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row)).is_lt()
    }
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
                row: RowAt { part: at / 7, row: at as u32 % 7 },
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
            // In two halves, as two threads would, and the second first.
            let (left, right) = all.split_at(cut.min(all.len()));
            let mut nearest = Neighbors { most, rows: Vec::new() };
            for half in [right, left] {
                let mut part = Neighbors { most, rows: Vec::new() };
                half.iter().for_each(|&near| part.offer(near));
                part.rows.into_iter().for_each(|near| nearest.offer(near));
            }
            prop_assert_eq!(nearest.rows, expected);
        }
    }
}
