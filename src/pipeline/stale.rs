//! Finds the documents of the old file that stay in the index because they cannot be read today. Pure. A document is its
//! number in the old file.
//!
//! Most failures name their document. Some do not: an unreadable folder hides which documents are in it, and a line that
//! is not JSON hides its id. Documents are in the order of the inputs, so those that such a failure hides stood between the
//! same neighbours in the old file. If the neighbours have changed their order, every unseen document may be hidden. The
//! documents at the end of the old file that were stale already are out of order, so every failure of this kind may hide
//! them too.

use std::ops::Range;
use std::slice;

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unseen,
    /// Its id is in the new file.
    Found,
    /// It has no text any more.
    Empty,
    /// It could not be read or embedded.
    Failed,
}

/// The documents of the old file: which of them this run has seen, and which a failure may hide.
#[derive(Debug)]
pub struct Missing {
    /// Documents in the old file.
    count: u32,
    fates: Vec<Fate>,
    /// For each document, whether the text of one of its rows is in the new file, under any id.
    has_moved: Vec<bool>,
    /// Documents in the order of the inputs. Those behind them were stale in the old file.
    ordered: u32,
    /// Unseen documents in these ranges may be hidden by a failure.
    gaps: Vec<Range<u32>>,
    /// Whether a failure came after the last neighbour, so that the next neighbour ends a gap.
    is_gap_open: bool,
    /// Beginnings of ids that failures hide.
    below: Vec<Box<str>>,
    /// The number after that of the last neighbour.
    after: u32,
    is_in_order: bool,
}

impl Missing {
    /// Starts with all documents unseen. The last `stale` of them are out of order.
    pub fn new(documents: u32, stale: u32) -> Self {
        Missing {
            count: documents,
            fates: vec![Fate::Unseen; documents as usize],
            has_moved: vec![false; documents as usize],
            ordered: documents.saturating_sub(stale),
            gaps: Vec::new(),
            is_gap_open: false,
            below: Vec::new(),
            after: 0,
            is_in_order: true,
        }
    }

    /// Marks a document as found, at this place in the order of the inputs.
    pub fn found(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::Found;
    }

    /// Marks a document whose text is in the new file, under any id.
    pub fn moved(&mut self, document: u32) {
        self.has_moved[document as usize] = true;
    }

    /// Marks a document as found without a text, at this place in the order of the inputs.
    pub fn empty(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::Empty;
    }

    /// Marks a document as unreadable, at this place in the order of the inputs.
    pub fn unreadable(&mut self, document: u32) {
        self.pass(document);
        // An earlier document with the same id may be a good one.
        if self.fates[document as usize] == Fate::Unseen {
            self.fates[document as usize] = Fate::Failed;
        }
    }

    /// Marks a document that was found as one without a vector.
    pub fn failed(&mut self, document: u32) {
        self.fates[document as usize] = Fate::Failed;
    }

    /// Notes a failure that does not name its documents, at this place in the order of the inputs. `below` is the beginning
    /// of their ids, if that is known.
    pub fn lost(&mut self, below: Option<&str>) {
        self.is_gap_open = true;
        self.below.extend(below.map(Box::from));
    }

    /// Returns the documents that keep their old rows, ascending. Call it when all documents are marked. `ids` returns the
    /// ids of ascending documents.
    ///
    /// # Errors
    /// The error of `ids`.
    pub fn stale<E>(&mut self, ids: impl FnOnce(&[u32]) -> Result<Vec<String>, E>) -> Result<Vec<u32>, E> {
        self.close_gap(self.ordered);
        let count = self.count;
        let unseen = |document: &u32| self.fates[*document as usize] == Fate::Unseen;
        let mut is_stale: Vec<bool> = self.fates.iter().map(|&fate| fate == Fate::Failed).collect();
        if !self.gaps.is_empty() {
            let all = 0..self.ordered;
            let gaps = if self.is_in_order { &self.gaps } else { slice::from_ref(&all) };
            let lost = gaps.iter().cloned().flatten().chain(self.ordered..count);
            lost.filter(unseen).for_each(|document| is_stale[document as usize] = true);
        }
        if !self.below.is_empty() {
            let unseen: Vec<u32> = (0..count).filter(unseen).collect();
            for (document, id) in unseen.iter().zip(ids(&unseen)?) {
                is_stale[*document as usize] |= self.below.iter().any(|path| is_below(&id, path));
            }
        }
        Ok((0..count).filter(|&document| is_stale[document as usize]).collect())
    }

    /// Returns how many documents are neither in the new file nor among the `stale` ones: somebody has removed them.
    pub fn removed(&self, stale: &[u32]) -> usize {
        let fates = self.fates.iter().zip(&self.has_moved);
        let missing = fates.filter(|(fate, has_moved)| **fate != Fate::Found && !**has_moved).count();
        missing - stale.iter().filter(|&&document| !self.has_moved[document as usize]).count()
    }

