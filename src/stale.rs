//! What of the old file stands for documents that cannot be read today. Pure; documents are the old file's, by number.
//!
//! Most failures name their document. One of a folder, or of a file of rows, does not say what would have come after
//! it, and a line that is no JSON not what its id was. What is lost there stood between the same neighbours the last
//! time, since the order of documents is that of the inputs. Where the neighbours have changed places, anything
//! that is missing may be what was lost. Of a folder, at least the start of the ids is known.

use std::mem;
use std::ops::Range;

/// What has been seen of the old file's documents, and what may have been lost.
#[derive(Debug)]
pub struct Missing {
    /// Whether its id is in the new file.
    is_there: Vec<bool>,
    /// Whether its text is.
    has_moved: Vec<bool>,
    /// Those that failed by name.
    failed: Vec<u32>,
    gaps: Vec<(Range<u32>, Option<String>)>,
    /// Failures that no neighbour has come after yet.
    open: Vec<Option<String>>,
    /// Where the last neighbour was, and one more.
    after: u32,
    is_in_order: bool,
}

impl Missing {
    /// Of a file with so many documents, nothing has been seen.
    pub fn new(documents: u32) -> Self {
        Missing {
            is_there: vec![false; documents as usize],
            has_moved: vec![false; documents as usize],
            failed: Vec::new(),
            gaps: Vec::new(),
            open: Vec::new(),
            after: 0,
            is_in_order: true,
        }
    }

    /// Something with its id is in the inputs, here in their order.
    pub fn passed(&mut self, document: u32) {
        self.is_in_order &= document >= self.after;
        self.close(document);
        self.after = document + 1;
    }

    /// And that is a document.
    pub fn found(&mut self, document: u32) {
        self.passed(document);
        self.is_there[document as usize] = true;
    }

    /// Its text is in the new file, maybe under another id.
    pub fn moved(&mut self, document: u32) {
        self.has_moved[document as usize] = true;
    }

    /// What was passed, or found, could not be read or embedded.
    pub fn failed(&mut self, document: u32) {
        self.is_there[document as usize] = false;
        self.failed.push(document);
    }

    /// Here in the order of the inputs, something could not be read, and nobody knows what; `below` is what its id starts
    /// with, if that is known.
    pub fn lost(&mut self, below: Option<&str>) {
        self.open.push(below.map(str::to_owned));
    }

    /// Those that are lost, ascending. To be asked for at the end; `ids` tells those of a range.
    ///
    /// # Errors
    /// Those of `ids`.
    pub fn stale<E>(&mut self, mut ids: impl FnMut(&[u32]) -> Result<Vec<String>, E>) -> Result<Vec<u32>, E> {
        self.failed.sort_unstable();
        let count = self.is_there.len() as u32;
        self.close(count);
        let mut stale = self.failed.clone();
        for (gap, below) in mem::take(&mut self.gaps) {
            let gap = if self.is_in_order { gap } else { 0..count };
            let mut lost: Vec<u32> = gap.filter(|&document| !self.has_moved[document as usize]).collect();
            lost.retain(|&document| !self.is_there[document as usize]);
            if let Some(below) = below {
                let mut ids = ids(&lost)?.into_iter();
                lost.retain(|_| ids.next().is_some_and(|id| is_below(&id, &below)));
            }
            stale.extend(lost);
        }
        stale.sort_unstable();
        stale.dedup();
        stale.retain(|&document| !self.is_there[document as usize]);
        Ok(stale)
    }

    /// Whether it was said by name that it failed.
    pub fn has_failed(&self, document: u32) -> bool {
        self.failed.binary_search(&document).is_ok()
    }

    /// How many are neither in the new file nor among the stale: those that somebody has removed.
    pub fn removed(&self, stale: &[u32]) -> usize {
        let is_gone = |document: &u32| {
            let at = *document as usize;
            !self.is_there[at] && !self.has_moved[at] && stale.binary_search(document).is_err()
        };
        (0..self.is_there.len() as u32).filter(is_gone).count()
    }

    fn close(&mut self, end: u32) {
        let gap = self.after..end;
        self.gaps.extend(self.open.drain(..).map(|below| (gap.clone(), below)));
    }
}

fn is_below(id: &str, path: &str) -> bool {
    id.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents by number; `!` and a number for one that failed, `?` for something that was lost, with what its id
    /// starts with. Documents 2 and 3 are in a folder.
    fn stale(documents: u32, seen: &str) -> (Vec<u32>, usize) {
        let mut missing = Missing::new(documents);
        for seen in seen.split_whitespace() {
            if let Some(failed) = seen.strip_prefix('!') {
                missing.passed(failed.parse().unwrap());
                missing.failed(failed.parse().unwrap());
            } else if let Some(below) = seen.strip_prefix('?') {
                missing.lost(Some(below).filter(|below| !below.is_empty()));
            } else {
                missing.found(seen.parse().unwrap());
            }
        }
        let id = |document: &u32| if matches!(document, 2 | 3) { "folder/x" } else { "folder2" }.to_owned();
        let stale = missing.stale(|documents| Ok::<_, ()>(documents.iter().map(id).collect())).unwrap();
        let removed = missing.removed(&stale);
        (stale, removed)
    }

    #[test]
    fn what_is_lost_stood_between_the_same_neighbours() {
        assert_eq!(stale(6, "0 1 2 3 4 5"), (vec![], 0));
        assert_eq!(stale(6, "0 2 5"), (vec![], 3));
        assert_eq!(stale(6, "0 !1 2 5"), (vec![1], 2));
        assert_eq!(stale(6, "0 ? 3 5"), (vec![1, 2], 1));
        assert_eq!(stale(6, "? ? 3 4 ?"), (vec![0, 1, 2, 5], 0));
        assert_eq!(stale(6, "0 1 ? 2 3 5"), (vec![], 1));
        // A name is a neighbour too.
        assert_eq!(stale(6, "0 ? !3 5"), (vec![1, 2, 3], 1));
        // Nothing is known about the order any more.
        assert_eq!(stale(6, "3 ? 0 5"), (vec![1, 2, 4], 0));
        assert_eq!(stale(6, "3 0 5"), (vec![], 3));
        assert_eq!(stale(0, "?"), (vec![], 0));
    }

    #[test]
    fn of_a_folder_the_start_of_the_ids_is_known() {
        assert_eq!(stale(6, "0 ?folder 5"), (vec![2, 3], 2));
        assert_eq!(stale(6, "5 ?folder 0"), (vec![2, 3], 2));
        assert_eq!(stale(6, "0 ?folder 3 5"), (vec![2], 2));
        assert_eq!(stale(6, "0 ?folder/ ?fold 5"), (vec![], 4));
    }

    #[test]
    fn a_text_that_has_moved_is_not_lost() {
        let mut missing = Missing::new(3);
        missing.found(0);
        missing.lost(None);
        missing.moved(1);
        assert_eq!(missing.stale(|_| Err(())), Ok(vec![2]));
    }
}
