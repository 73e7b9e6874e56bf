//! What of the old file stands for documents that cannot be read today. Pure; documents are the old file's, by number.
//!
//! Most failures name their document. One of a folder, or of a file of rows, does not say what would have come after
//! it, and a line that is no JSON not what its id was. What is lost there stood between the same neighbours the last
//! time, since the order of documents is that of the inputs. Where the neighbours have changed places, anything
//! that is missing may be what was lost. So may those that were lost the last time: they are at the end of the file.

use std::ops::Range;
use std::slice;

/// What has become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unseen,
    /// Its id is in the new file.
    There,
    /// It has no text any more.
    Empty,
    /// It could not be read or embedded.
    Failed,
}

/// What has been seen of the old file's documents, and what may have been lost.
#[derive(Debug)]
pub struct Missing {
    fates: Vec<Fate>,
    /// Whether the text is in the new file, maybe under another id.
    has_moved: Vec<bool>,
    /// How many stand in the order of the inputs; the others were lost the last time.
    ordered: u32,
    gaps: Vec<Range<u32>>,
    /// There was a failure, and no neighbour has come after it yet.
    is_open: bool,
    /// What ids start with that were lost.
    below: Vec<Box<str>>,
    /// Where the last neighbour was, and one more.
    after: u32,
    is_in_order: bool,
}

impl Missing {
    /// Of a file with so many documents, the last of which were `stale`, nothing has been seen.
    pub fn new(documents: u32, stale: u32) -> Self {
        Missing {
            fates: vec![Fate::Unseen; documents as usize],
            has_moved: vec![false; documents as usize],
            ordered: documents.saturating_sub(stale),
            gaps: Vec::new(),
            is_open: false,
            below: Vec::new(),
            after: 0,
            is_in_order: true,
        }
    }

    /// It is in the inputs, here in their order.
    pub fn found(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::There;
    }

    /// Its text is in the new file, maybe under another id.
    pub fn moved(&mut self, document: u32) {
        self.has_moved[document as usize] = true;
    }

    /// It is in the inputs, here in their order, and has no text.
    pub fn empty(&mut self, document: u32) {
        self.pass(document);
        self.fates[document as usize] = Fate::Empty;
    }

    /// It is in the inputs, here in their order, and cannot be read.
    pub fn unreadable(&mut self, document: u32) {
        self.pass(document);
        // There may have been another one with its id, which is good.
        if self.fates[document as usize] == Fate::Unseen {
            self.fates[document as usize] = Fate::Failed;
        }
    }

    /// It was found, and could not be embedded.
    pub fn failed(&mut self, document: u32) {
        self.fates[document as usize] = Fate::Failed;
    }

    /// Here in the order of the inputs, something cannot be read, and nobody knows what; or no more than what ids
    /// start with.
    pub fn lost(&mut self, below: Option<&str>) {
        self.is_open = true;
        self.below.extend(below.map(Box::from));
    }

    /// Those that are lost, ascending. To be asked for at the end; `ids` tells those of some documents, ascending.
    ///
    /// # Errors
    /// Those of `ids`.
    pub fn stale<E>(&mut self, ids: impl FnOnce(&[u32]) -> Result<Vec<String>, E>) -> Result<Vec<u32>, E> {
        self.close(self.ordered);
        let count = self.fates.len() as u32;
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

    /// How many are neither in the new file nor among the stale: those that somebody has removed.
    pub fn removed(&self, stale: &[u32]) -> usize {
        let fates = self.fates.iter().zip(&self.has_moved);
        let not_there = fates.filter(|(fate, has_moved)| **fate != Fate::There && !**has_moved).count();
        not_there - stale.iter().filter(|&&document| !self.has_moved[document as usize]).count()
    }

    fn pass(&mut self, document: u32) {
        if document < self.ordered {
            self.close(document);
            self.is_in_order &= document >= self.after;
            self.after = document + 1;
        }
    }

    fn close(&mut self, end: u32) {
        if self.is_open {
            self.gaps.push(self.after..end);
            self.is_open = false;
        }
    }
}

/// A row of a file that has no id is called by the file and its number.
fn is_below(id: &str, path: &str) -> bool {
    id.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents by number; `!` and a number for one that cannot be read, `-` for one that is empty, `?` for something
    /// that was lost, with what its id starts with. Documents 2 and 3 are in a folder.
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
    fn what_is_lost_stood_between_the_same_neighbours() {
        assert_eq!(stale(6, "0 1 2 3 4 5"), (vec![], 0));
        assert_eq!(stale(6, "0 2 5"), (vec![], 3));
        assert_eq!(stale(6, "0 !1 2 5"), (vec![1], 2));
        assert_eq!(stale(6, "0 ? 3 5"), (vec![1, 2], 1));
        assert_eq!(stale(6, "? ? 3 4 ?"), (vec![0, 1, 2, 5], 0));
        assert_eq!(stale(6, "0 1 ? 2 3 5"), (vec![], 1));
        // A name is a neighbour too, and so is one without a text.
        assert_eq!(stale(6, "0 ? !3 5"), (vec![1, 2, 3], 1));
        assert_eq!(stale(6, "0 -1 ? 3 5"), (vec![2], 2));
        // Nothing is known about the order any more.
        assert_eq!(stale(6, "3 ? 0 -5"), (vec![1, 2, 4], 1));
        assert_eq!(stale(6, "3 0 5"), (vec![], 3));
        assert_eq!(stale(0, "?"), (vec![], 0));
    }

    #[test]
    fn of_two_with_one_id_the_good_one_counts() {
        assert_eq!(stale(2, "0 !0 1"), (vec![], 0));
        assert_eq!(stale(2, "!0 0 1"), (vec![], 0));
    }

    #[test]
    fn of_a_folder_the_start_of_the_ids_is_known() {
        assert_eq!(stale(6, "0 ?folder 1 5"), (vec![2, 3], 1));
        // What has an id of its own is known by its place only.
        assert_eq!(stale(6, "0 ?folder 5"), (vec![1, 2, 3, 4], 0));
        assert_eq!(stale(6, "0 1 ?folder/ ?fold 2 3 5"), (vec![], 1));
    }

    #[test]
    fn what_was_lost_the_last_time_may_be_so_still() {
        // The documents 4 and 5 stood elsewhere before.
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
