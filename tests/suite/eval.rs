//! `eval`: its figures equal those of trec_eval and SciPy, for documents of a test set and of an index, and each fault of a
//! test set is reported in one line.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use ndarray::Array2;
use qwen3_index::eval::{self, Rankings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::util::{self, Playground, json_lines, repository};

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn check(playground: &Playground, arguments: &[&str]) -> String {
    let mut python = util::python("eval");
    python.arg(repository("tests/python/eval.py")).args(arguments).current_dir(playground.path(""));
    playground.output(&mut python, "").expect(0).stdout
}

/// Runs `eval --json` and returns what it prints.
fn said(playground: &Playground, arguments: &[&str]) -> Value {
    let ran = playground.run(&[&["eval"], arguments, &["--json"]].concat()).expect(0);
    assert_eq!(ran.stderr, "", "{}", ran.story);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Makes three questions, each with a ranking of documents and with judgments. Many scores are equal. Some judged documents
/// are not in the ranking, and some judgments are 0 or -1 (pytrec_eval crashes on lower ones).
fn ranking(dice: &mut Dice) -> Value {
    let mut case = json!({"run": {}, "qrels": {}, "figures": {}});
    for question in ["a", "b", "c"] {
        let names: Vec<String> = (0..1 + dice.below(60)).map(|at| format!("d{at}")).collect();
        let scores: Vec<f32> = names.iter().map(|_| dice.below(12) as f32 / 16.0).collect();
        let mut rankings = Rankings::new(Array2::ones((1, 1)));
        let vectors = Array2::from_shape_vec((scores.len(), 1), scores.clone()).unwrap();
        rankings.offer(&names.iter().map(String::as_str).collect::<Vec<_>>(), vectors.view());

        let judged =
            (0..1 + dice.below(30)).map(|_| (format!("d{}", dice.below(70)), dice.below(5) as i64 - 1));
        let judged: HashMap<String, i64> = judged.collect();
        let found = rankings.documents().next().unwrap();
        let ranked: Vec<i64> = found.iter().map(|&name| judged.get(name).copied().unwrap_or(0)).collect();
        let all: Vec<i64> = judged.values().copied().collect();
        case["figures"][question] = json!({
            "ndcg_10": eval::ndcg(&ranked, &all, eval::K),
            "recall_10": eval::recall(&ranked, &all, eval::K),
            "mrr": eval::reciprocal_rank(&ranked),
        });
        case["run"][question] =
            names.into_iter().zip(scores).collect::<HashMap<_, _>>().into_iter().collect();
        case["qrels"][question] = json!(judged);
    }
    case
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn metrics_equal_those_of_trec_eval_and_scipy() {
    let mut dice = Dice(1);
    let rankings: Vec<Value> = (0..300).map(|_| ranking(&mut dice)).collect();
    let correlations = (3..120).map(|length| {
        let mut values = |kinds: u64| -> Vec<f64> {
            (0..length).map(|at| if at == 0 { -1.0 } else { dice.below(kinds) as f64 / 7.0 }).collect()
        };
        // One list has many equal values, the other has few.
        let (a, b) = (values(5), values(10_000));
        json!({"spearman": eval::spearman(&a, &b), "pearson": eval::pearson(&a, &b), "a": a, "b": b})
    });
    let correlations: Vec<Value> = correlations.collect();
    let intervals = [20usize, 50, 300].map(|length| {
        let one: Vec<f64> = (0..length).map(|_| dice.below(1000) as f64 / 1000.0).collect();
        let other: Vec<f64> = one.iter().map(|one| one + dice.below(300) as f64 / 1000.0 - 0.1).collect();
        let mean = |items: &[usize]| {
            Some(items.iter().map(|&at| other[at] - one[at]).sum::<f64>() / items.len() as f64)
        };
        let interval = eval::interval(&(0..length).collect::<Vec<_>>(), 10_000, mean);
        json!({"one": one, "other": other, "interval": interval})
    });
    let playground = Playground::new();
    let cases = json!({"rankings": rankings, "correlations": correlations, "intervals": intervals});
    playground.write("cases.json", cases.to_string());
    let said = check(&playground, &["metrics", "cases.json"]);
    assert_eq!(said.trim(), "117 correlations 3 intervals 300 rankings");
}

#[derive(Deserialize)]
struct Article {
    id: String,
    text: String,
}

/// Writes a test set of the texts in `fixtures/`; the first words of each text are a question. Two documents have equal
/// texts, and one has no text. One question has no relevant document, one has no judgment, and some have no language.
fn test_set(playground: &Playground) {
    let articles: Vec<Article> = json_lines("fixtures/expected.jsonl");
    let mut dice = Dice(2);
    let (mut corpus, mut queries) = (String::new(), String::new());
    let mut qrels = "query-id\tcorpus-id\tscore\n".to_owned();
    for (at, Article { id, text }) in articles.iter().enumerate() {
        let (title, text): (String, String) =
            (text.chars().take(20).collect(), text.chars().skip(20).take(300).collect());
        writeln!(corpus, "{}", json!({"_id": id, "title": title, "text": text})).unwrap();
        if at == 3 {
            writeln!(corpus, "{}", json!({"_id": "twin", "title": title, "text": text})).unwrap();
        }
        let language = id.split_once('/').map(|(language, _)| language);
        writeln!(queries, "{}", json!({"_id": format!("q{at}"), "text": title, "language": language}))
            .unwrap();
        for document in &articles {
            if at != 5 && dice.below(6) == 0 {
                let score = if at == 6 { 0 } else { dice.below(4) };
                writeln!(qrels, "q{at}\t{}\t{score}", document.id).unwrap();
            }
        }
    }
    writeln!(corpus, "{}", json!({"_id": "nothing", "title": "", "text": ""})).unwrap();
    playground.write("test/corpus.jsonl", corpus);
    playground.write("test/queries.jsonl", queries);
    playground.write("test/qrels/test.tsv", qrels);
}

/// Writes the vectors of texts to a NumPy file.
fn embed(playground: &Playground, texts: &[String], to: &str, more: &[&str]) {
    let mut command = playground.command(&[&["embed", "--format", "npy"], more].concat());
    command.arg("--").args(texts).stdout(fs::File::create(playground.path(to)).unwrap());
    assert!(command.status().unwrap().success());
}

fn texts(playground: &Playground, file: &str, fields: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(playground.path(file)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| fields.iter().map(|&name| line[name].as_str().unwrap()).collect::<Vec<_>>().join(" "))
        .filter(|text| text != " ")
        .collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn figures_of_a_test_set_equal_those_of_trec_eval() {
    let playground = Playground::new();
    test_set(&playground);
    embed(&playground, &texts(&playground, "test/corpus.jsonl", &["title", "text"]), "documents.npy", &[]);
    embed(&playground, &texts(&playground, "test/queries.jsonl", &["text"]), "questions.npy", &["--query"]);
    let all = said(&playground, &["retrieval", "test", "--dims", "64,32"]);
    playground.write("said.json", all.to_string());
    print!("{}", check(&playground, &["retrieval"]));
    let notes = json!([
        {"what": "questions without a judgment, left out", "count": 1},
        {"what": "questions without a relevant document, counted as 0", "count": 1},
        {"what": "documents without text, never found", "count": 1},
    ]);
    assert_eq!(all["notes"], notes);

    // An index of the same documents, by document and by chunk, gives the same figures.
    let build =
        ["build", "test/corpus.jsonl", "--id-field", "_id", "--text-field", "title", "--text-field", "text"];
    playground.run(&[&build[..], &["-o", "rows.parquet"]].concat()).expect(0);
    playground
        .run(
            &[
                &build[..],
                &["-o", "chunks.parquet", "--chunks", "--chunk-tokens", "2048", "--context", "none"],
            ]
            .concat(),
        )
        .expect(0);
    for index in ["rows.parquet", "chunks.parquet"] {
        let found = said(&playground, &["retrieval", "test", "--index", index, "--dims", "64,32"]);
        assert_eq!(found["setups"], all["setups"]);
    }
    playground.run(&[&build[..], &["-o", "small.parquet", "--dim", "32"]].concat()).expect(0);
    let small = said(&playground, &["retrieval", "test", "--index", "small.parquet"]);
    assert_eq!(small["setups"][0], all["setups"][1]);
}

/// Loading this graph prints one warning, so the warnings count how often it was loaded.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_comparison_of_instructions_loads_the_model_once() {
    let playground = Playground::new();
    test_set(&playground);
    let arguments = ["eval", "retrieval", "test", "--model-file", "model_quantized.onnx", "--json"];
    let ran = playground.run(&[&arguments[..], &["--compare-instruction", "Find it"]].concat()).expect(0);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
    let both: Value = serde_json::from_str(&ran.stdout).unwrap();
    // Each setup has the same figures as in a run with this setup alone.
    for (at, instruction) in [&[][..], &["--instruction", "Find it"]].into_iter().enumerate() {
        let ran = playground.run(&[&arguments[..], instruction].concat()).expect(0);
        let alone: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(both["setups"][at], alone["setups"][0]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_terminal_shows_progress_over_the_corpus() {
    const IN_TERMINAL: &str = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let playground = Playground::new();
    test_set(&playground);
    let arguments = ["eval", "retrieval", "test", "--json"];
    let in_a_log = playground.run(&arguments).expect(0);
    let program = playground.command(&arguments);
    let mut terminal = Command::new("python3");
    terminal.args(["-c", IN_TERMINAL, "bash", "-c", "\"$@\" > said.json", "bash"]);
    terminal.arg(program.get_program()).args(program.get_args()).current_dir(playground.path(""));
    terminal.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny")).env("TERM", "xterm");
    let shown = playground.output(&mut terminal, "").expect(0);
    assert!(shown.stdout.contains("%  ") && shown.stdout.contains(" tokens/s"), "{}", shown.story);
    assert_eq!(fs::read_to_string(playground.path("said.json")).unwrap(), in_a_log.stdout);
    assert_eq!(in_a_log.stderr, "");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn correlations_of_pairs_and_their_differences_equal_those_of_scipy() {
    let playground = Playground::new();
    let articles: Vec<Article> = json_lines("fixtures/expected.jsonl");
    let mut dice = Dice(3);
    let (mut jsonl, mut tsv) = (String::new(), "score\tlang\tsentence2\tsentence1\n".to_owned());
    for (at, pair) in articles.windows(2).enumerate() {
        let [one, other] = [0, 1].map(|at| pair[at].text.chars().take(40).collect::<String>());
        let (score, lang) = (dice.below(11) as f64 / 2.0, ["en", "ja"][at % 2]);
        let row = json!({"sentence1": one, "sentence2": other, "score": score, "lang": lang});
        writeln!(jsonl, "{row}").unwrap();
        writeln!(tsv, "{score}\t{lang}\t{other}\t{one}").unwrap();
    }
    playground.write("pairs.jsonl", &jsonl);
    playground.write("pairs.tsv", tsv);
    playground.write("other.jsonl", jsonl.replace("sentence", "text").replace("score", "gold"));
    let pairs = texts(&playground, "pairs.jsonl", &["sentence1"]).into_iter();
    let pairs =
        pairs.zip(texts(&playground, "pairs.jsonl", &["sentence2"])).flat_map(|(one, other)| [one, other]);
    embed(&playground, &pairs.collect::<Vec<_>>(), "texts.npy", &[]);
    let figures = said(&playground, &["pairs", "pairs.jsonl", "--compare-dim", "32"]);
    playground.write("said.json", figures.to_string());
    print!("{}", check(&playground, &["pairs"]));
    // Another run, a table and other field names give the same figures.
    assert_eq!(said(&playground, &["pairs", "pairs.jsonl", "--compare-dim", "32"]), figures);
    let tsv = said(&playground, &["pairs", "pairs.tsv", "--compare-dim", "32"]);
    assert_eq!(tsv["differences"], figures["differences"]);
    let names = ["pairs", "other.jsonl", "--fields", "text1,text2,gold", "--compare-dim", "32"];
    assert_eq!(said(&playground, &names)["differences"], figures["differences"]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn two_compared_setups_differ_only_in_the_compared_option() {
    let playground = Playground::new();
    test_set(&playground);
    let tiny = repository("fixtures/qwen3-tiny").to_str().unwrap().to_owned();
    let bert = repository("fixtures/bert-tiny").to_str().unwrap().to_owned();
    let setups = |arguments: &[&str]| -> Vec<Value> {
        let said = said(&playground, &[&["retrieval", "test"], arguments].concat());
        said["setups"].as_array().unwrap().iter().map(|setup| setup["setup"].clone()).collect()
    };
    let [one, other] = &setups(&["--dims", "48", "--compare-dim", "32"])[..] else { panic!() };
    assert_eq!((&one["dim"], &other["dim"]), (&json!(48), &json!(32)));
    assert!(one["model"] == other["model"] && one["instruction"] == other["instruction"]);
    let [one, other] = &setups(&["--no-instruction", "--compare-instruction", "Find it"])[..] else {
        panic!()
    };
    assert_eq!((&one["instruction"], &other["instruction"]), (&Value::Null, &json!("Find it")));
    let [one, other] = &setups(&["--instruction", "Find it", "--dims", "32", "--compare-model", &bert])[..]
    else {
        panic!()
    };
    assert!(
        one["model"].as_str().unwrap().starts_with(&tiny)
            && other["model"].as_str().unwrap().starts_with(&bert)
    );
    assert!(one["instruction"] == other["instruction"] && one["dim"] == other["dim"]);
    // Another model file is compared like another model: with its own figures and the differences between the two.
    let graph = "model_nbits.onnx";
    let files = said(&playground, &["retrieval", "test", "--compare-model-file", graph]);
    let alone = said(&playground, &["retrieval", "test", "--model-file", graph]);
    assert_eq!(files["setups"][1], alone["setups"][0]);
    for found in files["differences"].as_array().unwrap() {
        let [one, other, difference] =
            ["one", "other", "difference"].map(|name| found[name].as_f64().unwrap());
        let [low, high] = ["low", "high"].map(|end| found["interval"][end].as_f64());
        assert_eq!(other - one, difference, "{found}");
        assert!(low.is_none() || low.unwrap() <= difference && difference <= high.unwrap(), "{found}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_fault_of_a_test_set_is_reported_in_one_line() {
    let playground = Playground::new();
    let case = |name: &str, content: &str, arguments: &[&str], code: i32, parts: &[&str]| {
        test_set(&playground);
        playground.write("pairs.csv", "sentence1,sentence2,score\na,b,1\nc,d,2\n");
        if !name.is_empty() {
            playground.write(name, content);
        }
        let ran = playground.run(&[&["eval"], arguments].concat()).expect(code);
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1), "{}", ran.story);
        for part in parts {
            ran.says(part);
        }
    };
    let retrieval = |name: &str, content: &str, parts: &[&str]| {
        case(name, content, &["retrieval", "test"], 1, parts);
    };
    retrieval("test/corpus.jsonl", "", &["test/corpus.jsonl: is empty"]);
    retrieval("test/qrels/test.tsv", "query-id\tcorpus-id\tscore\n", &["test/qrels/test.tsv: is empty"]);
    retrieval("test/corpus.jsonl", "{\"text\": \"a\"}\n", &["corpus.jsonl:1: no field `_id`"]);
    retrieval(
        "test/queries.jsonl",
        "{\"_id\": \"a\"}\n",
        &["queries.jsonl:1: no field `text`; each line must be"],
    );
    retrieval(
        "test/queries.jsonl",
        "{\"_id\": 7, \"text\": \" \"}\n",
        &["queries.jsonl:1: question `7` is empty"],
    );
    let twice = "{\"_id\": \"a\", \"text\": \"a\"}\n{\"_id\": \"a\", \"text\": \"b\"}\n";
    retrieval("test/corpus.jsonl", twice, &["corpus.jsonl:2: the id `a` is used twice"]);
    retrieval(
        "test/corpus.jsonl",
        &twice[..25],
        &["qrels/test.tsv: ", "documents are not in corpus.jsonl, such as `"],
    );
    retrieval("test/queries.jsonl", &twice[..25], &["questions are not in queries.jsonl, such as `q0`"]);
    let judged = "query-id\tcorpus-id\tscore\nq0\ttwin\t1\n";
    let again = format!("{judged}q0\ttwin\t1\n");
    retrieval(
        "test/qrels/test.tsv",
        &again,
        &["test.tsv:3: question `q0` and document `twin` are judged twice"],
    );
    retrieval(
        "test/qrels/test.tsv",
        &judged.replace("\t1", "\t0.5"),
        &["test.tsv:2: the score is \"0.5\", not a whole number"],
    );
    retrieval("test/qrels/test.tsv", &judged[25..], &["no column `corpus-id`", "the first line must name"]);

    let pairs = |content: &str, parts: &[&str]| case("pairs.csv", content, &["pairs", "pairs.csv"], 1, parts);
    pairs("", &["pairs.csv: is empty"]);
    pairs("a,b,c\n1,2,3\n", &["no column `sentence1` or `sentence2` (the columns are: a, b, c)", "--fields"]);
    pairs("sentence1,score\na,3\n", &["pairs.csv:2: no field `sentence2`", "--fields"]);
    pairs("sentence1,sentence2,score\na,b,high\n", &["pairs.csv:2: field `score` is \"high\", not a number"]);
    pairs("sentence1,sentence2,score\na,b,nan\n", &["pairs.csv:2: field `score` is \"nan\", not a number"]);
    pairs("sentence1,sentence2,score\na,,1\n", &["pairs.csv:2: field `sentence2` is empty"]);
    pairs("sentence1,sentence2,score\na,b,1\nc,d,1\n", &["pairs.csv: all scores are 1"]);
    case("pairs.txt", "a", &["pairs", "pairs.txt"], 1, &["pairs.txt: has no rows"]);

    let usage = |arguments: &[&str], parts: &[&str]| case("", "", arguments, 2, parts);
    usage(&["pairs", "pairs.csv", "--fields", "a,b"], &["--fields: name three fields"]);
    usage(
        &["pairs", "pairs.csv", "--dims", "64,65"],
        &["--dims or --compare-dim 65: the vectors have 64 dimensions"],
    );
    usage(
        &["retrieval", "test", "--compare-dim", "31"],
        &["31: the vectors have 64 dimensions; choose 32 to 64"],
    );
    usage(
        &["retrieval", "test", "--dims", "64,32", "--compare-dim", "48"],
        &["--dims: a comparison has two set-ups"],
    );
    let corpus = repository("fixtures/corpus/faq.jsonl").to_str().unwrap().to_owned();
    playground.build(&corpus, &[]);
    let index = ["retrieval", "test", "--index", "out.parquet"];
    case("", "", &index, 1, &["documents are not in the index"]);
    let bert = repository("fixtures/bert-tiny").to_str().unwrap().to_owned();
    playground.write("own/queries.jsonl", "{\"_id\": \"q\", \"text\": \"a\"}\n");
    playground.write("own/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\tfaq-001\t1\n");
    let other = ["retrieval", "own", "--index", "out.parquet", "--model", &bert];
    case("", "", &other, 1, &["is not the model of the index"]);
}

/// Runs the blocks of docs/eval.md in order, in a folder that contains only a link to the corpus.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_commands_of_the_page_on_eval_work() {
    let playground = Playground::new();
    std::os::unix::fs::symlink(repository("fixtures/corpus"), playground.path("docs")).unwrap();
    let page = fs::read_to_string(repository("docs/eval.md")).unwrap();
    let code: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(2 * code.len(), page.matches("```").count());
    // The tiny model's vectors have 64 dimensions.
    let mut code = code.concat();
    for (of_a_large_model, here) in
        [("1024,768,512,384,256,128,64,32", "64,32"), ("--compare-dim 256", "--compare-dim 32")]
    {
        assert!(code.contains(of_a_large_model));
        code = code.replace(of_a_large_model, here);
    }
    let own = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap().to_owned();
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths([own].into_iter().chain(env::split_paths(&path))).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &code]).current_dir(playground.path("")).env("PATH", path);
    bash.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    let ran = playground.output(&mut bash, "").expect(0);
    let tables = ran.stdout.matches("questions").count();
    assert_eq!((tables, ran.stdout.matches("pairs").count()), (5, 1), "{}", ran.story);
}
