//! Reads pictures with a command of the user, such as tesseract.

mod cache;
mod command;
mod permits;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::cache::TextCache;
pub use self::command::CommandError;
use self::command::PictureCommand;
use self::permits::Permits;
use super::document::Limits;
use super::picture::{Picture, Take};
use crate::digest::Digest;
use crate::error::DocumentError;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};
use crate::text::line_ends::join;

/// Separates the pages of a text.
const PAGE_END: char = '\u{C}';

/// Reads pictures. Several threads may use it at the same time: at most one command per CPU runs.
#[derive(Debug)]
pub struct Ocr {
    command: PictureCommand,
    cache: TextCache,
    permits: Permits,
}

impl Ocr {
    /// Returns a reader that runs `command`: a program and its arguments, with quotes as in a shell. The command reads a picture
    /// from standard input and writes the text to standard output.
    ///
    /// # Errors
    /// The words of the command cannot be separated, or there is no such program.
    pub fn new(command: &str, limits: Limits) -> Result<Self, CommandError> {
        let command = PictureCommand::new(command, limits)?;
        Ok(Ocr { command, cache: TextCache::from_environment(), permits: Permits::per_cpu() })
    }

    /// Returns the text of a picture file.
    ///
    /// # Errors
    /// The command fails or exceeds a limit.
    pub fn picture(&self, file: Vec<u8>) -> Result<Structured, DocumentError> {
        let _permit = self.permits.take();
        self.text(None, file)
    }

    /// Runs `extract`, which hands over the pictures of the pages without text, and reads them meanwhile. Returns the result of
    /// `extract` and the texts of these pages.
    ///
    /// # Errors
    /// `extract` fails, or the command fails or exceeds a limit.
    pub fn pages<T>(
        &self,
        extract: impl FnOnce(&mut Take) -> Result<T, DocumentError>,
    ) -> Result<(T, BTreeMap<u32, Structured>), DocumentError> {
        let texts = Mutex::new(Ok(BTreeMap::new()));
        let lock = || texts.lock().unwrap_or_else(PoisonError::into_inner);
        let extracted = thread::scope(|scope| {
            extract(&mut |Picture { page, png }| {
                let permit = self.permits.take();
                let so_far = mem::replace(&mut *lock(), Ok(BTreeMap::new()));
                *lock() = Ok(so_far?);
                let read = move || {
                    let text = self.text(Some(page), png);
                    drop(permit);
                    let mut texts = lock();
                    match (text, &mut *texts) {
                        (Ok(text), Ok(texts)) => drop(texts.insert(page, text)),
                        (Err(cause), Ok(_)) => *texts = Err(cause),
                        (_, Err(_)) => {}
                    }
                };
                thread::Builder::new().spawn_scoped(scope, read).map_err(DocumentError::NoWorker)?;
                Ok(())
            })
        });
        Ok((extracted?, texts.into_inner().unwrap_or_else(PoisonError::into_inner)?))
    }

    /// Returns the text of the picture of a page, or of a picture file if there is no page.
    fn text(&self, page: Option<u32>, picture: Vec<u8>) -> Result<Structured, DocumentError> {
        let key = self.command.key(Digest::of(&picture));
        let text = match self.cache.get(key) {
            Some(text) => text,
            None => {
                let text = self.command.run(picture, page)?;
                self.cache.put(key, &text);
                text
            }
        };
        Ok(structured(&text))
    }
}

/// Returns the blocks of a text that a command has written: blank lines separate paragraphs, and form feeds separate pages.
fn structured(text: &str) -> Structured {
    let pages: Vec<&str> = text.trim_end_matches(PAGE_END).split(PAGE_END).collect();
    let mut writer = BlockWriter::default();
    for (number, page) in (1..).zip(&pages) {
        if pages.len() > 1 {
            writer.page(number);
        }
        let mut paragraph = String::new();
        for line in page.lines().map(str::trim) {
            if line.is_empty() {
                writer.block(BlockKind::Paragraph, &mem::take(&mut paragraph));
            } else {
                join(&mut paragraph, line);
                paragraph.push_str(line);
            }
        }
        writer.block(BlockKind::Paragraph, &paragraph);
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_paragraphs_and_pages() {
        assert_eq!(structured("A scan-\nned line \n\nnext\n\u{C}").clean().text(), "A scanned line next");
        assert_eq!(structured("一二\n三").clean().text(), "一二三");
        assert_eq!(structured(" \n\u{C}").clean(), Structured::default());
        let pages = structured("one\n\u{C}\n\u{C}three").clean();
        assert_eq!(pages, Structured::plain("one\u{C}\u{C}three".to_owned()).clean());
    }
}
