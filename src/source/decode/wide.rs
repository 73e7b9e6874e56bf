//! Recognizes UTF-16 and UTF-32 without a byte order mark.

use super::charset::Charset;

/// Number of bytes at the start that are looked at.
const START_BYTES: usize = 4096;

/// Minimum number of characters of a text that has few ASCII characters.
const CHARACTERS_MIN: usize = 8;

/// Recognizes UTF-16 and UTF-32 without a byte order mark. Binary data is not taken for text: nearly all characters must
/// belong to ASCII and one more script.
pub fn without_mark(bytes: &[u8]) -> Option<Charset> {
    let start = &bytes[..bytes.len().min(START_BYTES) & !3];
    let utf_32 = [Charset::UTF_32LE, Charset::UTF_32BE];
    if bytes.len().is_multiple_of(4)
        && let Some(found) = utf_32.into_iter().find(|charset| is_text(*charset, start))
    {
        return Some(found);
    }
    let start = &bytes[..bytes.len().min(START_BYTES) & !1];
    if let Some(found) = by_zeros(start) {
        return Some(found);
    }
    // ASCII is Chinese in UTF-16, if taken so. Without control characters, any bytes may be a text in a legacy encoding.
    let printable = start.iter().filter(|byte| matches!(byte, b' '..=b'~')).count();
    let has_controls = start.iter().any(|byte| matches!(byte, 0..=0x08 | 0x0E..=0x1F));
    if !has_controls || 10 * printable >= 9 * start.len() {
        return None;
    }
    let utf_16 = [Charset::UTF_16LE, Charset::UTF_16BE];
    let mut found = utf_16.into_iter().filter(|charset| is_text(*charset, start));
    found.next().filter(|_| found.next().is_none())
}

/// Recognizes UTF-16 by zero bytes. In UTF-16, every second byte of ASCII text is zero. Only half as many zero bytes are
/// required, because text in other encodings has no zero bytes.
fn by_zeros(start: &[u8]) -> Option<Charset> {
    let zeros = |at: usize| start.iter().skip(at).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match start.len() / 4 {
        0 => None,
        quarter if odd > quarter && even == 0 => Some(Charset::UTF_16LE),
        quarter if even > quarter && odd == 0 => Some(Charset::UTF_16BE),
        _ => None,
    }
}

fn is_text(charset: Charset, start: &[u8]) -> bool {
    // The start may end within a surrogate pair.
    let cut = &start[..start.len().saturating_sub(2)];
    let Some(text) = charset.decode(start).or_else(|| charset.decode(cut)) else { return false };
    let mut counts = [0; 8];
    for c in text.chars() {
        match script(c) {
            Some(script) => counts[script] += 1,
            None => return false,
        }
    }
    let [ascii, shared, scripts @ ..] = counts;
    let most = scripts.into_iter().max().unwrap_or_default();
    let all = ascii + shared + scripts.into_iter().sum::<usize>();
    // Nine of ten characters.
    all >= CHARACTERS_MIN && 10 * (ascii + shared + most) >= 9 * all && 2 * shared <= all
}

/// Returns a number for the script of a character: 0 for ASCII and 1 for signs that many scripts share. Returns `None` for
/// control characters and for characters that are rare in every text.
fn script(c: char) -> Option<usize> {
    match c {
        '\t' | '\n' | '\r' | '\x0C' | ' '..='~' => Some(0),
        '\u{A0}'..='\u{BF}' | '\u{2010}'..='\u{206F}' | '\u{20A0}'..='\u{214F}' | '\u{FEFF}' => Some(1),
        '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => Some(2),
        '\u{370}'..='\u{3FF}' => Some(3),
        '\u{400}'..='\u{52F}' => Some(4),
        '\u{590}'..='\u{6FF}' => Some(5),
        '\u{900}'..='\u{DFF}' | '\u{E00}'..='\u{E7F}' => Some(6),
        '\u{2E80}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{FF00}'..='\u{FFEF}'
        | '\u{20000}'..='\u{2FFFF}' => Some(7),
        _ => None,
    }
}
