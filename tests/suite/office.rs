//! Office documents: what a person reads in Word, PowerPoint, OpenDocument and EPUB files.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use qwen3_index::source::{Filter, Found, Roots};
use zip::ZipArchive;

use crate::make::{book, epub, odf, odp, odt, open_document, presentation, relationships, zip};
use crate::pipeline::reading;
use crate::util::{Playground, ids_and_texts};

/// Returns the text of each file, which all must be readable.
fn texts(files: &[(&str, Vec<u8>)]) -> HashMap<String, String> {
    let playground = Playground::new();
    files.iter().for_each(|(name, bytes)| playground.write(&format!("docs/{name}"), bytes));
    playground.build("docs", &[]).into_iter().map(|row| (row.id, row.text)).collect()
}

/// Returns the blocks of a file as JSON.
fn blocks(playground: &Playground, name: &str) -> String {
    let reading = reading();
    let roots =
        Roots::new(&[playground.path(name)], Filter::new(&[], &[], false, false).unwrap(), false).unwrap();
    let Some(Found::Raw(raw)) = roots.documents(&reading).next() else { panic!("nothing is found") };
    let content = raw.read(&reading).unwrap().content.clean();
    serde_json::to_value(&content).unwrap()["blocks"].to_string()
}

fn text(name: &str, bytes: Vec<u8>) -> String {
    texts(&[(name, bytes)]).remove(name).unwrap()
}

/// Makes a DOCX file of paragraphs and other parts. `relations` are the kind and the target of each reference, with the ids
/// `r1`, `r2` and so on.
fn word(body: &str, relations: &[(&str, &str)], parts: &[(&str, &str)]) -> Vec<u8> {
    const MAIN: &str = "word/document.xml";
    const NAMES: &str = "xmlns:w=\"w\" xmlns:r=\"r\" xmlns:a=\"a\" xmlns:wp=\"wp\" xmlns:pic=\"pic\" xmlns:dgm=\"dgm\" xmlns:c=\"c\" \
                         xmlns:v=\"urn:schemas-microsoft-com:vml\" xmlns:wps=\"wps\"";
    let document = format!("<w:document {NAMES}><w:body>{body}</w:body></w:document>");
    let references: String = relations
        .iter()
        .zip(1..)
        .map(|((kind, target), n)| {
            format!("<Relationship Id=\"r{n}\" Type=\"x/{kind}\" Target=\"{target}\"/>")
        })
        .collect();
    let references = format!("<Relationships>{references}</Relationships>");
    let parts: Vec<(&str, String)> =
        parts.iter().map(|(name, xml)| (*name, xml.replacen('>', &format!(" {NAMES}>"), 1))).collect();
    let package = relationships(MAIN);
    let mut files: Vec<(&str, &[u8])> = vec![
        ("_rels/.rels", package.as_bytes()),
        (MAIN, document.as_bytes()),
        ("word/_rels/document.xml.rels", references.as_bytes()),
    ];
    files.extend(parts.iter().map(|(name, xml)| (*name, xml.as_bytes())));
    zip(&files)
}

fn paragraph(properties: &str, words: &str) -> String {
    format!("<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{words}</w:t></w:r></w:p>")
}

