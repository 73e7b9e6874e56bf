//! Makes small files of every format.

use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use zip::write::{SimpleFileOptions, ZipWriter};

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses with a checksum at the end, as the `zstd` command does.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub fn utf16be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Makes a ZIP archive of named files.
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Makes an Office package of relationships and of the main part that they name.
pub fn package(main: &str, content: &[u8]) -> Vec<u8> {
    zip(&[("_rels/.rels", relationships(main).as_bytes()), (main, content)])
}

pub fn relationships(main: &str) -> String {
    const TYPE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument";
    format!(
        "<?xml version=\"1.0\"?><Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
         <Relationship Id=\"r1\" Type=\"{TYPE}\" Target=\"{main}\"/></Relationships>"
    )
}

/// Returns the main part of a DOCX file with one paragraph. The text is not escaped.
pub fn document_xml(text: &str) -> String {
    const NAMESPACE: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
    format!(
        "<w:document xmlns:w=\"{NAMESPACE}\"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>"
    )
}

pub fn docx(text: &str) -> Vec<u8> {
    package("word/document.xml", document_xml(text).as_bytes())
}

/// Makes a PPTX file. `slides` are the elements in the shape tree of each slide, `more` other parts.
pub fn presentation(slides: &[&str], more: &[(&str, &str)]) -> Vec<u8> {
    const MAIN: &str = "ppt/presentation.xml";
    let number = |name: &str, at: usize| name.replace('#', &(at + 1).to_string());
    let all = |name: &str| (0..slides.len()).map(|at| number(name, at)).collect::<String>();
    let ids = all("<p:sldId id=\"25#\" r:id=\"r#\"/>");
    let main = format!(
        "<p:presentation xmlns:p=\"p\" xmlns:r=\"r\"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"
    );
    let references = all("<Relationship Id=\"r#\" Type=\"x/slide\" Target=\"slides/slide#.xml\"/>");
    let mut parts = vec![
        ("_rels/.rels".to_owned(), relationships(MAIN)),
        (MAIN.to_owned(), main),
        (
            "ppt/_rels/presentation.xml.rels".to_owned(),
            format!("<Relationships>{references}</Relationships>"),
        ),
    ];
    for (at, slide) in slides.iter().enumerate() {
        let show = if slide.starts_with("<!--hidden-->") { "show=\"0\"" } else { "" };
        let xml = format!(
            "<p:sld xmlns:p=\"p\" xmlns:a=\"a\" xmlns:r=\"r\" {show}><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"
        );
        parts.push((number("ppt/slides/slide#.xml", at), xml));
    }
    parts.extend(more.iter().map(|(name, xml)| ((*name).to_owned(), (*xml).to_owned())));
    let parts: Vec<_> = parts.iter().map(|(name, xml)| (name.as_str(), xml.as_bytes())).collect();
    zip(&parts)
}

/// Makes a PPTX file of one slide with one paragraph. The text is not escaped.
pub fn pptx(text: &str) -> Vec<u8> {
    presentation(
        &[&format!("<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>")],
        &[],
    )
}

/// Returns an OpenDocument of one XML file. `body` is the content of `office:body`.
pub fn open_document(body: &str) -> String {
    format!(
        "<office:document xmlns:office=\"o\" xmlns:text=\"t\" xmlns:table=\"b\" xmlns:draw=\"d\" xmlns:svg=\"s\" \
         xmlns:style=\"y\" xmlns:presentation=\"p\" xmlns:fo=\"f\" xmlns:dc=\"c\" xmlns:meta=\"m\">{body}</office:document>"
    )
}

/// Makes an OpenDocument package with this content.
pub fn odf(content: &str) -> Vec<u8> {
    zip(&[("content.xml", content.as_bytes())])
}

/// Makes an ODT file with one paragraph. The text is not escaped.
pub fn odt(text: &str) -> Vec<u8> {
    odf(&open_document(&format!(
        "<office:body><office:text><text:p>{text}</text:p></office:text></office:body>"
    )))
}

/// Makes an ODP file of one slide with one paragraph. The text is not escaped.
pub fn odp(text: &str) -> Vec<u8> {
    odf(&open_document(&format!(
        "<office:body><office:presentation><draw:page><draw:frame><draw:text-box><text:p>{text}</text:p></draw:text-box>\
         </draw:frame></draw:page></office:presentation></office:body>"
    )))
}

