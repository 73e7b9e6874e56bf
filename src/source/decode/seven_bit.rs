//! Encodings of e-mail that write Chinese and Korean in 7-bit bytes. Each is an 8-bit encoding without the highest bits, and
//! says by a sequence of ASCII characters where text in it begins and ends.

use encoding_rs::{EUC_KR, Encoding, GBK};

/// A 7-bit encoding. ISO-2022-JP is not among them, because it is in the WHATWG Encoding Standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SevenBit {
    /// RFC 1557.
    Iso2022Kr,
    /// RFC 1922, without the characters of CNS 11643.
    Iso2022Cn,
    /// RFC 1843.
    Hz,
}

/// Bytes that announce which characters follow the byte SO.
const KOREAN: &[u8] = b"\x1b$)C";
const CHINESE: &[u8] = b"\x1b$)A";
/// The start of every such announcement.
const ANNOUNCEMENT: &[u8] = b"\x1b$";
const SO: u8 = 0x0E;
const SI: u8 = 0x0F;
/// A byte that neither EUC-KR nor GBK has.
const INVALID: u8 = 0xFF;

impl SevenBit {
    /// Returns the name, for messages and counts.
    pub fn name(self) -> &'static str {
        match self {
            SevenBit::Iso2022Kr => "ISO-2022-KR",
            SevenBit::Iso2022Cn => "ISO-2022-CN",
            SevenBit::Hz => "HZ-GB-2312",
        }
    }

    /// Returns the encoding that has the same characters with the highest bits.
    pub fn eight_bit(self) -> &'static Encoding {
        if self == SevenBit::Iso2022Kr { EUC_KR } else { GBK }
    }

    /// Returns a function that converts blocks of bytes to the 8-bit encoding.
    pub fn converter(self) -> impl FnMut(&mut Vec<u8>, bool) -> Vec<u8> + Send {
        let mut is_wide = false;
        move |bytes, is_end| {
            let mut converted = Vec::with_capacity(bytes.len());
            let mut at = 0;
            while let Some((&byte, rest)) = bytes[at..].split_first() {
                // A sequence of four bytes may be cut off at the end of a block.
                if [0x1B, b'~'].contains(&byte) && rest.len() < 3 && !is_end {
                    break;
                }
                let sequence = match self {
                    SevenBit::Hz => hz(&bytes[at..], is_wide),
                    SevenBit::Iso2022Kr => iso_2022(&bytes[at..], is_wide, KOREAN),
                    SevenBit::Iso2022Cn => iso_2022(&bytes[at..], is_wide, CHINESE),
                };
                converted.extend(sequence.byte);
                is_wide = sequence.is_wide;
                at += sequence.length;
            }
            bytes.drain(..at);
            converted
        }
    }
}

/// What the bytes at a place mean.
struct Sequence {
    /// The byte of the 8-bit encoding, if they mean one.
    byte: Option<u8>,
    /// Whether text in Chinese or Korean follows.
    is_wide: bool,
    /// How many bytes they are.
    length: usize,
}

fn iso_2022(bytes: &[u8], is_wide: bool, announcement: &[u8]) -> Sequence {
    match bytes {
        [SO, ..] => Sequence { byte: None, is_wide: true, length: 1 },
        [SI, ..] => Sequence { byte: None, is_wide: false, length: 1 },
        _ if bytes.starts_with(announcement) => Sequence { byte: None, is_wide, length: announcement.len() },
        _ if bytes.starts_with(ANNOUNCEMENT) => Sequence { byte: Some(INVALID), is_wide, length: 1 },
        _ => character(bytes, is_wide),
    }
}

fn hz(bytes: &[u8], is_wide: bool) -> Sequence {
    match bytes {
        b"~" => Sequence { byte: Some(INVALID), is_wide, length: 1 },
        [b'~', next, ..] => {
            let byte = match (next, is_wide) {
                (b'{', false) | (b'}', true) | (b'\n', false) => None,
                (b'~', false) => Some(b'~'),
                _ => Some(INVALID),
            };
            Sequence { byte, is_wide: *next == b'{' || is_wide && *next != b'}', length: 2 }
        }
        // Text in Chinese ends before the line does.
        [b' ' | b'\n', ..] if is_wide => Sequence { byte: Some(INVALID), is_wide, length: 1 },
        _ => character(bytes, is_wide),
    }
}

fn character(bytes: &[u8], is_wide: bool) -> Sequence {
    let high = |byte: u8| if is_wide && byte > b' ' { byte | 0x80 } else { byte };
    Sequence { byte: bytes.first().copied().map(high), is_wide, length: 1 }
}