#[test]
fn the_first_row_of_a_word_table_is_its_header_if_it_is_formatted_as_one() {
    let playground = Playground::new();
    let cell = |words: &str| format!("<w:tc>{}</w:tc>", paragraph("", words));
    for (look, of_row, expected) in [
        ("<w:tblLook w:val=\"04A0\" w:firstRow=\"1\"/>", "", "TableHeader"),
        ("<w:tblLook w:val=\"04A0\" w:firstRow=\"0\"/>", "", "TableRow"),
        ("<w:tblLook w:val=\"04A0\"/>", "", "TableHeader"),
        ("<w:tblLook w:val=\"0480\"/>", "", "TableRow"),
        ("", "", "TableRow"),
        ("", "<w:trPr><w:tblHeader/></w:trPr>", "TableHeader"),
    ] {
        let (first, second) = (cell("Part"), cell("Mast"));
        let table = format!(
            "<w:tbl><w:tblPr>{look}</w:tblPr><w:tr>{of_row}{first}</w:tr><w:tr>{second}</w:tr></w:tbl>"
        );
        playground.write("a.docx", word(&table, &[], &[]));
        assert_eq!(blocks(&playground, "a.docx"), format!("[[0,\"{expected}\"],[7,\"TableRow\"]]"), "{look}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn numbered_paragraphs_of_word_have_their_numbers() {
    let level = |at: usize, style: &str, format: &str, text: &str| {
        format!(
            "<w:lvl w:ilvl=\"{at}\"><w:start w:val=\"1\"/><w:numFmt w:val=\"{format}\"/>{style}<w:lvlText w:val=\"{text}\"/></w:lvl>"
        )
    };
    let headings = [
        level(0, "<w:pStyle w:val=\"H1\"/>", "decimal", "Article %1."),
        level(1, "<w:pStyle w:val=\"H2\"/>", "decimal", "%1.%2"),
    ];
    let points =
        [level(0, "", "lowerLetter", "%1)"), level(1, "", "bullet", "o"), level(2, "", "bullet", " ")];
    let clauses = level(0, "<w:suff w:val=\"nothing\"/>", "chineseCounting", "第%1条");
    let numbering = format!(
        "<w:numbering><w:abstractNum w:abstractNumId=\"0\">{}</w:abstractNum><w:abstractNum w:abstractNumId=\"1\">{}</w:abstractNum>\
         <w:abstractNum w:abstractNumId=\"2\">{clauses}</w:abstractNum>\
         <w:num w:numId=\"1\"><w:abstractNumId w:val=\"0\"/></w:num><w:num w:numId=\"2\"><w:abstractNumId w:val=\"1\"/></w:num>\
         <w:num w:numId=\"3\"><w:abstractNumId w:val=\"2\"/></w:num><w:num w:numId=\"4\"><w:abstractNumId w:val=\"1\"/>\
         <w:lvlOverride w:ilvl=\"0\"><w:startOverride w:val=\"5\"/></w:lvlOverride></w:num></w:numbering>",
        headings.concat(),
        points.concat(),
    );
    let style = |id: &str, outline: usize| {
        format!(
            "<w:style w:styleId=\"{id}\"><w:pPr><w:numPr><w:numId w:val=\"1\"/></w:numPr><w:outlineLvl w:val=\"{outline}\"/></w:pPr></w:style>"
        )
    };
    let styles = format!("<w:styles>{}{}</w:styles>", style("H1", 0), style("H2", 1));
    let heading = |style: &str, words: &str| paragraph(&format!("<w:pStyle w:val=\"{style}\"/>"), words);
    let item = |list: &str, level: usize, more: &str, words: &str| {
        paragraph(
            &format!("<w:numPr><w:ilvl w:val=\"{level}\"/><w:numId w:val=\"{list}\"/></w:numPr>{more}"),
            words,
        )
    };
    let body = [
        heading("H1", "Scope"),
        heading("H2", "Birds"),
        item("2", 0, "", "gulls"),
        item("2", 1, "", "grey"),
        item("2", 2, "", "all of them"),
        item("2", 0, "<w:rPr><w:del/></w:rPr>", "petrels and"),
        item("2", 0, "", "terns"),
        item("4", 0, "", "auks"),
        heading("H2", "Fish"),
        heading("H1", "Fees"),
        heading("H2", "Ferry"),
        item("3", 0, "", "范围"),
        item("0", 0, "", "plain"),
    ];
    let parts = [("word/numbering.xml", numbering.as_str()), ("word/styles.xml", &styles)];
    let relations = [("numbering", "numbering.xml"), ("styles", "styles.xml")];
    let expected = "# Article 1. Scope ## 1.1 Birds a) gulls - grey all of them petrels and b) terns e) auks ## 1.2 Fish \
                    # Article 2. Fees ## 2.1 Ferry 第一条范围 plain";
    assert_eq!(text("a.docx", word(&body.concat(), &relations, &parts)), expected);
}

/// Programs that make documents from web pages embed them so.
#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_inside_of_word_documents_are_a_part_of_their_text() {
    let chunk = |n: usize| format!("<w:altChunk r:id=\"r{n}\"/>");
    let relations = |names: &[&'static str]| names.iter().map(|name| ("aFChunk", *name)).collect::<Vec<_>>();
    let archive = "MIME-Version: 1.0\nSubject: not shown\nContent-Type: multipart/related; boundary=cut\n\n--cut\nContent-Type: text/html; \
                   charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<p>from =C3=A9 archive</p>\n--cut--\n";
    let parts = [
        ("word/a.html", "<html><title>t</title><h2>A page</h2><ul><li>item</li></ul></html>"),
        ("word/b.rtf", "{\\rtf1 rich {\\b text}\\par}"),
        ("word/c.mht", archive),
        ("word/d.txt", "plain text"),
    ];
    let names = relations(&["a.html", "b.rtf", "c.mht", "d.txt"]);
    let body: String = (1..=4).map(|n| paragraph("", &format!("before {n}")) + &chunk(n)).collect();
    let outer = word(&(body + &paragraph("", "after")), &names, &[]);
    let inner = word(&paragraph("", "inner"), &[], &[]);
    let nest = |inner: &[u8]| {
        let outer = word(&chunk(1), &relations(&["b.docx"]), &[]);
        with_parts(&outer, &[("word/b.docx", inner)])
    };
    let got = texts(&[("a.docx", with_parts(&outer, &parts)), ("b.docx", nest(&nest(&inner)))]);
    let expected =
        "before 1 ## A page - item before 2 rich text before 3 from é archive before 4 plain text after";
    assert_eq!((&*got["a.docx"], &*got["b.docx"]), (expected, "inner"));

    let playground = Playground::new();
    playground.write("docs/a.docx", (0..8).fold(inner, |inner, _| nest(&inner)));
    let xml = [("word/b.xml", "<?mso-application progid=\"Word.Document\"?><w:wordDocument/>")];
    playground.write("docs/b.docx", with_parts(&word(&chunk(1), &relations(&["b.xml"]), &[]), &xml));
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(1);
    let reason = "it embeds a document in a format that only Word can read (altChunk)";
    for name in ["a", "b"] {
        ran.says(&format!("failed: docs/{name}.docx: not readable as Word (DOCX): {reason}"));
    }
}

/// Returns a package with more parts, or with others in the place of those with the same names.
fn with_parts<T: AsRef<[u8]>>(package: &[u8], parts: &[(&str, T)]) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(package)).unwrap();
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        let (name, mut content) = (part.name().unwrap().into_owned(), Vec::new());
        part.read_to_end(&mut content).unwrap();
        all.push((name, content));
    }
    all.retain(|(name, _)| parts.iter().all(|(other, _)| other != name));
    all.extend(parts.iter().map(|(name, content)| ((*name).to_owned(), content.as_ref().to_vec())));
    zip(&all.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect::<Vec<_>>())
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_stray_byte_in_a_part_costs_itself_and_is_said() {
    let playground = Playground::new();
    let text = "Größe, caf~ und mehr";
    let stray = |content: &[u8]| -> Vec<u8> {
        content.iter().map(|&byte| if byte == b'~' { 0xE9 } else { byte }).collect()
    };
    let with_stray = |package: Vec<u8>, name: &str| {
        let mut content = Vec::new();
        let mut archive = ZipArchive::new(Cursor::new(&package)).unwrap();
        archive.by_name(name).unwrap().read_to_end(&mut content).unwrap();
        with_parts(&package, &[(name, stray(&content))])
    };
    playground.write("docs/a.odt", with_stray(odt(text), "content.xml"));
    let flat = format!("<office:body><office:text><text:p>{text}</text:p></office:text></office:body>");
    playground.write("docs/b.fodt", stray(open_document(&flat).as_bytes()));
    playground.write("docs/c.docx", with_stray(word(&paragraph("", text), &[], &[]), "word/document.xml"));
    let book = with_stray(book(&[&format!("<p>{text}</p>")], "", &[]), "OEBPS/text/chapter 1.xhtml");
    playground.write("docs/d.epub", book);
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    for (id, text) in ids_and_texts(&playground.path("out.parquet")) {
        assert_eq!(text, "Größe, café und mehr", "{id}");
        ran.says(&format!("docs/{id}: repaired 1 stray byte in its text"));
    }
    ran.says("4 documents: 1 embedded, 3 duplicates, 0 empty, 0 failed; repaired: 4 documents");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn what_word_shows_beside_its_runs_is_read() {
    let run = |inner: &str| format!("<w:p><w:r>{inner}</w:r></w:p>");
    let drawing = |properties: &str, data: &str| {
        run(&format!(
            "<w:t>In </w:t><w:drawing><wp:inline>{properties}<a:graphic><a:graphicData>{data}</a:graphicData></a:graphic></wp:inline></w:drawing><w:t>line</w:t>"
        ))
    };
    let control = |flag: &str, style: &str, words: &str| {
        format!(
            "<w:p><w:sdt><w:sdtPr>{flag}</w:sdtPr><w:sdtContent><w:r><w:rPr>{style}</w:rPr><w:t>{words}</w:t></w:r></w:sdtContent></w:sdt></w:p>"
        )
    };
    let placeholder = "<w:rStyle w:val=\"P\"/>";
    let shown = "<w:showingPlcHdr/>";
    let picture =
        |words: &str| format!("<pic:pic><pic:nvPicPr><pic:cNvPr descr=\"{words}\"/></pic:nvPicPr></pic:pic>");
    let cases = [
        (run("<w:t>five</w:t><w:sym w:font=\"Symbol\" w:char=\"F061\"/><w:sym w:font=\"Wingdings\" w:char=\"F0FE\"/>"), "fiveα☑"),
        (run("<w:rPr><w:rFonts w:ascii=\"Symbol\"/></w:rPr><w:t>\u{F061} x</w:t>"), "α x"),
        (control(shown, "", "typed by a program"), "typed by a program"),
        (control(shown, placeholder, "Click here"), ""),
        (control("", placeholder, "typed by a person"), "typed by a person"),
        (drawing("<wp:docPr descr=\"a red door\"/>", &picture("a red door")), "In a red door line"),
        (drawing("<wp:docPr descr=\"door.PNG\"/>", ""), "In line"),
        (drawing("<wp:docPr descr=\"gone\" hidden=\"1\"/>", &picture("gone")), "In line"),
        (drawing("<wp:docPr/>", &[picture("one"), picture("two")].concat()), "In one two line"),
        (drawing("", "<dgm:relIds r:dm=\"r1\"/>"), "In line Plan Do"),
        (drawing("", "<c:chart r:id=\"r2\"/>"), "In line Rain in mm 2025 Mon, Tue 2026"),
        (run("<w:pict><v:shape alt=\"a seal\"><v:textpath string=\"DRAFT\"/></v:shape></w:pict>"), "a seal DRAFT"),
        ("<w:p><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom><w:moveTo><w:r><w:t>moved</w:t></w:r></w:moveTo></w:p>".to_owned(), "moved"),
        (run("<w:fldChar><w:ffData><w:ddList><w:result w:val=\"1\"/><w:listEntry w:val=\"red\"/><w:listEntry w:val=\"blue\"/></w:ddList></w:ffData></w:fldChar>"), "blue"),
        (run("<w:rPr><w:rStyle w:val=\"V\"/></w:rPr><w:t>secret</w:t>"), ""),
        (paragraph("<w:pStyle w:val=\"V\"/>", "secret"), ""),
        ("<w:tbl><w:tr><w:trPr><w:del/></w:trPr><w:tc/></w:tr><w:tr><w:tc><w:p/></w:tc></w:tr></w:tbl>".to_owned(), "|"),
        (run("<wps:txbx><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></wps:txbx>"), "in a box"),
    ];
    let styles = "<w:styles><w:style w:styleId=\"P\"><w:name w:val=\"Placeholder Text\"/></w:style>\
                  <w:style w:styleId=\"V\"><w:rPr><w:vanish/></w:rPr></w:style></w:styles>";
    let diagram = "<dgm:dataModel><dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt>\
                   <dgm:pt type=\"pres\"/><dgm:pt><dgm:t><a:p><a:r><a:t>Do</a:t></a:r></a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>";
    let series = |year: &str| {
        format!(
            "<c:ser><c:tx><c:strRef><c:strCache><c:pt><c:v>{year}</c:v></c:pt></c:strCache></c:strRef></c:tx>\
                 <c:cat><c:strRef><c:strCache><c:pt><c:v>Mon</c:v></c:pt><c:pt><c:v>Tue</c:v></c:pt></c:strCache></c:strRef></c:cat>\
                 <c:val><c:numRef><c:numCache><c:pt><c:v>7</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>"
        )
    };
    let chart = format!(
        "<c:chartSpace><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Rain in mm</a:t></a:r></a:p></c:rich></c:tx></c:title>{}{}</c:chart></c:chartSpace>",
        series("2025"),
        series("2026")
    );
    let relations = [("diagramData", "data.xml"), ("chart", "chart.xml"), ("styles", "styles.xml")];
    let parts = [("word/data.xml", diagram), ("word/chart.xml", &chart), ("word/styles.xml", styles)];
    let names: Vec<String> = (0..cases.len()).map(|at| format!("{at:02}.docx")).collect();
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .zip(&cases)
        .map(|(name, (body, _))| (name.as_str(), word(body, &relations, &parts)))
        .collect();
    let got = texts(&files);
    for (name, (body, expected)) in names.iter().zip(&cases) {
        assert_eq!(got.get(name).map_or("", String::as_str), *expected, "{body}");
    }
}

/// Returns a shape of a slide. `place` is its distance from the left and from the top, if it has one.
fn shape(placeholder: &str, place: Option<(i32, i32)>, body: &str) -> String {
    let frame =
        place.map(|(x, y)| format!("<a:xfrm><a:off x=\"{x}\" y=\"{y}\"/></a:xfrm>")).unwrap_or_default();
    format!(
        "<p:sp><p:nvSpPr><p:cNvPr/><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:spPr>{frame}</p:spPr><p:txBody>{body}</p:txBody></p:sp>"
    )
}

fn line(properties: &str, words: &str) -> String {
    format!("<a:p><a:pPr {properties}</a:pPr><a:r><a:t>{words}</a:t></a:r><a:endParaRPr/></a:p>")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn slides_are_read_from_their_title_to_their_notes() {
    let numbered = "><a:buAutoNum type=\"alphaLcParenR\"/>";
    let first = [
        shape("", Some((0, 6_000_000)), &line(">", "at the bottom")),
        shape("", Some((5_000_000, 2_100_000)), &line(">", "right")),
        shape("<p:ph type=\"body\" idx=\"1\"/>", None, &[line(">", "one"), line("lvl=\"1\">", "two"), "<a:p><a:endParaRPr/></a:p>".to_owned(), line("><a:buNone/>", "three")].concat()),
        shape("", Some((0, 4_000_000)), &[line(numbered, "first"), line(numbered, "second"), line("lvl=\"1\"><a:buAutoNum type=\"romanLcPeriod\" startAt=\"3\"/>", "deep"), line(numbered, "third")].concat()),
        format!(
            "<p:grpSp><p:nvGrpSpPr><p:cNvPr/></p:nvGrpSpPr><p:grpSpPr><a:xfrm><a:off x=\"0\" y=\"5000000\"/></a:xfrm></p:grpSpPr>{}{}</p:grpSp>",
            shape("", Some((0, 9)), &line(">", "lower")).replace("y=\"9\"", "y=\"900000\""),
            shape("", Some((0, 0)), &line(">", "upper")),
        ),
        shape("<p:ph type=\"title\"/>", None, "<a:p><a:r><a:t>Spring</a:t></a:r><a:br/><a:r><a:t>plan</a:t></a:r></a:p>"),
        shape("<p:ph type=\"sldNum\"/>", Some((0, 0)), "<a:p><a:fld type=\"slidenum\"><a:t>1</a:t></a:fld></a:p>"),
        "<p:pic><p:nvPicPr><p:cNvPr descr=\"a map\"/></p:nvPicPr><p:spPr><a:xfrm><a:off x=\"0\" y=\"7000000\"/></a:xfrm></p:spPr></p:pic>".to_owned(),
        "<p:sp><p:nvSpPr><p:cNvPr hidden=\"1\"/></p:nvSpPr><p:txBody><a:p><a:r><a:t>gone</a:t></a:r></a:p></p:txBody></p:sp>".to_owned(),
    ]
    .concat();
    let hidden = format!("<!--hidden-->{}", shape("", None, &line(">", "left out")));
    let table = "<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr/></p:nvGraphicFramePr><p:xfrm><a:off x=\"0\" y=\"0\"/></p:xfrm><a:graphic><a:graphicData><a:tbl>\
                 <a:tblPr firstRow=\"1\"/><a:tr><a:tc><a:txBody><a:p><a:r><a:t>Tool</a:t></a:r></a:p></a:txBody></a:tc><a:tc hMerge=\"1\"/></a:tr>\
                 <a:tr><a:tc><a:txBody><a:p><a:r><a:t>Drill</a:t></a:r></a:p><a:p><a:r><a:t>big</a:t></a:r></a:p></a:txBody></a:tc><a:tc><a:txBody><a:p><a:r><a:t>2</a:t></a:r></a:p></a:txBody></a:tc></a:tr>\
                 </a:tbl></a:graphicData></a:graphic></p:graphicFrame>";
    let layout = format!(
        "<p:sldLayout xmlns:p=\"p\" xmlns:a=\"a\"><p:cSld><p:spTree>{}</p:spTree></p:cSld></p:sldLayout>",
        shape("<p:ph idx=\"1\"/>", Some((0, 2_000_000)), "")
    );
    let master = "<p:sldMaster xmlns:p=\"p\" xmlns:a=\"a\"><p:cSld><p:spTree/></p:cSld><p:txStyles><p:bodyStyle><a:lvl1pPr><a:buChar char=\"•\"/></a:lvl1pPr>\
                  <a:lvl2pPr><a:buChar char=\"–\"/></a:lvl2pPr></p:bodyStyle></p:txStyles></p:sldMaster>";
    let notes = format!(
        "<p:notes xmlns:p=\"p\" xmlns:a=\"a\"><p:cSld><p:spTree>{}{}</p:spTree></p:cSld></p:notes>",
        shape("<p:ph type=\"body\" idx=\"1\"/>", None, &line(">", "Say it slowly.")),
        shape("<p:ph type=\"hdr\"/>", None, &line(">", "header")),
    );
    let of_slide = "<Relationships><Relationship Id=\"r1\" Type=\"x/slideLayout\" Target=\"../layout.xml\"/><Relationship Id=\"r2\" Type=\"x/notesSlide\" Target=\"../notes.xml\"/></Relationships>";
    let of_layout = "<Relationships><Relationship Id=\"r1\" Type=\"x/slideMaster\" Target=\"master.xml\"/></Relationships>";
    let file = presentation(
        &[&first, &hidden, table],
        &[
            ("ppt/slides/_rels/slide1.xml.rels", of_slide),
            ("ppt/_rels/layout.xml.rels", of_layout),
            ("ppt/layout.xml", &layout),
            ("ppt/master.xml", master),
            ("ppt/notes.xml", &notes),
        ],
    );
    let playground = Playground::new();
    playground.write("a.pptx", &file);
    playground.write("b.ppsx", &file);
    let expected = "# Spring plan - one - two three right a) first b) second iii. deep c) third upper lower at the bottom a map Say it slowly. \
                    | Tool | Drill big | 2";
    for name in ["a.pptx", "b.ppsx"] {
        assert_eq!(playground.build(name, &[])[0].text, expected);
    }
    let blocks = blocks(&playground, "a.pptx");
    assert!(blocks.starts_with("[[0,{\"Page\":1}],[0,{\"Heading\":1}],"), "{blocks}");
    assert!(blocks.contains("{\"Page\":3}") && !blocks.contains("{\"Page\":2}"), "{blocks}");
    assert!(blocks.ends_with("\"TableHeader\"],[130,\"TableRow\"]]"), "{blocks}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn open_documents_are_read_like_word_files() {
    let styles = "<office:styles><text:outline-style><text:outline-level-style text:level=\"1\" style:num-format=\"1\" style:num-suffix=\".\"/>\
                  <text:outline-level-style text:level=\"2\" style:num-format=\"1\" text:display-levels=\"2\"/></text:outline-style>\
                  <text:list-style style:name=\"L\"><text:list-level-style-number text:level=\"1\" style:num-format=\"a\" style:num-suffix=\")\"/>\
                  <text:list-level-style-bullet text:level=\"2\"/><text:list-level-style-number text:level=\"3\" style:num-format=\"1\" num-list-format=\"(%1%.%3%)\"/></text:list-style>\
                  <style:style style:name=\"hidden\"><style:text-properties text:display=\"none\"/></style:style></office:styles>";
    let item = |inner: &str| format!("<text:list-item>{inner}</text:list-item>");
    let line = |words: &str| format!("<text:p>{words}</text:p>");
    let deep = format!(
        "<text:list>{}</text:list>",
        item(&format!("{}<text:list>{}</text:list>", line("grey"), item(&line("light"))))
    );
    let list = format!(
        "<text:list text:style-name=\"L\">{}{}<text:list-header>{}</text:list-header></text:list>",
        item(&[line("gulls"), line("of the north"), deep].concat()),
        item(&line("terns")),
        line("no number"),
    );
    let more = format!(
        "<text:list text:style-name=\"L\" text:continue-numbering=\"true\">{}</text:list>",
        item(&line("auks"))
    );
    let anew = format!("<text:list text:style-name=\"L\">{}</text:list>", item(&line("owls")));
    let body = format!(
        "<office:body><office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>\
         <text:h text:outline-level=\"1\">Scope</text:h><text:h text:outline-level=\"2\">Birds</text:h>\
         <text:p>o<text:title>n</text:title>e<text:s text:c=\"3\"/>two<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p></text:note-body></text:note> \
         <text:span text:style-name=\"hidden\">secret</text:span><draw:frame><draw:text-box>{anew}</draw:text-box></draw:frame>\
         <office:annotation><text:p>comment</text:p></office:annotation>three\
         <draw:frame><draw:image/><svg:title>logo.png</svg:title><svg:desc>a red door</svg:desc></draw:frame></text:p>{list}<text:p>between</text:p>{more}\
         <table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Tool</text:p></table:table-cell></table:table-row></table:table-header-rows>\
         <table:table-row><table:table-cell><text:p>Drill</text:p></table:table-cell><table:covered-table-cell/></table:table-row></table:table>\
         <text:section text:display=\"none\"><text:p>hidden</text:p></text:section><text:h text:outline-level=\"1\">Fees</text:h></office:text></office:body>"
    );
    let document = open_document(&format!("{styles}{body}"));
    let expected = "# 1. Scope ## 1.1 Birds one two three a) owls a red door a) gulls of the north - grey (a.1) light b) terns no number \
                    between c) auks | Tool | Drill # 2. Fees a note";
    let got = texts(&[("a.odt", odf(&document)), ("b.fodt", document.into_bytes())]);
    assert_eq!((&*got["a.odt"], &*got["b.fodt"]), (expected, expected));
    // Programs write names with prefixes that they do not declare.
    let undeclared = "<office:document xmlns:office=\"o\"><office:body><office:text><text:p x:y=\"z\">no names</text:p></office:text></office:body></office:document>";
    assert_eq!(text("a.fodt", undeclared.into()), "no names");

    let frame = |attributes: &str, words: &str| {
        format!(
            "<draw:frame {attributes}><draw:text-box><text:p>{words}</text:p></draw:text-box></draw:frame>"
        )
    };
    let slides = [
        "<office:automatic-styles><style:style style:name=\"gone\"><style:drawing-page-properties presentation:visibility=\"hidden\"/></style:style></office:automatic-styles>\
         <office:body><office:presentation><draw:page>",
        &frame("svg:x=\"1cm\" svg:y=\"60mm\"", "below"),
        &frame("svg:x=\"10cm\" svg:y=\"2in\"", "right"),
        &frame("svg:x=\"1cm\" svg:y=\"5.1cm\"", "left"),
        &frame("presentation:class=\"title\" svg:x=\"0cm\" svg:y=\"9cm\"", "Spring</text:p><text:p>plan"),
        &frame("presentation:class=\"footer\" svg:x=\"0cm\" svg:y=\"0cm\"", "footer"),
        "<draw:g>",
        &frame("svg:x=\"0cm\" svg:y=\"9cm\"", "group"),
        "</draw:g>",
        "<presentation:notes><draw:page-thumbnail/>",
        &frame("presentation:class=\"notes\"", "Say it slowly."),
        "</presentation:notes></draw:page>",
        "<draw:page draw:style-name=\"gone\">",
        &frame("", "hidden"),
        "</draw:page></office:presentation></office:body>",
    ];
    assert_eq!(
        text("a.odp", odf(&open_document(&slides.concat()))),
        "# Spring plan left right below group Say it slowly."
    );
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_book_is_read_in_the_order_of_its_spine() {
    let manifest = "<item id=\"nav\" href=\"nav.xhtml\" properties=\"nav\" media-type=\"application/xhtml+xml\"/><item id=\"css\" href=\"a.css\" media-type=\"text/css\"/>";
    let nav =
        ("OEBPS/nav.xhtml", "<html xmlns=\"http://www.w3.org/1999/xhtml\"><body>Contents</body></html>");
    let fonts = "<encryption><EncryptedData><EncryptionMethod Algorithm=\"http://www.idpf.org/2008/embedding\"/></EncryptedData></encryption>";
    let chapters = ["<h1>One</h1><p>The gull.</p>", "<h1>Two</h1><ul><li>The tern.</li></ul>"];
    let got = text("a.epub", book(&chapters, manifest, &[nav, ("META-INF/encryption.xml", fonts)]));
    assert_eq!(got, "# One The gull. # Two - The tern.");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn office_documents_say_who_wrote_them() {
    let core = "<coreProperties xmlns:dc=\"c\" xmlns:dcterms=\"t\"><dc:title> The plan </dc:title><dc:creator>Ines</dc:creator><dc:language>es</dc:language>\
                <dcterms:created>2025-01-02</dcterms:created><dcterms:modified>2026-01-02</dcterms:modified><keywords>rain; wind</keywords></coreProperties>";
    let document =
        "<w:document xmlns:w=\"w\"><w:body><w:p><w:r><w:t>words</w:t></w:r></w:p></w:body></w:document>";
    let package = relationships("word/document.xml").replace(
        "</Relationships>",
        "<Relationship Id=\"r2\" Type=\"x/core-properties\" Target=\"docProps/core.xml\"/></Relationships>",
    );
    let docx = zip(&[
        ("_rels/.rels", package.as_bytes()),
        ("word/document.xml", document.as_bytes()),
        ("docProps/core.xml", core.as_bytes()),
    ]);
    let meta = "<office:meta><dc:title>The plan</dc:title><meta:initial-creator>Ines</meta:initial-creator><dc:creator>Haruto</dc:creator><dc:date>2026-01-02</dc:date>\
                <meta:keyword>rain</meta:keyword><meta:keyword>wind</meta:keyword></office:meta>";
    let body = "<office:body><office:text><text:p>words</text:p></office:text></office:body>";
    let playground = Playground::new();
    playground.write("docs/a.docx", docx);
    playground.write("docs/b.fodt", open_document(&format!("{meta}{body}")));
    playground.write("docs/c.epub", epub("words"));
    playground.write("docs/d.odt", odt("words"));
    playground.write("docs/e.odp", odp("words"));
    let names = ["title", "author", "date", "language", "subject", "keywords"];
    let keep: Vec<&str> = names.iter().flat_map(|name| ["--keep", *name]).collect();
    playground.build("docs", &keep);
    let file = std::fs::File::open(playground.path("out.parquet")).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let column = |name: &str| -> Vec<String> {
        batch[name].as_string::<i32>().iter().map(|value| value.unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(column("title"), ["The plan", "The plan", "The book", "-", "-"]);
    assert_eq!(column("author"), ["Ines", "Ines", "Ines", "-", "-"]);
    assert_eq!(column("date"), ["2026-01-02", "2026-01-02", "-", "-", "-"]);
    assert_eq!(column("language"), ["es", "-", "-", "-", "-"]);
    assert_eq!(column("subject"), ["-", "-", "birds, sea", "-", "-"]);
    assert_eq!(column("keywords"), ["rain; wind", "rain, wind", "-", "-", "-"]);
}
