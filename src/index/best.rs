//! Things with a rank in, one after the other; the best of them out.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::Hash;
use std::mem;

/// A thing that is better or worse than another.
pub trait Ranked {
    /// Compares two things. The better one is less.
    fn order(&self, other: &Self) -> Ordering;

    /// Returns the identity of a thing. Of several with the same identity, only the best counts.
    fn identity(&self) -> Option<impl Hash + Eq>;
}

/// The best `most` of the things offered. Holds up to twice as many, so that it sorts once per `most` things taken.
#[derive(Debug, Clone)]
pub struct Best<T> {
    most: usize,
    items: Vec<T>,
    /// Whether the first `most` items are the best of those offered so far, or of all but the items behind them.
    is_full: bool,
}

impl<T: Ranked> Best<T> {
    pub fn new(most: usize) -> Self {
        Best { most, items: Vec::new(), is_full: false }
    }

    /// Returns a thing that is no better than any of the best, once there are `most`. What is not before it need not be offered.
    pub fn worst(&self) -> Option<&T> {
        self.items[..if self.is_full { self.most } else { 0 }].last()
    }

    pub fn offer(&mut self, item: T) {
        if self.worst().is_some_and(|worst| item.order(worst).is_ge()) {
            return;
        }
        self.items.push(item);
        if self.items.len() >= 2 * self.most {
            self.drop_others();
        }
    }

    /// Offers the best of another list.
    pub fn join(&mut self, other: Self) {
        other.items.into_iter().for_each(|item| self.offer(item));
    }

    /// Returns the best, the best first.
    pub fn sorted(&self) -> impl Iterator<Item = &T> {
        self.ranking().into_iter().map(|at| &self.items[at])
    }

    fn drop_others(&mut self) {
        let ranking = self.ranking();
        let mut items: Vec<Option<T>> = mem::take(&mut self.items).into_iter().map(Some).collect();
        self.items = ranking.into_iter().filter_map(|at| items[at].take()).collect();
        self.is_full = self.items.len() == self.most;
    }

    /// Returns the indices of the best items, the best first.
    fn ranking(&self) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..self.items.len()).collect();
        ranking.sort_unstable_by(|&one, &other| self.items[one].order(&self.items[other]));
        let mut seen = HashSet::new();
        ranking.retain(|&at| self.items[at].identity().is_none_or(|identity| seen.insert(identity)));
        ranking.truncate(self.most);
        ranking
    }
}
