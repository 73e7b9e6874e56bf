//! Single-byte encodings that are not in the WHATWG Encoding Standard.

/// A single-byte encoding whose lower half is ASCII.
#[derive(Debug, PartialEq, Eq)]
pub struct CodePage {
    /// The usual name.
    pub name: &'static str,
    /// The labels, in lower case and without `-`, `_` and `:`.
    pub labels: &'static [&'static str],
    /// The characters of the bytes from 0x80 to 0xFF. U+FFFD stands for a byte without a character.
    pub upper: &'static str,
}

impl CodePage {
    /// Returns the characters of all bytes; `None` for a byte without a character.
    pub fn characters(&self) -> [Option<char>; 256] {
        let mut characters = [None; 256];
        let all = ('\0'..='\x7F').chain(self.upper.chars());
        for (slot, c) in characters.iter_mut().zip(all) {
            *slot = (c != char::REPLACEMENT_CHARACTER).then_some(c);
        }
        characters
    }
}
