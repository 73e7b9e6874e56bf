//! Collects prepared chunks in a window until there are enough chunks to plan batches.

use std::mem;

use super::step::WindowState;
use crate::text::tokenize::Encoding;
use crate::vector::batch::ChunkKey;

/// Limit on the tokens in a window. The limit is large enough to find texts of equal length for a batch. A larger window would
/// delay the rows, because rows are written window by window.
const TOKENS: usize = 64 << 10;

/// Limit on the documents in a window.
const DOCUMENTS: usize = 1024;

/// Limit on the bytes of texts and kept values in a window. This limit does not grow with the size of the batches.
const BYTES: usize = 64 << 20;

/// Number of batches that a window should have room for. If these batches have more than [`TOKENS`] tokens, the window is
/// enlarged.
const BATCHES: usize = 32;

/// The limits of a window. A window that reaches one of the limits is full. Then batches are planned for the chunks in the
/// window.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowSize {
    pub tokens: usize,
    pub documents: usize,
    pub bytes: usize,
}

impl Default for WindowSize {
    fn default() -> Self {
        WindowSize { tokens: TOKENS, documents: DOCUMENTS, bytes: BYTES }
    }
}

impl WindowSize {
    /// Returns the size of a window for batches with at most `batch_tokens` tokens.
    pub fn for_batches(batch_tokens: usize) -> Self {
        let times = (BATCHES * batch_tokens / TOKENS).max(1);
        WindowSize { tokens: times * TOKENS, documents: times * DOCUMENTS, bytes: BYTES }
    }
}

/// Counts of the documents added since the latest plan, and the chunks of these documents that need a vector from the model.
#[derive(Default)]
pub(super) struct Window {
    size: WindowSize,
    pub(super) documents: usize,
    tokens: usize,
    bytes: usize,
    chunks: Vec<(ChunkKey, Encoding)>,
}

impl Window {
    /// Counts a document with all its tokens, even if its chunks do not need the model.
    pub fn add_document(&mut self, tokens: usize, bytes: usize) {
        self.documents += 1;
        self.tokens += tokens;
        self.bytes += bytes;
    }

    /// Adds a chunk that needs a vector from the model.
    pub fn add_chunk(&mut self, key: ChunkKey, encoding: Encoding) {
        self.chunks.push((key, encoding));
    }

    /// Returns all chunks and empties the window.
    pub fn take(&mut self) -> Vec<(ChunkKey, Encoding)> {
        mem::replace(self, Window { size: self.size, ..Window::default() }).chunks
    }

    pub fn resize(&mut self, size: WindowSize) {
        self.size = size;
    }

    pub fn is_full(&self) -> bool {
        self.tokens >= self.size.tokens
            || self.documents >= self.size.documents
            || self.bytes >= self.size.bytes
    }

    pub fn state(&self) -> WindowState {
        match self.documents {
            0 => WindowState::Empty,
            _ if self.is_full() => WindowState::Full,
            _ => WindowState::Filling,
        }
    }

    pub fn has_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_full_at_the_first_of_its_three_limits() {
        let mut window = Window::default();
        window.resize(WindowSize { tokens: 10, documents: 3, bytes: 100 });
        for (tokens, bytes, documents) in [(10, 1, 1), (4, 1, 3), (1, 50, 2)] {
            for _ in 0..documents {
                assert!(!window.is_full());
                window.add_document(tokens, bytes);
            }
            assert!(window.is_full());
            assert!(window.take().is_empty());
            assert_eq!(window.state(), WindowState::Empty);
        }
    }

    #[test]
    fn large_batches_make_the_window_larger_but_not_in_bytes() {
        let size = |batch_tokens| {
            let WindowSize { tokens, documents, bytes } = WindowSize::for_batches(batch_tokens);
            (tokens, documents, bytes)
        };
        assert_eq!(size(1), (64 << 10, 1024, 64 << 20));
        assert_eq!(size(2048), (64 << 10, 1024, 64 << 20));
        assert_eq!(size(32 << 10), (1 << 20, 16 << 10, 64 << 20));
    }
}
