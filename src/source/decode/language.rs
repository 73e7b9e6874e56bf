//! Languages, as the letters that they are written with.

/// A language and how rare its letters are.
#[derive(Debug)]
pub struct Language {
    /// The code of the language (ISO 639-3).
    pub code: &'static str,
    /// The script that the language is written in.
    pub script: Script,
    /// The small letters with their costs, in hundredths of a nat: 100 times the negative natural logarithm of the share that the
    /// letter has of all letters.
    pub letters: &'static [(char, usize)],
}

/// The scripts that have single-byte encodings. Vietnamese has encodings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Every language with the Latin alphabet but Vietnamese.
    Latin,
    Vietnamese,
    Cyrillic,
    Greek,
    Hebrew,
    Arabic,
    Thai,
}
