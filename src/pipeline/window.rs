//! The window: prepared chunks come in until there are enough of them to plan batches, then all of them go out.

use std::mem;

use super::step::WindowState;
use crate::text::tokenize::Encoding;
use crate::vector::batch::ChunkKey;

/// Tokens in a window: enough for texts of equal length to meet. A larger window would delay the rows, since rows are
/// written window by window.
const TOKENS: usize = 64 << 10;

/// Documents in a window.
const DOCUMENTS: usize = 1024;

/// Bytes of texts and kept values in a window, whatever the size of the batches.
const BYTES: usize = 64 << 20;

/// Batches in a window whose batches are so large that [`TOKENS`] would hold fewer.
const BATCHES: usize = 32;

/// How much a window holds before batches are planned over it.
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
    /// Returns the size for batches with at most this many tokens.
    pub fn for_batches(batch_tokens: usize) -> Self {
        let times = (BATCHES * batch_tokens / TOKENS).max(1);
        WindowSize { tokens: times * TOKENS, documents: times * DOCUMENTS, bytes: BYTES }
    }
}

/// Documents since the last plan, and those of their chunks that need a vector from the model.
#[derive(Default)]
pub(super) struct Window {
    size: WindowSize,
    pub(super) documents: usize,
    tokens: usize,
    bytes: usize,
    chunks: Vec<(ChunkKey, Encoding)>,
}

impl Window {
    /// Counts a document. Its tokens count whether they need the model or not.
    pub fn add_document(&mut self, tokens: usize, bytes: usize) {
        self.documents += 1;
        self.tokens += tokens;
        self.bytes += bytes;
    }

    /// Adds a chunk of the last document.
    pub fn add_chunk(&mut self, key: ChunkKey, encoding: Encoding) {
        self.chunks.push((key, encoding));
    }

    /// Takes all chunks and leaves an empty window.
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
