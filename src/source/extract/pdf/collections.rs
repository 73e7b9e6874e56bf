//! Finds the characters for the glyphs of composite fonts without a `/ToUnicode` table.
//!
//! An East Asian font names one of Adobe's character collections. The tables of the collection map the codes of the font to
//! characters. Some programs write `/ToUnicode /Identity-H`, a name instead of a table: the codes of the font are UTF-16.

use std::cell::OnceCell;
use std::collections::HashMap;

use hayro_interpret::font::Glyph;
use hayro_interpret::hayro_cmap::{BfString, CMap, CMapName, CidFamily, load_embedded};
use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::hayro_syntax::object::{Array, Dict, Name, Object, Stream, String as PdfString};

/// The character collections of the fonts of one file.
pub struct Fonts<'a> {
    file: &'a Pdf,
    /// The meaning of the codes of each font, keyed by the name of the font without the subset tag. The map is filled only when
    /// it is first needed, because every object of the file must be read to fill the map.
    by_name: OnceCell<HashMap<String, Codes>>,
}

/// The meaning of the codes of one font. A file has few fonts, so the size of this type does not matter.
#[allow(clippy::large_enum_variant)]
enum Codes {
    /// The codes are UTF-16 code units.
    Utf16,
    Collection {
        /// Maps codes to character identifiers.
        encoding: CMap,
        /// Maps character identifiers to Unicode.
        unicode: CMap,
    },
}

impl<'a> Fonts<'a> {
    pub fn new(file: &'a Pdf) -> Self {
        Self { file, by_name: OnceCell::new() }
    }

    /// Returns the characters that the font assigns to a glyph.
    pub fn unicode(&self, glyph: &Glyph<'_>) -> Option<String> {
        let Glyph::Outline(outline) = glyph else {
            return None;
        };
        let name = outline.font_data()?.postscript_name?;
        let by_name = self.by_name.get_or_init(|| find_fonts(self.file));
        by_name.get(&name)?.unicode(glyph.char_code())
    }
}

impl Codes {
    /// Returns the meaning of the codes of a font. Returns `None` if the font does not define it.
    fn of(font: &Dict<'_>) -> Option<Self> {
        let descendant = font.get::<Array<'_>>(b"DescendantFonts".as_slice())?.iter::<Dict<'_>>().next()?;
        if let Some(name) = font.get::<Name<'_>>(b"ToUnicode".as_slice())
            && matches!(CMapName::from_bytes(name.as_ref()), CMapName::IdentityH | CMapName::IdentityV)
        {
            // The codes of an embedded font without a map to glyphs are numbers of glyphs, whatever the name says.
            let has_glyph_codes = is_embedded(&descendant) && !maps_to_glyphs(&descendant);
            return (!has_glyph_codes).then_some(Codes::Utf16);
        }
        let system = descendant.get::<Dict<'_>>(b"CIDSystemInfo".as_slice())?;
        let registry = system.get::<PdfString<'_>>(b"Registry".as_slice())?;
        let ordering = system.get::<PdfString<'_>>(b"Ordering".as_slice())?;
        let family = CidFamily::from_registry_ordering(registry.as_bytes(), ordering.as_bytes());
        let unicode = CMap::parse(load_embedded(family.ucs2_cmap()?)?, load_embedded)?;
        Some(Codes::Collection { encoding: encoding(font)?, unicode })
    }

    fn unicode(&self, code: u32) -> Option<String> {
        match self {
            Codes::Utf16 => char::from_u32(code).filter(|c| !c.is_control()).map(String::from),
            Codes::Collection { encoding, unicode } => {
                // The length of the code is not known here. Most codes have two bytes, so this length is tried first.
                let cid = [2, 1, 3, 4].iter().find_map(|len| encoding.lookup_cid_code(code, *len))?;
                match unicode.lookup_bf_string(cid)? {
                    BfString::Char(character) => Some(character.to_string()),
                    BfString::String(text) => Some(text),
                }
            }
        }
    }
}

fn is_embedded(font: &Dict<'_>) -> bool {
    font.get::<Dict<'_>>(b"FontDescriptor".as_slice())
        .is_some_and(|descriptor| [b"FontFile2", b"FontFile3"].iter().any(|key| descriptor.contains_key(key)))
}

/// Returns whether a table of the font maps its codes to the numbers of glyphs.
fn maps_to_glyphs(font: &Dict<'_>) -> bool {
    font.get::<Stream<'_>>(b"CIDToGIDMap".as_slice()).is_some()
}

/// Returns the table that maps codes to character identifiers. The table is embedded in the font or is one of the predefined
/// tables.
fn encoding(font: &Dict<'_>) -> Option<CMap> {
    if let Some(stream) = font.get::<Stream<'_>>(b"Encoding".as_slice()) {
        return CMap::parse(&stream.decoded_data().ok()?, load_embedded);
    }
    let name = font.get::<Name<'_>>(b"Encoding".as_slice())?;
    match CMapName::from_bytes(name.as_ref()) {
        CMapName::IdentityH => Some(CMap::identity_h()),
        CMapName::IdentityV => Some(CMap::identity_v()),
        known => CMap::parse(load_embedded(known)?, load_embedded),
    }
}

/// Returns the composite fonts with codes of a known meaning and without a `/ToUnicode` table.
fn find_fonts(file: &Pdf) -> HashMap<String, Codes> {
    let mut found = HashMap::new();
    for object in file.objects() {
        let Object::Dict(font) = object else { continue };
        let is_composite =
            font.get::<Name<'_>>(b"Subtype".as_slice()).is_some_and(|subtype| subtype.as_ref() == b"Type0");
        if !is_composite || font.get::<Stream<'_>>(b"ToUnicode".as_slice()).is_some() {
            continue;
        }
        let Some(name) = font.get::<Name<'_>>(b"BaseFont".as_slice()) else {
            continue;
        };
        if let Some(codes) = Codes::of(&font) {
            found.insert(without_tag(name.as_str()).to_owned(), codes);
        }
    }
    found
}

/// Returns a font name without the subset tag (`ABCDEF+`).
fn without_tag(name: &str) -> &str {
    match name.split_once('+') {
        Some((tag, rest)) if tag.len() == 6 => rest,
        _ => name,
    }
}
