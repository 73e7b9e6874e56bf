//! Splits a text into chunks of about the same length. Pure.

use icu_segmenter::SentenceSegmenter;

use super::structure::{Piece, SENTENCE};
use super::{Atom, Atoms, Chunker};
use crate::error::DocumentError;

impl Chunker<'_> {
    /// Returns the sentences of the text. A sentence that is too long for a chunk is returned in parts that fit.
    ///
    /// # Errors
    /// The text has too many tokens, or the tokenizer refuses it.
    pub(super) fn sentence_atoms(&self) -> Result<Atoms, DocumentError> {
        let mut atoms = Atoms::default();
        let mut start = 0;
        for end in SentenceSegmenter::new(Default::default()).segment_str(self.text).skip(1) {
            self.split(start..end, SENTENCE, self.outline.block_at(start), &mut atoms)?;
            start = end;
        }
        Ok(atoms)
    }
}

/// Joins consecutive atoms into as few pieces as possible. Each piece has at most `room` tokens, and all pieces have about the
/// same length.
pub(super) fn balance(atoms: &[Atom], room: usize) -> Vec<Piece> {
    let mut left: usize = atoms.iter().map(|atom| atom.tokens).sum();
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut tokens, mut target) = (0, 0);
    for atom in atoms {
        // The piece is full if this atom does not fit, or if the piece is closer to the target length without this atom.
        let full = tokens + atom.tokens > room || tokens + atom.tokens / 2 > target;
        match pieces.last_mut() {
            Some(piece) if !full => {
                piece.span.end = atom.span.end;
                piece.last = atom.block;
                tokens += atom.tokens;
            }
            _ => {
                target = left.div_ceil(left.div_ceil(room).max(1));
                pieces.push(Piece {
                    span: atom.span.clone(),
                    first: atom.block,
                    last: atom.block,
                    header: None,
                });
                tokens = atom.tokens;
            }
        }
        left -= atom.tokens;
    }
    pieces
}