    /// Takes a document as a neighbour of those that failures hide.
    fn pass(&mut self, document: u32) {
        if document < self.ordered {
            self.close_gap(document);
            self.is_in_order &= document >= self.after;
            self.after = document + 1;
        }
    }

    fn close_gap(&mut self, end: u32) {
        if self.is_gap_open {
            self.gaps.push(self.after..end);
            self.is_gap_open = false;
        }
    }
}

/// Returns whether an id is the path, or a file or a row below it. A row without an id of its own has the id `FILE:NUMBER`.
fn is_below(id: &str, path: &str) -> bool {
    id.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks documents, and returns the stale ones and how many were removed. In `seen`, a number is a document that was
    /// found, `!` and a number an unreadable one, `-` and a number an empty one. `?` is a failure that names no document,
    /// with the beginning of the ids that it hides. Documents 2 and 3 are in `folder`, the others in `folder2`.
    fn stale_of(documents: u32, stale: u32, seen: &str) -> (Vec<u32>, usize) {
        let mut missing = Missing::new(documents, stale);
        for seen in seen.split_whitespace() {
            match seen.split_at(1) {
                ("!", number) => missing.unreadable(number.parse().unwrap()),
                ("-", number) => missing.empty(number.parse().unwrap()),
                ("?", below) => missing.lost(Some(below).filter(|below| !below.is_empty())),
                _ => missing.found(seen.parse().unwrap()),
            }
        }
        let id = |document: &u32| if matches!(document, 2 | 3) { "folder/x" } else { "folder2" }.to_owned();
        let stale = missing.stale(|documents| Ok::<_, ()>(documents.iter().map(id).collect())).unwrap();
        let removed = missing.removed(&stale);
        (stale, removed)
    }

    fn stale(documents: u32, seen: &str) -> (Vec<u32>, usize) {
        stale_of(documents, 0, seen)
    }

    #[test]
    fn a_failure_hides_documents_between_the_same_neighbours() {
        assert_eq!(stale(6, "0 1 2 3 4 5"), (vec![], 0));
        assert_eq!(stale(6, "0 2 5"), (vec![], 3));
        assert_eq!(stale(6, "0 !1 2 5"), (vec![1], 2));
        assert_eq!(stale(6, "0 ? 3 5"), (vec![1, 2], 1));
        assert_eq!(stale(6, "? ? 3 4 ?"), (vec![0, 1, 2, 5], 0));
        assert_eq!(stale(6, "0 1 ? 2 3 5"), (vec![], 1));
        // An unreadable document is a neighbour too, and so is an empty one.
        assert_eq!(stale(6, "0 ? !3 5"), (vec![1, 2, 3], 1));
        assert_eq!(stale(6, "0 -1 ? 3 5"), (vec![2], 2));
        // The documents have changed their order, so every unseen one may be hidden.
        assert_eq!(stale(6, "3 ? 0 -5"), (vec![1, 2, 4], 1));
        assert_eq!(stale(6, "3 0 5"), (vec![], 3));
        assert_eq!(stale(0, "?"), (vec![], 0));
    }

    #[test]
    fn of_two_documents_with_one_id_the_good_one_counts() {
        assert_eq!(stale(2, "0 !0 1"), (vec![], 0));
        assert_eq!(stale(2, "!0 0 1"), (vec![], 0));
    }

    #[test]
    fn an_unreadable_folder_hides_the_ids_below_it() {
        assert_eq!(stale(6, "0 ?folder 1 5"), (vec![2, 3], 1));
        // Documents with ids of their own are hidden by their place only.
        assert_eq!(stale(6, "0 ?folder 5"), (vec![1, 2, 3, 4], 0));
        assert_eq!(stale(6, "0 1 ?folder/ ?fold 2 3 5"), (vec![], 1));
    }

    #[test]
    fn a_stale_document_may_still_be_hidden() {
        // Documents 4 and 5 were stale already, so their place says nothing.
        assert_eq!(stale_of(6, 2, "0 ? 1 2 3"), (vec![4, 5], 0));
        assert_eq!(stale_of(6, 2, "0 1 2 3"), (vec![], 2));
        assert_eq!(stale_of(6, 2, "0 4 1 ? 3"), (vec![2, 5], 0));
        assert_eq!(stale_of(6, 2, "0 !5 1 2 3"), (vec![5], 1));
    }

    #[test]
    fn a_text_that_has_moved_is_not_removed() {
        let mut missing = Missing::new(3, 0);
        missing.found(0);
        missing.moved(1);
        let stale = missing.stale(|_| Err(())).unwrap();
        assert_eq!((missing.removed(&stale), stale), (1, vec![]));
    }
}
