//! Cleans a text, splits it into chunks and turns the chunks into token ids. Reads no file except `tokenizer.json`, and starts
//! no threads.

pub mod blocks; // the headings, paragraphs, rows and pages of a text
pub mod chunk; // splits a clean text into Chunks
pub mod clean; // removes invisible characters from a text
mod joiner; // which zero-width joiners are spelling
pub mod line_ends; // joins the lines of a paragraph
pub(crate) mod snippet; // chooses the part of a text to show for a question
pub mod tokenize; // turns a text into an Encoding, its token ids
