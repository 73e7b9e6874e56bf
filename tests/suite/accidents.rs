//! Nights that would embed everything anew by accident: a forgotten variable or option, another model at the same place. The run
//! stops and names both, and the index itself knows its model.

use std::fs;
use std::path::Path;

use crate::util::{Playground, Ran, jsonl, metadata, repository, rows};

const OUT: &str = "out.parquet";
const BUILD: [&str; 4] = ["build", "docs.jsonl", "-o", OUT];
const TEXTS: [&str; 3] =
    ["The parcel has left the office.", "A barometer measures pressure.", "今天天气很好。"];

fn playground() -> Playground {
    Playground::new().with("docs.jsonl", jsonl(TEXTS))
}

/// Copies the tiny model into a folder, with another graph as `model.onnx` if `graph` names one.
fn copy_model(folder: &Path, graph: &str) {
    let tiny = repository("fixtures/qwen3-tiny");
    fs::create_dir_all(folder.join("onnx")).unwrap();
    for entry in fs::read_dir(&tiny).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    for (from, to) in [(graph, "model.onnx"), ("weights.onnx_data", "weights.onnx_data")] {
        fs::copy(tiny.join("onnx").join(from), folder.join("onnx").join(to)).unwrap();
    }
}

/// Runs the binary as a job whose environment names no model and no hub that answers.
fn run_bare(playground: &Playground, arguments: &[&str]) -> Ran {
    let mut command = playground.command(arguments);
    command.env_remove("QWEN3_INDEX_MODEL").env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.env("HF_HUB_CACHE", playground.path("hub"));
    playground.output(&mut command, "")
}

