//! Documents in markup languages and the dialects of Markdown, through the binary.

use std::collections::BTreeMap;
use std::fs::{self, File};

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::util::{Playground, ids_and_texts, repository};

fn texts(playground: &Playground) -> BTreeMap<String, String> {
    playground.run_anew(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ids_and_texts(&playground.path("out.parquet")).into_iter().collect()
}

const DIALECTS: &str = r#"import Tabs from '@theme/Tabs';

# Heading {#custom-id}

:::tip Title of a tip
body words
:::

> [!NOTE]
> callout words

!!! warning "Admonition title"
    admonition words

[[Page Name|alias words]] ![[embed.png]] ==marked== %%private comment%%

{% raw %}liquid {{ var }}{% endraw %}

{/* mdx comment */} <!-- comment -->

<Tabs><TabItem label="Linux">tab **words**</TabItem></Tabs>

Term
: Definition
"#;

#[test]
#[ignore = "needs what scripts/test installs"]
fn dialects_of_markdown_give_their_words() {
    let playground = Playground::new();
    let endings = ["md", "markdown", "mdx", "qmd", "Rmd"];
    endings.iter().for_each(|ending| playground.write(&format!("docs/a.{ending}"), DIALECTS));
    playground.write("docs/list.md", "1. Install it with\n   ```sh\n   npm install example\n   ```\n2. Done\n\n- see\n  > a quote\n- last\n");
    let texts = texts(&playground);
    let expected = "# Heading Title of a tip body words callout words Admonition title admonition words alias words marked \
                    liquid {{ var }} Linux tab words Term Definition";
    endings.iter().for_each(|ending| assert_eq!(texts[&format!("a.{ending}")], expected, "{ending}"));
    assert_eq!(texts["list.md"], "- Install it with npm install example - Done - see a quote - last");
}

/// What looks like a dialect and is code or prose loses nothing.
#[test]
#[ignore = "needs what scripts/test installs"]
fn code_and_prose_keep_what_looks_like_a_dialect() {
    let playground = Playground::new();
    let prose = "C++ has [[nodiscard]], a shell [[ -f x ]], and 100%% of a == b is {a: 1} for Map<K, V>.";
    playground.write("docs/prose.mdx", prose);
    let code = "{% if x %} [[a|b]] %%d%% {/* e */} :::note !!! f ==g== import h from 'h'";
    playground.write("docs/code.md", format!("```\n{code}\n```\n\n`{code}`\n\n    {code}\n"));
    let texts = texts(&playground);
    assert_eq!(texts["prose.mdx"], prose);
    assert_eq!(texts["code.md"], [code; 3].join(" "));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn markup_in_other_encodings_is_decoded() {
    let playground = Playground::new();
    let gbk = |text: &str| encoding_rs::GBK.encode(text).0.into_owned();
    playground.write("docs/a.xml", gbk("<?xml version='1.0' encoding='gbk'?><a><b>员工因公出差</b></a>"));
    playground.write(
        "docs/b.tex",
        encoding_rs::WINDOWS_1252.encode("Un café à Zürich, où l'été est très léger.").0,
    );
    playground.write(
        "docs/c.srt",
        gbk("1\r\n00:00:01,000 --> 00:00:02,000\r\n员工因公出差产生的交通费凭发票报销。\r\n"),
    );
    let texts = texts(&playground);
    assert_eq!(texts["a.xml"], "员工因公出差");
    assert_eq!(texts["b.tex"], "Un café à Zürich, où l'été est très léger.");
    assert_eq!(texts["c.srt"], "员工因公出差产生的交通费凭发票报销。");
}

/// What documents say about themselves.
#[test]
#[ignore = "needs what scripts/test installs"]
fn titles_and_authors_are_kept() {
    let playground = Playground::new();
    for name in [
        "en/gateway-manual.adoc",
        "en/hail-study.tex",
        "es/diario-de-tormentas.org",
        "ja/雨量データの読み方.ipynb",
    ] {
        playground
            .write(&format!("docs/{name}"), fs::read(repository("fixtures/corpus").join(name)).unwrap());
    }
    playground.build("docs", &["--keep", "title", "--keep", "author"]);
    let file = File::open(playground.path("out.parquet")).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let column = |name: &str| -> Vec<String> {
        batch[name].as_string::<i32>().iter().map(|value| value.unwrap_or("-").to_owned()).collect()
    };
    let titles = [
        "Petrel Gateway: operator's manual",
        "What a hailstone tells a microphone",
        "Diario de tormentas",
        "雨量データの読み方",
    ];
    assert_eq!(column("title"), titles);
    assert_eq!(column("author"), ["Nora Whitfield", "Ida Café and Tom Ruiz", "Lucía Belmonte", "-"]);
}

/// Source code is read as it is, if a pattern asks for it.
#[test]
#[ignore = "needs what scripts/test installs"]
fn source_code_is_read_as_it_is() {
    let playground = Playground::new();
    playground.write("docs/a.py", "def f(*args):\n    return [[1]]  # {% x %}\n");
    playground.run(&["build", "docs", "--include", "*.py", "-o", "out.parquet"]).expect(0);
    assert_eq!(ids_and_texts(&playground.path("out.parquet"))[0].1, "def f(*args): return [[1]] # {% x %}");
}