/// Makes an EPUB file. `chapters` are the bodies of its pages, `manifest` other items of its manifest, `more` other parts.
pub fn book(chapters: &[&str], manifest: &str, more: &[(&str, &str)]) -> Vec<u8> {
    const HTML: &str = "<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>The book</title></head>";
    let number = |name: &str, at: usize| name.replace('#', &(at + 1).to_string());
    let all = |name: &str| (0..chapters.len()).map(|at| number(name, at)).collect::<String>();
    let items = all("<item id=\"c#\" href=\"text/chapter%20#.xhtml\" media-type=\"application/xhtml+xml\"/>");
    let container = "<container><rootfiles><rootfile full-path=\"OEBPS/book.opf\"/></rootfiles></container>";
    let opf = format!(
        "<package xmlns:dc=\"c\"><metadata><dc:title>The book</dc:title><dc:creator>Ines</dc:creator>\
         <dc:subject>birds</dc:subject><dc:subject>sea</dc:subject></metadata><manifest>{items}{manifest}</manifest>\
         <spine>{}<itemref idref=\"nav\"/></spine><guide><reference type=\"toc\" href=\"text/chapter%201.xhtml\"/></guide></package>",
        all("<itemref idref=\"c#\"/>")
    );
    let mut parts = vec![
        ("mimetype".to_owned(), "application/epub+zip".to_owned()),
        ("META-INF/container.xml".to_owned(), container.to_owned()),
        ("OEBPS/book.opf".to_owned(), opf),
    ];
    for (at, chapter) in chapters.iter().enumerate() {
        let page = format!("{HTML}<body>{chapter}</body></html>");
        parts.push((number("OEBPS/text/chapter #.xhtml", at), page));
    }
    parts.extend(more.iter().map(|(name, xml)| ((*name).to_owned(), (*xml).to_owned())));
    let parts: Vec<_> = parts.iter().map(|(name, xml)| (name.as_str(), xml.as_bytes())).collect();
    zip(&parts)
}

/// Makes an EPUB file of one page with one paragraph. The text is not escaped.
pub fn epub(text: &str) -> Vec<u8> {
    book(&[&format!("<p>{text}</p>")], "", &[])
}

/// Makes a PDF of one page with this content stream. `/F` is Helvetica; `trailer` adds entries to the trailer.
pub fn pdf_page(content: &str, trailer: &str) -> Vec<u8> {
    let page =
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>";
    pdf_objects(
        &[
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            page,
            &format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ],
        trailer,
    )
}

/// Makes a PDF with one line of text, which may not contain brackets.
pub fn pdf(text: &str) -> Vec<u8> {
    pdf_page(&format!("BT /F 10 Tf 9 200 Td ({text}) Tj ET"), "")
}

/// Makes a PDF of objects, numbered from 1. The first is the catalog.
pub fn pdf_objects(objects: &[&str], trailer: &str) -> Vec<u8> {
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (at, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", at + 1);
    }
    let (start, size) = (file.len(), objects.len() + 1);
    file += &format!("{table}trailer\n<</Root 1 0 R/Size {size}{trailer}>>\nstartxref\n{start}\n%%EOF\n");
    file.into_bytes()
}

/// Makes a Parquet file of these columns.
pub fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Returns a workbook of Excel. Each sheet has a name, the attributes of its entry in the workbook, and the XML of its rows.
pub fn xlsx(sheets: &[(&str, &str, &str)]) -> Vec<u8> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const RELATION: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let formats = ["#,##0.00\\ \"€\"", "0.0%", "d/m/yyyy", "h:mm"];
    let numbers: String = (0..)
        .zip(formats)
        .map(|(n, code)| {
            format!("<numFmt numFmtId=\"{}\" formatCode=\"{}\"/>", 164 + n, code.replace('"', "&quot;"))
        })
        .collect();
    let cells: String = (0..formats.len())
        .map(|n| format!("<xf numFmtId=\"{}\" applyNumberFormat=\"1\"/>", 164 + n))
        .collect();
    let styles = format!(
        "<styleSheet xmlns=\"{MAIN}\"><numFmts>{numbers}</numFmts><cellXfs><xf numFmtId=\"0\"/>{cells}</cellXfs></styleSheet>"
    );
    let (mut entries, mut relations, mut parts) = (String::new(), String::new(), Vec::new());
    for (n, (name, attributes, rows)) in (1..).zip(sheets) {
        entries += &format!("<sheet name=\"{name}\" sheetId=\"{n}\" {attributes} r:id=\"s{n}\"/>");
        relations += &format!(
            "<Relationship Id=\"s{n}\" Type=\"{RELATION}/worksheet\" Target=\"worksheets/sheet{n}.xml\"/>"
        );
        parts.push((
            format!("xl/worksheets/sheet{n}.xml"),
            format!("<worksheet xmlns=\"{MAIN}\"><sheetData>{rows}</sheetData></worksheet>"),
        ));
    }
    relations += &format!("<Relationship Id=\"t\" Type=\"{RELATION}/styles\" Target=\"styles.xml\"/>");
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    parts.push((
        "xl/workbook.xml".into(),
        format!("<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATION}\"><sheets>{entries}</sheets></workbook>"),
    ));
    parts.push((
        "xl/_rels/workbook.xml.rels".into(),
        format!("<Relationships xmlns=\"{package}\">{relations}</Relationships>"),
    ));
    parts.push(("xl/styles.xml".into(), styles));
    parts.push(("_rels/.rels".into(), format!("<Relationships xmlns=\"{package}\"><Relationship Id=\"w\" Type=\"{RELATION}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>")));
    let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, xml)| (name.as_str(), xml.as_bytes())).collect();
    zip(&parts)
}

