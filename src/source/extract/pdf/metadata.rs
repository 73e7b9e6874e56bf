//! Reads what a PDF file says about itself: the document information dictionary, and XMP metadata for what the dictionary lacks.

use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::hayro_syntax::object::{DateTime, Dict, Stream, String as PdfString};
use roxmltree::{Document, Node};

use super::strings::text_string;
use crate::source::fields::Record;

/// Namespaces of XMP (ISO 16684-1, 8): Dublin Core, the basic properties, and those of PDF.
const DUBLIN_CORE: &str = "http://purl.org/dc/elements/1.1/";
const BASIC: &str = "http://ns.adobe.com/xap/1.0/";
const PDF: &str = "http://ns.adobe.com/pdf/1.3/";

/// Returns the title, author, subject, keywords, date and language of a file. A field that the file does not give is missing.
pub fn fields(file: &Pdf) -> Record {
    let metadata = file.metadata();
    let catalog = file.xref().get::<Dict<'_>>(file.xref().root_id());
    let xmp = catalog.as_ref().and_then(xmp).unwrap_or_default();
    let xmp = Document::parse(&xmp).ok();
    let xmp = |namespace, name| property(xmp.as_ref()?.root(), namespace, name);
    let text =
        |bytes: &Option<Box<[u8]>>| text_string(bytes.as_ref()?).filter(|text| !text.trim().is_empty());
    let language = catalog
        .as_ref()
        .and_then(|catalog| catalog.get::<PdfString<'_>>(b"Lang".as_slice()))
        .and_then(|language| text_string(language.as_bytes()));
    let found = [
        ("title", text(&metadata.title).or_else(|| xmp(DUBLIN_CORE, "title"))),
        ("author", text(&metadata.author).or_else(|| xmp(DUBLIN_CORE, "creator"))),
        ("subject", text(&metadata.subject).or_else(|| xmp(DUBLIN_CORE, "description"))),
        (
            "keywords",
            text(&metadata.keywords).or_else(|| xmp(PDF, "Keywords")).or_else(|| xmp(DUBLIN_CORE, "subject")),
        ),
        ("date", metadata.creation_date.map(iso).or_else(|| xmp(BASIC, "CreateDate"))),
        ("language", language.or_else(|| xmp(DUBLIN_CORE, "language"))),
    ];
    let named = found.into_iter().filter_map(|(name, value)| Some((name, value?.trim().to_owned())));
    named
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

fn xmp(catalog: &Dict<'_>) -> Option<String> {
    let packet = catalog.get::<Stream<'_>>(b"Metadata".as_slice())?.decoded_data().ok()?;
    text_string(&packet)
        .filter(|_| packet.starts_with(b"\xFE\xFF"))
        .or_else(|| String::from_utf8(packet.into()).ok())
}

/// Returns the value of a property of XMP: an attribute, an element with text, or the items of a list.
fn property(root: Node<'_, '_>, namespace: &str, name: &str) -> Option<String> {
    let attribute = || root.descendants().find_map(|node| node.attribute((namespace, name)));
    let Some(element) = root.descendants().find(|node| node.has_tag_name((namespace, name))) else {
        return attribute().map(str::to_owned);
    };
    let items = element.descendants().filter(|node| node.tag_name().name() == "li");
    let texts = items.filter_map(|item| item.text()).map(str::trim);
    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    // Titles and descriptions are lists of the same text in several languages.
    let is_one = element.descendants().any(|node| node.tag_name().name() == "Alt");
    match &texts[..] {
        [] => element.text().map(str::to_owned),
        [first, ..] if is_one => Some((*first).to_owned()),
        texts => Some(texts.join(", ")),
    }
}

/// Returns a date in ISO 8601.
fn iso(date: DateTime) -> String {
    let DateTime { year, month, day, hour, minute, second, utc_offset_hour, utc_offset_minute } = date;
    let zone = match (utc_offset_hour, utc_offset_minute) {
        (0, 0) => "Z".to_owned(),
        (hours, minutes) => format!("{hours:+03}:{minutes:02}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_attributes_elements_and_lists() {
        let packet = r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
            <rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
                xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmp:CreateDate="2024-05-06T07:08:09+02:00">
              <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Frost</rdf:li><rdf:li xml:lang="de">Reif</rdf:li></rdf:Alt></dc:title>
              <dc:creator><rdf:Seq><rdf:li>Ada</rdf:li><rdf:li>Bo</rdf:li></rdf:Seq></dc:creator>
              <pdf:Keywords>cold</pdf:Keywords>
            </rdf:Description></rdf:RDF></x:xmpmeta>"#;
        let packet = Document::parse(packet).unwrap();
        let property = |namespace, name| property(packet.root(), namespace, name);
        assert_eq!(property(DUBLIN_CORE, "title").as_deref(), Some("Frost"));
        assert_eq!(property(DUBLIN_CORE, "creator").as_deref(), Some("Ada, Bo"));
        assert_eq!(property(PDF, "Keywords").as_deref(), Some("cold"));
        assert_eq!(property(BASIC, "CreateDate").as_deref(), Some("2024-05-06T07:08:09+02:00"));
        assert_eq!(property(DUBLIN_CORE, "subject"), None);
    }

    #[test]
    fn dates_have_their_zone() {
        let date = |utc_offset_hour, utc_offset_minute| {
            let (year, month, day, hour, minute, second) = (2024, 5, 6, 7, 8, 9);
            iso(DateTime { year, month, day, hour, minute, second, utc_offset_hour, utc_offset_minute })
        };
        assert_eq!(date(0, 0), "2024-05-06T07:08:09Z");
        assert_eq!(date(-3, 30), "2024-05-06T07:08:09-03:30");
    }
}
