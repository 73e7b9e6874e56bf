//! Finds the documents of the old file that stay in the index because they cannot be read in this run. Does no I/O. Documents are
//! identified by their number in the old file.
//!
//! Most failures name their document. Some failures name no document: an unreadable folder hides the names of its documents, and
//! a line that is not JSON hides the id of its document. In the old file, the documents are in the order of the inputs. So a
//! failure that names no document may hide the documents between the two documents that were found directly before and directly
//! after the failure. If the documents are in another order now, the failure may hide every unseen document. The stale documents
//! at the end of the old file are not in the order of the inputs, so every failure that names no document may hide these
//! documents.

use std::ops::Range;
use std::slice;

/// The state of a document of the old file in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unseen,
    /// The document's id is in the new file.
    Found,
    /// The document was found, but its text is empty.
    Empty,
    /// The document could not be read or embedded.
    Failed,
}

/// The documents of the old file with their states, and the ranges of documents that failures may hide.
#[derive(Debug)]
pub struct Missing {
    /// Number of documents in the old file.
    count: u32,
    fates: Vec<Fate>,
    /// For each document, whether the text of one of its rows is in the new file, under any id.
    has_moved: Vec<bool>,
    /// Number of documents at the start of the old file that are in the order of the inputs. All later documents were stale in
    /// the old file already.
    ordered: u32,
    /// The ranges of documents that failures may hide if these failures name no document. A range lies between the documents that
    /// were found directly before and directly after a failure.
    gaps: Vec<Range<u32>>,
    /// Whether a failure that names no document has occurred since the latest document. If so, the next document ends a gap.
    is_gap_open: bool,
    /// Paths of failures that name no document. The ids of the documents that such a failure hides begin with the path of the
    /// failure.
    below: Vec<Box<str>>,
    /// The document number of the latest document, plus 1.
    after: u32,
    is_in_order: bool,
}

impl Missing {
    /// Creates a state in which all documents are unseen. The `stale` documents at the end of the old file are not in the order
    /// of the inputs.
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

    /// Marks a document as found. Must be called in the order of the inputs.
    pub fn found(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::Found;
    }

    /// Records that the text of a row of this document is in the new file, under any id.
    pub fn moved(&mut self, document: u32) {
        self.has_moved[document as usize] = true;
    }

    /// Marks a document as found with an empty text. Must be called in the order of the inputs.
    pub fn empty(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::Empty;
    }

    /// Marks a document as unreadable. Must be called in the order of the inputs.
    pub fn unreadable(&mut self, document: u32) {
        self.pass(document);
        // An earlier document with the same id may have been read successfully.
        if self.fates[document as usize] == Fate::Unseen {
            self.fates[document as usize] = Fate::Failed;
        }
    }

    /// Marks a document as failed: the document was found, but could not be embedded.
    pub fn failed(&mut self, document: u32) {
        self.fates[document as usize] = Fate::Failed;
    }

    /// Records a failure that does not name its documents. Must be called in the order of the inputs. If `below` is given, the
    /// ids of these documents begin with `below`.
    pub fn lost(&mut self, below: Option<&str>) {
        self.is_gap_open = true;
        self.below.extend(below.map(Box::from));
    }

    /// Returns the stale documents, in ascending order. Must be called after all documents are marked. `ids` is called with
    /// document numbers in ascending order, and must return the ids of these documents.
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

    /// Returns whether no document was found under its id, and the texts of most documents are in the new file.
    pub fn all_ids_changed(&self) -> bool {
        let moved = self.has_moved.iter().filter(|&&has_moved| has_moved).count();
        self.fates.iter().all(|&fate| fate == Fate::Unseen) && moved * 2 > self.count as usize
    }

    /// Returns the documents that the run has not seen under any id, without those in `stale`. Both are in ascending order.
    pub fn gone(&self, stale: &[u32]) -> Vec<u32> {
        let is_gone = |&document: &u32| {
            let at = document as usize;
            self.fates[at] == Fate::Unseen && !self.has_moved[at] && stale.binary_search(&document).is_err()
        };
        (0..self.count).filter(is_gone).collect()
    }

    /// Returns the number of documents that were removed from the inputs. Such a document is not in the new file and not in
    /// `stale`.
    pub fn removed(&self, stale: &[u32]) -> usize {
        let fates = self.fates.iter().zip(&self.has_moved);
        let missing = fates.filter(|(fate, has_moved)| **fate != Fate::Found && !**has_moved).count();
        missing - stale.iter().filter(|&&document| !self.has_moved[document as usize]).count()
    }

    /// Records the position of a document. The position ends the gap of an earlier failure and starts the gap of a later failure.
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

/// The characters that may follow the path of a folder or file in the id of a document below it.
pub const ID_SEPARATORS: [char; 3] = ['/', ':', '#'];

/// Returns whether an id is the path, or the id of a file, a row or a section below the path. If a row has no id in the input, its
/// id is `FILE:NUMBER`. A section of a file has the id `FILE#NAME`.
fn is_below(id: &str, path: &str) -> bool {
    id.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(ID_SEPARATORS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks documents, and returns the stale documents and the number of removed documents. In `seen`, `1` means that document 1
    /// was found, `!1` that it was unreadable, and `-1` that it was empty. `?path` is a failure that names no document and hides
    /// the ids below `path`. Documents 2 and 3 are in `folder`, all other documents in `folder2`.
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
        // An unreadable document and an empty document also end or start a gap.
        assert_eq!(stale(6, "0 ? !3 5"), (vec![1, 2, 3], 1));
        assert_eq!(stale(6, "0 -1 ? 3 5"), (vec![2], 2));
        // The documents have changed their order, so every unseen document may be hidden.
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
        // Documents with ids that do not begin with the path are hidden only by their position.
        assert_eq!(stale(6, "0 ?folder 5"), (vec![1, 2, 3, 4], 0));
        assert_eq!(stale(6, "0 1 ?folder/ ?fold 2 3 5"), (vec![], 1));
        assert!(["a", "a/b", "a:1", "a#b", "a#b/c"].iter().all(|id| is_below(id, "a")));
        assert!(!is_below("ab", "a"));
    }

    #[test]
    fn a_stale_document_may_still_be_hidden() {
        // Documents 4 and 5 were stale in the old file already, so their position does not matter.
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
        assert!(!missing.all_ids_changed());
        let mut missing = Missing::new(3, 0);
        missing.moved(0);
        assert!(!missing.all_ids_changed());
        missing.moved(2);
        assert!(missing.all_ids_changed());
    }
}
