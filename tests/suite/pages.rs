//! Web pages: the main content, the text of pages that scripts fill, and what a page says about itself.

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use serde_json::json;

use crate::util::{Playground, metadata};

const PROSE: &str = "The barometer of the station is calibrated in the factory, and once more in the garden where it will stand.";
const MORE: &str = "Once a year, compare it with the reading of the nearest airport, at a time when the wind is low and steady.";

/// Returns a page with a body.
fn page(body: &str) -> String {
    format!("<!doctype html><title>T</title><body>{body}")
}

/// Returns an article with something beside it.
fn article(beside: &str) -> String {
    page(&format!(
        "<div id=top><h1>Barometer</h1><p>{PROSE}</p><p>{MORE}</p><p>{PROSE}</p><p>{MORE}</p></div>{beside}"
    ))
}

/// Returns the rows of `read docs`.
fn read(playground: &Playground, options: &[&str]) -> RecordBatch {
    let output = playground.command(&[&["read", "docs"], options].concat()).output().unwrap();
    let stream = StreamReader::try_new(&output.stdout[..], None).unwrap();
    let schema = stream.schema();
    concat_batches(&schema, &stream.map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

fn strings<'a>(rows: &'a RecordBatch, column: &str) -> Vec<Option<&'a str>> {
    rows[column].as_string::<i32>().iter().collect()
}

/// Checks the text of each page. `{P}` and `{M}` in a text are [`PROSE`] and [`MORE`].
fn check(pages: &[(&str, String, &str)]) {
    let playground = Playground::new();
    for (name, page, _) in pages {
        playground.write(&format!("docs/{name}.html"), page);
    }
    let rows = read(&playground, &[]);
    let (ids, texts) = (strings(&rows, "id"), strings(&rows, "text"));
    for (name, page, expected) in pages {
        let expected = expected.replace("{P}", PROSE).replace("{M}", MORE);
        let at = ids.iter().position(|id| *id == Some(&format!("{name}.html"))).unwrap();
        assert_eq!(texts[at], Some(&*expected), "{name}: {page}");
    }
}

const ARTICLE: &str = "T # Barometer {P} {M} {P} {M}";

#[test]
fn what_is_labelled_as_surroundings_is_left_out() {
    let labelled = [
        "<div class=breadcrumb><a href=/>Home</a></div>",
        "<div class='share-buttons'><a>Tweet</a><a>Share</a></div>",
        "<div class='relatedPosts'><h3>Related</h3><ul><li><a href=/1>Another headline</a></ul></div>",
        "<div id=comments><h3>2 comments</h3><p>First! said someone</p></div>",
        "<div class='sidebar widget'><h3>Most read</h3><a href=/3>A story</a></div>",
        "<div class='newsletter-signup'><p>Subscribe to our newsletter</p></div>",
        "<div id='cookie-law-info-bar'>We use cookies</div>",
        "<div id=footer>Copyright 2024</div><footer>All rights reserved</footer>",
    ];
    let pages = labelled.iter().map(|labelled| ("one", article(labelled), ARTICLE));
    pages.chain([("all", article(&labelled.concat()), ARTICLE)]).for_each(|page| check(&[page]));
    let playground = Playground::new();
    playground.write("docs/all.html", article(&labelled.concat()));
    let rows = read(&playground, &["--html", "whole"]);
    let all = "Home Tweet Share ### Related - Another headline ### 2 comments First! said someone ### Most read A story Subscribe to our \
               newsletter We use cookies Copyright 2024 All rights reserved";
    let without_space = |text: &str| text.split_whitespace().collect::<String>();
    let whole = strings(&rows, "text")[0].unwrap();
    assert!(without_space(whole).ends_with(&without_space(all)), "{whole}");
}

#[test]
fn labels_of_content_are_no_labels() {
    let code = "<pre><span class=comment># a comment</span> <span class=nav>go</span></pre>";
    check(&[
        ("code", article(code), "T # Barometer {P} {M} {P} {M} # a comment go"),
        (
            "section",
            article(&format!("<section id=comments><h2>Comments</h2><p>{MORE}</section>")),
            "T # Barometer {P} {M} {P} {M} ## Comments {M}",
        ),
        (
            "slug",
            article(&format!("<div id=how-to-share-a-reading-with-friends><p>{MORE}</div>")),
            "T # Barometer {P} {M} {P} {M} {M}",
        ),
        (
            "state",
            page(&format!("<div class='main-wrap has-sidebar'><p>{PROSE}<p>{MORE}</div>")),
            "T {P} {M}",
        ),
        (
            "wrapper",
            page(&format!("<div class=sidebar><h1>B</h1><p>{PROSE}<p>{MORE}</div>")),
            "T # B {P} {M}",
        ),
        (
            "quote",
            page(&format!("<blockquote><p>{PROSE}</p><footer>Amparo</footer></blockquote>")),
            "T {P} Amparo",
        ),
        (
            "tweet",
            article(&format!("<div class=social-embed><p>{MORE}</div>")),
            "T # Barometer {P} {M} {P} {M} {M}",
        ),
    ]);
}

