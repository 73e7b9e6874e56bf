//! Selects the best of many items. The items are offered one by one.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::Hash;
use std::mem;

/// An item that can be ranked against other items.
pub trait Ranked {
    /// Compares two items. The better item is `Less`.
    fn order(&self, other: &Self) -> Ordering;

    /// Returns the identity of an item. If several items have the same identity, only the best of them is selected. An
    /// item with `None` shares its identity with no other item.
    fn identity(&self) -> Option<impl Hash + Eq>;
}

/// Selects the best `most` of all offered items. The list of items is sorted and truncated only when it has `2 * most` items, so
/// that one sort is enough for `most` new items.
#[derive(Debug, Clone)]
pub struct Best<T> {
    most: usize,
    items: Vec<T>,
    /// Whether the first `most` items are sorted, from best to worst. All later items in the list were offered after the sort.
    is_full: bool,
}

impl<T: Ranked> Best<T> {
    pub fn new(most: usize) -> Self {
        Best { most, items: Vec::new(), is_full: false }
    }

    /// Returns the worst item that the latest sort kept; `None` until a sort has kept `most` items. Only an item that is better
    /// than this item can still be selected.
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

    /// Offers all items of another list.
    pub fn join(&mut self, other: Self) {
        other.items.into_iter().for_each(|item| self.offer(item));
    }

    /// Returns the best `most` items, from best to worst.
    pub fn sorted(&self) -> impl Iterator<Item = &T> {
        self.ranking().into_iter().map(|at| &self.items[at])
    }

    fn drop_others(&mut self) {
        let ranking = self.ranking();
        let mut items: Vec<Option<T>> = mem::take(&mut self.items).into_iter().map(Some).collect();
        self.items = ranking.into_iter().filter_map(|at| items[at].take()).collect();
        self.is_full = self.items.len() == self.most;
    }

    /// Returns the indices of the best `most` items, from best to worst.
    fn ranking(&self) -> Vec<usize> {
        let mut ranking: Vec<usize> = (0..self.items.len()).collect();
        ranking.sort_unstable_by(|&one, &other| self.items[one].order(&self.items[other]));
        let mut seen = HashSet::new();
        ranking.retain(|&at| self.items[at].identity().is_none_or(|identity| seen.insert(identity)));
        ranking.truncate(self.most);
        ranking
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Clone)]
    struct Counted<'a>(usize, &'a Cell<usize>);

    impl Ranked for Counted<'_> {
        fn order(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            other.0.cmp(&self.0)
        }

        fn identity(&self) -> Option<impl Hash + Eq> {
            None::<()>
        }
    }

    #[test]
    fn the_cost_of_an_item_does_not_grow_with_the_length_of_the_list() {
        const OFFERED: usize = 100_000;
        for most in [10, 1_000, 10_000] {
            let compared = Cell::new(0);
            let mut best = Best::new(most);
            // In this order, each item is better than all earlier items.
            (0..OFFERED).for_each(|n| best.offer(Counted(n, &compared)));
            let found: Vec<usize> = best.sorted().map(|item| item.0).collect();
            assert!(found.into_iter().eq((0..OFFERED).rev().take(most)));
            assert!(compared.get() < 50 * OFFERED, "{most}: {}", compared.get());
        }
    }
}
