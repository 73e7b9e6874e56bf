//! Tells headings from other paragraphs by the size of their letters.

use std::collections::BTreeMap;

use super::paragraphs::{PageParagraph, has_leaders};

/// How many times larger than the other text the letters of a heading are, at least.
const LARGER: f64 = 1.15;

/// The part of the text that is not larger than ordinary text.
const ORDINARY_PART: f64 = 0.75;

/// Maximum length of a heading, in characters.
const LENGTH_MAX: usize = 200;

/// Steps per unit of the page. Sizes in the same step are the same.
const STEPS: f64 = 2.0;

/// The sizes of the headings of a document.
pub struct Sizes {
    /// The sizes in steps, the largest first.
    sizes: Vec<u32>,
    /// The smallest size of a heading.
    smallest: f64,
}

impl Sizes {
    pub fn of<'a>(paragraphs: impl Iterator<Item = &'a PageParagraph> + Clone) -> Self {
        let mut letters: BTreeMap<u32, usize> = BTreeMap::new();
        for paragraph in paragraphs.clone() {
            *letters.entry(step(paragraph.size)).or_default() += paragraph.text.len();
        }
        let total: usize = letters.values().sum();
        let mut so_far = 0;
        let ordinary = letters.iter().find(|(_, letters)| {
            so_far += **letters;
            so_far as f64 >= ORDINARY_PART * total as f64
        });
        let smallest = ordinary.map_or(f64::INFINITY, |(size, _)| f64::from(*size) / STEPS * LARGER);
        let mut sizes: Vec<u32> = paragraphs
            .filter(|paragraph| is_heading(paragraph, smallest))
            .map(|one| step(one.size))
            .collect();
        sizes.sort_unstable_by(|one, other| other.cmp(one));
        sizes.dedup();
        Sizes { sizes, smallest }
    }

    /// Returns the level of a heading, 1 for the largest letters. Returns `None` for any other paragraph.
    pub fn level(&self, paragraph: &PageParagraph) -> Option<usize> {
        let size = step(paragraph.size);
        let rank = self.sizes.binary_search_by(|other| size.cmp(other)).ok()?;
        is_heading(paragraph, self.smallest).then_some(rank + 1)
    }
}

fn is_heading(paragraph: &PageParagraph, smallest: f64) -> bool {
    paragraph.is_upright
        && paragraph.size >= smallest
        && paragraph.text.chars().nth(LENGTH_MAX).is_none()
        && !has_leaders(&paragraph.text)
        && paragraph.text.chars().filter(|c| c.is_alphabetic()).nth(1).is_some()
}

// The size of a glyph is positive. The cast saturates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn step(size: f64) -> u32 {
    (size * STEPS).round() as u32
}