#[test]
fn an_article_is_found_without_labels() {
    let menu = "<ul><li><a href=/>Home</a><li><a href=/a>About</a><li><a href=/c>Contact</a></ul>";
    let teasers = "<h3>Read on</h3><ul><li><a href=/1>How the wind is measured</a> Short.\
                   <li><a href=/2>How the rain is measured</a> Short.<li><a href=/3>How the sun is measured</a> Short.</ul>";
    let declared = |page: String| page.replace("<title>", "<meta property=og:type content=article><title>");
    let inside = article("").replace("</div>", &format!("{teasers}</div>"));
    check(&[
        ("menu", article(menu), ARTICLE),
        ("teasers", article(&format!("<div>{teasers}</div>")), ARTICLE),
        ("inside", declared(inside.clone()), ARTICLE),
        // A page that does not say that it is an article may have lists of links as its content.
        (
            "unsaid",
            inside.replace(" Short.", &format!(" {PROSE}")),
            "T # Barometer {P} {M} {P} {M} ### Read on - How the wind is measured {P} - How the rain is measured {P} - How the sun is measured {P}",
        ),
    ]);
}

#[test]
fn a_page_without_an_article_is_read_whole() {
    let links: String =
        (1..9).map(|n| format!("<li><a href=/{n}>Chapter number {n} of this manual</a>")).collect();
    let listed: String = (1..9).map(|n| format!(" - Chapter number {n} of this manual")).collect();
    let posts: String =
        (1..9).map(|_| format!("<div class=comment><b>Ana</b><p>{PROSE}</p></div>")).collect();
    let thread = format!("T # Thread{}", format!(" Ana {PROSE}").repeat(8));
    let manual = page(&format!("<h1>Manual</h1><p>{PROSE}</p><p>{MORE}</p><p>{PROSE}</p><ul>{links}</ul>"));
    let manual = manual.replace("<title>", "<meta name=generator content='Docutils 0.18'><title>");
    let of_theme = page(&format!(
        "<div role=main class=document itemscope itemtype='http://schema.org/Article'><h1>Notes</h1><p>{PROSE}</p><p>{MORE}</p>\
         <ul><li>New docs:<ul>{links}</ul></ul></div>"
    ));
    check(&[
        ("theme", of_theme, &format!("T # Notes {{P}} {{M}} - New docs:{listed}")),
        ("index", page(&format!("<h1>Manual</h1><ul>{links}</ul>")), &format!("T # Manual{listed}")),
        ("thread", page(&format!("<h1>Thread</h1><div id=comments>{posts}</div>")), &thread),
        (
            "table",
            page("<table><tr><th>Part<th>Price<tr><td><a href=/1>Mast</a><td>30</table>"),
            "T | Part | Price | Mast | 30",
        ),
        ("manual", manual, &format!("T # Manual {{P}} {{M}} {{P}}{listed}")),
    ]);
}

#[test]
fn the_headline_beside_the_main_element_belongs_to_it() {
    check(&[
        (
            "header",
            page(
                "<nav><a href=/>Home</a></nav><header><h1>Real headline</h1><p class=lead>The lead.</p></header><main><p>Body.</p></main><p>Out.",
            ),
            "T # Real headline The lead. Body.",
        ),
        (
            "banner",
            page("<header><h1>Petrel</h1></header><div role=main><h1>Real headline</h1><p>Body.</p></div>"),
            "T # Real headline Body.",
        ),
        ("two", page("<main>one</main><main>two</main>"), "T one two"),
        ("empty", page("<main> </main><p>All there is."), "T All there is."),
    ]);
}

