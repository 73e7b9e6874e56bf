//! Characters of fonts that show symbols in place of letters. Pure.

/// The characters of the font Symbol from code 0x21 and from code 0xA0 on, as the Unicode Consortium maps them
/// (<https://www.unicode.org/Public/MAPPINGS/VENDORS/ADOBE/symbol.txt>). A space stands for a code without a character.
const SYMBOL: [(u32, &str); 2] = [
    (0x21, "!∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_ αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"),
    (0xA0, "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈… ―↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑           〉∫"),
];

/// Codes and characters of the font Wingdings that documents use: boxes, ticks, arrows and bullets.
#[rustfmt::skip]
const WINGDINGS: [(u32, char); 38] = [
    (0x22, '✂'), (0x28, '☎'), (0x2A, '✉'), (0x36, '⌛'), (0x45, '☜'), (0x46, '☞'), (0x4A, '☺'), (0x4C, '☹'),
    (0x6C, '●'), (0x6E, '■'), (0x6F, '□'), (0x71, '❑'), (0x72, '❒'), (0x75, '◆'), (0x76, '❖'), (0x78, '☒'),
    (0x9F, '•'), (0xA1, '○'), (0xA7, '▪'), (0xA8, '☐'), (0xD8, '➢'), (0xDF, '←'), (0xE0, '→'), (0xE1, '↑'),
    (0xE2, '↓'), (0xE7, '←'), (0xE8, '→'), (0xE9, '↑'), (0xEA, '↓'), (0xEF, '⇦'), (0xF0, '⇨'), (0xF3, '⬄'),
    (0xFB, '✗'), (0xFC, '✓'), (0xFD, '☒'), (0xFE, '☑'), (0x70, '□'), (0xFF, '⊞'),
];

/// Codes and characters of the font Wingdings 2.
const WINGDINGS_2: [(u32, char); 6] =
    [(0x4F, '✗'), (0x50, '✓'), (0x51, '☒'), (0x52, '☑'), (0x53, '☒'), (0xA3, '☐')];

/// Returns the character that a code shows in a font. Returns `None` if a font of symbols has no known character for the
/// code.
pub fn character(font: &str, code: u32) -> Option<char> {
    // Office moves the codes of these fonts to the private use area.
    let is_private = (0xF000..=0xF0FF).contains(&code);
    let own = if is_private { code - 0xF000 } else { code };
    let found = |of: &[(u32, char)]| of.iter().find(|(code, _)| *code == own).map(|(_, shown)| *shown);
    match font {
        "Symbol" => {
            let shown = |(first, characters): &(u32, &str)| {
                characters.chars().nth(usize::try_from(own.checked_sub(*first)?).ok()?)
            };
            SYMBOL.iter().rev().find(|(first, _)| own >= *first).and_then(shown).filter(|shown| *shown != ' ')
        }
        "Wingdings" => found(&WINGDINGS),
        "Wingdings 2" => found(&WINGDINGS_2),
        _ if is_private => None,
        _ => char::from_u32(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_characters() {
        let text = |font: &str, codes: &[u32]| -> String {
            codes.iter().map(|&code| character(font, code).unwrap_or('?')).collect()
        };
        assert_eq!(
            text("Symbol", &[0xF061, 0x7A, 0xF044, 0xA3, 0xB0, 0xB7, 0xDE, 0xE5, 0xF2, 0xFE, 0x60, 0x20]),
            "αζΔ≤°•⇒∑∫???"
        );
        assert_eq!(text("Wingdings", &[0xF0FE, 0xA8, 0xF021]), "☑☐?");
        assert_eq!(text("Wingdings 2", &[0xF052]), "☑");
        assert_eq!(text("Arial", &[0xE9, 0xF0E9, 0xD800, u32::MAX]), "é???");
    }
}