/// Asserts that a run stops with these words, and that the output stays.
#[track_caller]
fn expect_stop(playground: &Playground, ran: Ran, before: &[u8], says: &[&str]) {
    let ran = ran.expect(1);
    says.iter().for_each(|part| _ = ran.says(part));
    assert!(ran.stderr.contains("--rebuild"), "{}", ran.story);
    assert!(fs::read(playground.path(OUT)).unwrap() == before, "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_knows_its_model_by_path() {
    let playground = playground();
    copy_model(&playground.path("models/tiny"), "model_f16.onnx");
    run_bare(&playground, &[&BUILD[..], &["--model", "models/tiny"]].concat()).expect(0);
    let path = playground.path("models/tiny");
    assert_eq!(metadata(&playground.path(OUT))["model"], path.to_str().unwrap());
    run_bare(&playground, &BUILD).expect(0).says("out.parquet is unchanged");
    let found = run_bare(&playground, &["search", OUT, TEXTS[1], "-k", "1", "--no-instruction"]).expect(0);
    assert!(found.stdout.contains(TEXTS[1]), "{}", found.story);

    // The folder is gone. Its name is no name on the hub, as a whole or in part.
    fs::rename(playground.path("models"), playground.path("moved")).unwrap();
    let gone = format!("model {}: the index was made with it, but it is not on this machine", path.display());
    for command in [&BUILD[..], &["search", OUT, "question"]] {
        run_bare(&playground, command).expect(1).says(&gone);
        let ran = run_bare(&playground, &[command, &["--model", "models/tiny"]].concat()).expect(1);
        ran.says(&format!("model models/tiny: is not here; the index was made with {}", path.display()));
    }
    // The same files at another place are the same model.
    let moved = [&BUILD[..], &["--model", "moved/tiny"]].concat();
    run_bare(&playground, &moved).expect(0).says("out.parquet is unchanged");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_knows_its_model_by_hub_name_and_commit() {
    let playground = playground();
    let [first, second] = ["1", "2"].map(|digit| digit.repeat(40));
    let cached = playground.path("hub/models--owner--name");
    copy_model(&cached.join("snapshots").join(&first), "model.onnx");
    copy_model(&cached.join("snapshots").join(&second), "model_f16.onnx");
    playground.write("hub/models--owner--name/refs/main", &first);
    let named = [&BUILD[..], &["--model", "owner/name"]].concat();
    run_bare(&playground, &named).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    assert_eq!(metadata(&playground.path(OUT))["model"], format!("hf:owner/name@{first}"));

    // The branch moves to another commit. The index stays with its own.
    playground.write("hub/models--owner--name/refs/main", &second);
    run_bare(&playground, &BUILD).expect(0).says("out.parquet is unchanged");
    run_bare(&playground, &["search", OUT, "question"]).expect(0);
    let made_with = format!("made with hf:owner/name@{first} (model.onnx)");
    let says = ["model owner/name (model.onnx): is not the model of output out.parquet", &made_with];
    expect_stop(&playground, run_bare(&playground, &named), &before, &says);
    run_bare(&playground, &[&named[..], &["--rebuild"]].concat()).expect(0);
    assert_eq!(metadata(&playground.path(OUT))["model"], format!("hf:owner/name@{second}"));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_model_in_the_cache_without_the_graph_of_the_old_output_is_another_model() {
    let playground = playground();
    playground.run(&[&BUILD[..], &["--model-file", "model_f16.onnx"]].concat()).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    let commit = "1".repeat(40);
    let cached = playground.path("hub/models--owner--name");
    copy_model(&cached.join("snapshots").join(&commit), "model.onnx");
    playground.write("hub/models--owner--name/refs/main", &commit);
    let offline = [&BUILD[..], &["--model", "owner/name", "--offline"]].concat();
    let says = ["model owner/name (model.onnx): is not the model of output out.parquet", "--rebuild"];
    expect_stop(&playground, run_bare(&playground, &offline), &before, &says);
    let missing = [&BUILD[..], &["--model", "owner/other", "--offline"]].concat();
    run_bare(&playground, &missing).expect(1).says("model owner/other: is not in the cache");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_empty_file_at_the_output_does_not_stop_the_first_build() {
    let playground = playground().with(OUT, "");
    playground.run(&BUILD).expect(3);
    assert_eq!(rows(&playground.path(OUT)).len(), TEXTS.len());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn another_model_embeds_nothing_anew_unless_rebuild_says_so() {
    let playground = playground();
    playground.run(&BUILD).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    let other = [&BUILD[..], &["--model-file", "model_f16.onnx"]].concat();
    let model = repository("fixtures/qwen3-tiny/onnx/model_f16.onnx");
    let says = format!("model {}: is not the model of output out.parquet (other weights; ", model.display());
    for more in [&[][..], &["--dry-run"], &["--allow-shrink", "--allow-empty"]] {
        expect_stop(
            &playground,
            playground.run(&[&other[..], more].concat()),
            &before,
            &[&says, "(model.onnx)"],
        );
    }
    // The rows of a damaged file are not used, but its footer still names the model.
    let mut damaged = before.clone();
    damaged[500] ^= 1;
    playground.write(OUT, &damaged);
    expect_stop(&playground, playground.run(&other), &damaged, &[&says]);
    playground.write(OUT, &before);
    playground.run(&[&other[..], &["--rebuild"]].concat()).expect(0);
    // From now on the index is one of the other graph, which no option has to name.
    playground.run(&BUILD).expect(0).says("out.parquet is unchanged");
    playground.run(&["search", OUT, "question"]).expect(0);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_forgotten_option_embeds_nothing_anew_and_a_named_one_does() {
    let playground = playground();
    for (option, other, says) in [
        (&["--dim", "40"][..], &["--dim", "64"][..], "the dimensions (40 before, now 64)"),
        (&["--max-tokens", "30"], &["--max-tokens", "40"], "the tokens per chunk (30 before, now 2048)"),
        (&["--instruction", "Find it"], &["--instruction", "Find that"], "the instruction"),
        (&["--chunks"], &[], "the rows (chunks before, now documents)"),
    ] {
        let _ = fs::remove_file(playground.path(OUT));
        playground.run(&[&BUILD[..], option].concat()).expect(0);
        let before = fs::read(playground.path(OUT)).unwrap();
        expect_stop(
            &playground,
            playground.run(&BUILD),
            &before,
            &["output out.parquet: was made with other settings", says],
        );
        if !other.is_empty() {
            let ran = playground.run(&[&BUILD[..], other].concat()).expect(0);
            let is_length = option[0] == "--max-tokens";
            ran.says(if is_length {
                "texts of several chunks are embedded again"
            } else {
                "all texts are embedded again"
            });
        }
        playground.run(&[&BUILD[..], &["--rebuild"]].concat()).expect(0);
        assert_eq!(rows(&playground.path(OUT)).len(), TEXTS.len());
    }
}

/// A second input gives every document another id, unless the run says how ids begin. Texts under other ids are still there.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_second_input_changes_no_id_with_a_prefix_that_is_said_and_warns_otherwise() {
    const CHANGED: &str = "warning: no document has its old id";
    let ids = |playground: &Playground| -> Vec<String> {
        rows(&playground.path(OUT)).into_iter().map(|row| row.id).collect()
    };
    let playground = Playground::new().with("u/b/z.md", "More");
    // Most texts occur twice.
    (0..6).for_each(|n| playground.write(&format!("u/a/{n}.md"), format!("The letter {}", n % 3)));
    let build = |inputs: &[&str], more: &[&str]| {
        playground
            .run(&[&["build"], inputs, &["-o", OUT, "--delta", "delta.parquet"], more].concat())
            .expect(0)
    };
    for (prefix, first) in [("always", "u/a/0.md"), ("never", "0.md")] {
        let _ = fs::remove_file(playground.path(OUT));
        build(&["u/a"], &["--id-prefix", prefix]);
        assert_eq!(ids(&playground)[0], first);
        let ran = build(&["u/a", "u/b"], &["--id-prefix", prefix]);
        ran.says("7 rows (1 added, 0 changed, 0 removed)");
        assert!(!ran.stderr.contains(CHANGED), "{}", ran.story);
    }
    // The texts are found even if no vector of the old output is used.
    for more in [&[][..], &["--rebuild"], &["--max-tokens", "100"], &["--rebuild", "--chunks"]] {
        let _ = fs::remove_file(playground.path(OUT));
        build(&["u/a"], &[]);
        let ran = build(&["u/a", "u/b"], more);
        ran.says(CHANGED).says("7 rows (7 added, 0 changed, 6 removed)");
        assert!(ids(&playground)[0].starts_with("u/a/0.md"), "{}", ran.story);
        let ran = build(&["u/a", "u/b"], more);
        assert!(!ran.stderr.contains(CHANGED), "{}", ran.story);
    }
    playground.write("u/b/0.md", "Another text");
    let ran =
        playground.run(&["build", "u/a", "u/b", "-o", "twice.parquet", "--id-prefix", "never"]).expect(3);
    ran.says("u/b/0.md: the id `0.md` is already used at u/a/0.md");
    playground
        .run(&["build", "u/a", "-o", OUT, "--id-prefix", "often"])
        .expect(2)
        .says("expected auto, always or never");
}

/// All documents have the same licence, so each document of another folder has a chunk of each document of the old one.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_shared_chunk_is_no_sign_of_a_document() {
    let playground = Playground::new();
    let licence = "This text may be copied by everybody who keeps this notice in each copy. ".repeat(4);
    let document = |name: &str, at: usize| {
        format!("{licence}\n\nThe {name} {at} has its own words, such as {name}{at}.\n")
    };
    for at in 0..10 {
        playground.write(&format!("docs/{at}.txt"), document("station", at));
    }
    let build = ["build", "docs", "-o", OUT, "--chunks", "--max-tokens", "64"];
    playground.run(&build).expect(0);
    let chunks = rows(&playground.path(OUT));
    assert!(chunks.len() >= 30 && chunks[0].text == chunks[chunks.len() / 10].text, "{}", chunks.len());
    fs::remove_dir_all(playground.path("docs")).unwrap();
    for at in 0..8 {
        playground.write(&format!("docs/other/{at}.txt"), document("repair", at));
    }
    playground.run(&build).expect(1).says("10 of the 10 documents of the old output are gone");
    // The same documents under other ids are not gone.
    fs::remove_dir_all(playground.path("docs")).unwrap();
    for at in 0..10 {
        playground.write(&format!("docs/first/{at}.txt"), document("station", at));
    }
    let says = "no document has its old id";
    playground.run(&[&build, &["--rebuild"][..]].concat()).expect(0).says(says);
    fs::rename(playground.path("docs/first"), playground.path("docs/second")).unwrap();
    playground.run(&build).expect(0).says(says);
}

/// A tokenizer is loaded when a text needs it. Its errors are those of the first build.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_tokenizer_that_does_not_fit_stops_the_first_night_that_needs_it() {
    let playground = playground();
    copy_model(&playground.path("m"), "model.onnx");
    let build = [&BUILD[..], &["--model", "m"]].concat();
    playground.run(&build).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    // The size of the vocabulary is not in the fingerprint of the index.
    let config = r#"{"model_type": "qwen3", "hidden_size": 64, "vocab_size": 500}"#;
    let right = fs::read(playground.path("m/config.json")).unwrap();
    playground.write("m/config.json", config);
    playground.run(&build).expect(0).says("out.parquet is unchanged");
    playground.write("docs.jsonl", jsonl([TEXTS[0], "A new text."]));
    let ran = playground.run(&build).expect(1);
    ran.says("tokenizer m/tokenizer.json: has 560 tokens, but the model has 500; ");
    assert!(fs::read(playground.path(OUT)).unwrap() == before, "{}", ran.story);

    // An argument that does not fit is found before the run begins.
    playground.write("m/config.json", right);
    let ran = playground.run(&[&build[..], &["--max-tokens", "10"]].concat()).expect(2);
    ran.says("--max-tokens 10: is too small");
    assert!(!ran.stderr.contains("embedded again"), "{}", ran.story);
    playground.run(&build).expect(0);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_damaged_tokenizer_is_told_as_damaged_and_not_as_another_model() {
    let playground = playground();
    copy_model(&playground.path("m"), "model.onnx");
    let build = [&BUILD[..], &["--model", "m"]].concat();
    playground.run(&build).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    let tokenizer = fs::read_to_string(playground.path("m/tokenizer.json")).unwrap();
    playground.write("m/tokenizer.json", &tokenizer[..tokenizer.len() / 2]);
    for arguments in [&build[..], &["search", OUT, "question", "--model", "m"]] {
        let ran = playground.run(arguments).expect(1);
        ran.says("tokenizer m/tokenizer.json: ")
            .says("; use the tokenizer.json from the model's own repository");
    }
    // A whole one with other content is another tokenizer.
    playground.write("m/tokenizer.json", tokenizer + "\n");
    expect_stop(&playground, playground.run(&build), &before, &["another tokenizer"]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_new_output_whose_name_hides_that_it_is_parquet_is_told() {
    let playground = playground();
    let says = "out.txt: is written as Parquet; other programs expect the name out.parquet";
    let build = ["build", "docs.jsonl", "-o", "out.txt"];
    playground.run(&build).expect(0).says(says);
    let again = playground.run(&build).expect(0);
    assert!(!again.stderr.contains("as Parquet"), "{}", again.story);
    playground.run(&BUILD).expect(0);
    let delta = [&BUILD[..], &["--delta", "delta.csv"]].concat();
    playground.run(&delta).expect(0).says("--delta delta.csv: is written as Parquet");
    playground.run(&["merge", OUT, "-o", "all.csv"]).expect(0).says("all.csv: is written as Parquet");
    for named in ["all.parquet", "all.PQ", "all"] {
        let ran = playground.run(&["merge", OUT, "-o", named]).expect(0);
        assert!(!ran.stderr.contains("as Parquet"), "{}", ran.story);
    }
}