#[test]
fn the_text_of_a_page_that_scripts_fill_is_found_or_missed_by_name() {
    let json_ld =
        |json: &str| page(&format!("<div id=app></div><script type='application/ld+json'>{json}</script>"));
    check(&[
        (
            "json",
            json_ld("{\"@type\":\"NewsArticle\",\"articleBody\":\"The whole article.\"}"),
            "T The whole article.",
        ),
        (
            "graph",
            json_ld(
                "{\"@graph\":[{\"@type\":\"WebSite\"},{\"articleBody\":\"<p>One &amp; all.</p><p>Two.\"}]}",
            ),
            "T One & all. Two.",
        ),
        (
            "start",
            json_ld(&format!("{{\"articleBody\":\"{PROSE} {MORE} {PROSE}\"}}"))
                .replace("<div id=app>", "<div><p>The barometer of the station …"),
            "T {P} {M} {P}",
        ),
        (
            "template",
            page(&format!(
                "<div><script type='text/template'><p>{PROSE}</p></script><noscript><p>{PROSE}</p></noscript></div><p>Older posts"
            )),
            "T {P}",
        ),
        (
            "noscript",
            page(&format!("<noscript><p>{PROSE}</p></noscript><script src=a.js></script>")),
            "T {P}",
        ),
        (
            "shown",
            page(&format!("<p>{PROSE}</p><script type='text/template'><p>{MORE}</p></script>")),
            "T {P}",
        ),
    ]);
    for body in [
        "<div id=app></div><script src=a.js></script>",
        "<noscript><p>You need to enable JavaScript to run this app.</p></noscript><script src=a.js></script>",
        "<script type='text/template'><p>Hello {{ name }}, this is a template that a programmer wrote.</p></script>",
        "<script type='application/ld+json'>{\"@type\":\"NewsArticle\",</script>",
    ] {
        let playground = Playground::new();
        playground.write("docs/app.html", page(body));
        let rows = read(&playground, &[]);
        let error = "has no text without its scripts; open it in a browser and save the page as it is shown";
        assert_eq!(strings(&rows, "error"), [Some(error)], "{body}");
    }
}

#[test]
fn a_page_says_its_title_author_date_and_language() {
    let playground = Playground::new();
    playground.write(
        "docs/meta.html",
        "<html lang=en><title> A  B </title><meta name=Author content='Ana Ruiz'><meta name=description content=D>\
         <meta property=article:published_time content=2026-04-14><meta name=keywords content='wind, rain'><p>x",
    );
    playground.write(
        "docs/json.html",
        "<html><meta property=article:author content='https://a.example/ana'><script type='application/ld+json'>\
         {\"@graph\":[{\"@type\":[\"BlogPosting\"],\"headline\":\"H\",\"datePublished\":\"2026-01-02\",\"description\":\"E\",\
         \"author\":[{\"name\":\"Ana Ruiz\"},\"Bo Li\"]}]}</script><p>x",
    );
    let keep = ["title", "author", "date", "language", "description", "keywords"];
    let options: Vec<&str> = keep.iter().flat_map(|field| ["--keep", field]).collect();
    let rows = read(&playground, &options);
    let kept: Vec<_> = keep.iter().map(|field| strings(&rows, field)).collect();
    let expected = [
        [Some("H"), Some("A B")],
        [Some("Ana Ruiz, Bo Li"), Some("Ana Ruiz")],
        [Some("2026-01-02"), Some("2026-04-14")],
        [None, Some("en")],
        [Some("E"), Some("D")],
        [None, Some("wind, rain")],
    ];
    assert_eq!(kept, expected);
}

/// Texts change with the part of a page, so a night that forgets the option of the first night stops.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_knows_which_part_of_a_page_it_has() {
    let playground = Playground::new();
    playground.write("docs/a.html", article("<div class=share>Share it</div>"));
    let run = |options: &[&str]| playground.run(&[&["build", "docs", "-o", "out.parquet"], options].concat());
    let whole_pages = || metadata(&playground.path("out.parquet"))["fingerprint"]["whole_pages"].clone();
    run(&[]).expect(0);
    assert_eq!(whole_pages(), json!(null));
    run(&["--html", "article"]).expect(0).says("1 document: 0 embedded, 1 reused");
    run(&["--html", "whole"]).expect(0).says("1 document: 1 embedded");
    assert_eq!(whole_pages(), json!(true));
    run(&[])
        .expect(1)
        .says("was made with other settings, which no argument of this run changes: the part of web pages;");
    run(&["--html", "article"]).expect(0);
    run(&["--html", "all"]).expect(2).says("expected article or whole");
}
