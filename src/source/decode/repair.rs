//! Repairs texts with a few stray bytes, which would otherwise cost the whole document.

use encoding_rs::WINDOWS_1252;

/// A text may have one stray byte or invalid sequence per this many bytes, and one if it is shorter. A text with more is damaged,
/// or in another encoding.
const BYTES_PER_STRAY: usize = 1024;

/// Decodes UTF-8. Returns the text and the number of invalid sequences that were replaced; `None` if they are too many.
///
/// A single byte beside an ASCII letter becomes the letter that it is in windows-1252, because it usually was pasted from a text
/// in that encoding. Everything else becomes U+FFFD.
pub fn utf_8(bytes: &[u8]) -> Option<(String, usize)> {
    let mut text = String::with_capacity(bytes.len());
    let mut repaired = 0;
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        if chunk.invalid().is_empty() {
            continue;
        }
        repaired += 1;
        let after = chunks.peek().and_then(|next| next.valid().chars().next());
        let is_in_word = [text.chars().next_back(), after].iter().flatten().any(char::is_ascii_alphabetic);
        let letter = if is_in_word { windows_1252(chunk.invalid()) } else { None };
        text.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    is_stray(repaired, bytes.len()).then_some((text, repaired))
}

/// Removes zero bytes if they are few and the rest is UTF-8, as HTML requires. Returns the bytes and the number of removed ones.
pub fn without_zeros(mut bytes: Vec<u8>) -> (Vec<u8>, usize) {
    let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
    let is_utf_8 = || bytes.split(|&byte| byte == 0).all(|part| std::str::from_utf8(part).is_ok());
    if zeros == 0 || !is_stray(zeros, bytes.len()) || !is_utf_8() {
        return (bytes, 0);
    }
    bytes.retain(|&byte| byte != 0);
    (bytes, zeros)
}

fn is_stray(count: usize, bytes: usize) -> bool {
    count <= (bytes / BYTES_PER_STRAY).max(1)
}

fn windows_1252(bytes: &[u8]) -> Option<char> {
    let [_] = bytes else { return None };
    let c = WINDOWS_1252.decode_without_bom_handling(bytes).0.chars().next();
    c.filter(|c| c.is_alphabetic())
}