/// Returns a workbook of OpenDocument. `tables` is the XML of its sheets.
pub fn ods(tables: &str) -> Vec<u8> {
    let content = format!(
        "<office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\" xmlns:style=\"s\" xmlns:calcext=\"c\"><office:automatic-styles>\
         <style:style style:name=\"gone\" style:family=\"table\"><style:table-properties table:display=\"false\"/></style:style></office:automatic-styles>\
         <office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    );
    zip(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_bytes()),
        ("META-INF/manifest.xml", b"<manifest/>"),
        ("meta.xml", b"<office:meta><dc:title>A &amp; B</dc:title><meta:initial-creator>Ana</meta:initial-creator></office:meta>"),
    ])
}

/// Returns an OLE file (MS-CFB) with one stream of at most 4,096 bytes. Old versions of Office write such files, and newer ones
/// for documents with a password.
pub fn ole_file(name: &str, content: &[u8]) -> Vec<u8> {
    const SECTOR: usize = 512;
    const STREAM_SECTORS: u32 = 8;
    const END: u32 = 0xFFFF_FFFE;
    let mut header = vec![0; SECTOR];
    header[..8].copy_from_slice(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1");
    let mut put = |at: usize, value: u32, bytes: usize| {
        header[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes])
    };
    for (at, value) in [(24, 0x3E), (26, 3), (28, 0xFFFE), (30, 9), (32, 6)] {
        put(at, value, 2);
    }
    // One sector of the table of sectors, which is the first; the folder is the second, and the stream follows.
    for (at, value) in [(44, 1), (48, 1), (56, 4096), (60, END), (64, 0), (68, END), (72, 0), (76, 0)] {
        put(at, value, 4);
    }
    (80..SECTOR).step_by(4).for_each(|at| put(at, u32::MAX, 4));
    let mut table = vec![u32::MAX; SECTOR / 4];
    (table[0], table[1]) = (0xFFFF_FFFD, END);
    for sector in 0..STREAM_SECTORS {
        table[2 + sector as usize] = if sector + 1 == STREAM_SECTORS { END } else { 3 + sector };
    }
    let entry = |name: &str, kind: u8, child: u32, start: u32, bytes: u64| {
        let mut entry = vec![0; 128];
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[..units.len()].copy_from_slice(&units);
        entry[64] = if name.is_empty() { 0 } else { units.len() as u8 + 2 };
        (entry[66], entry[67]) = (kind, 1);
        (68..76).for_each(|at| entry[at] = 0xFF);
        entry[76..80].copy_from_slice(&child.to_le_bytes());
        entry[116..120].copy_from_slice(&start.to_le_bytes());
        entry[120..128].copy_from_slice(&bytes.to_le_bytes());
        entry
    };
    let mut stream = content.to_vec();
    stream.resize(SECTOR * STREAM_SECTORS as usize, 0);
    let none = u32::MAX;
    let folder = [
        entry("Root Entry", 5, 1, END, 0),
        entry(name, 2, none, 2, 4096),
        entry("", 0, none, 0, 0),
        entry("", 0, none, 0, 0),
    ];
    let table: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
    [header, table, folder.concat(), stream].concat()
}
