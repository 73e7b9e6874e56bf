//! A vector depends only on its text and the settings, and the file records those settings.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::util::{Playground, Row, cosine, golden, integers, jsonl, metadata, repository};

/// Writes texts of one chunk and of many, some of equal lengths.
fn mixed(playground: &Playground) {
    let mut texts: Vec<String> = golden().into_iter().map(|text| text.text).collect();
    let handbook = repository("fixtures/corpus/en/handbook/support-handbook.md");
    texts.insert(5, fs::read_to_string(handbook).unwrap());
    texts.push(texts.join("。"));
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
}

fn assert_same(rows: &[Row], others: &[Row], what: &str) {
    assert_eq!(rows.len(), others.len());
    for (row, other) in rows.iter().zip(others) {
        assert_eq!((&row.id, &row.text), (&other.id, &other.text));
        let cosine = cosine(&row.vector, &other.vector);
        assert!(cosine > 0.99999, "{what}: {cosine} for {}", row.id);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_vector_never_depends_on_its_neighbours() {
    let playground = Playground::new();
    mixed(&playground);
    for file in ["model.onnx", "model_quantized.onnx", "model_pooled.onnx"] {
        let build = |more: &[&str]| {
            playground.build("in.jsonl", &[&["--max-tokens", "100", "--model-file", file], more].concat())
        };
        let alone = build(&["--batch-tokens", "1"]);
        assert_same(&alone, &build(&[]), file);
        assert_same(&alone, &build(&["--batch-tokens", "60", "--threads", "1"]), file);
    }
}

/// The check at load time warns only if a model cannot be batched.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_model_that_cannot_be_batched_gives_one_warning() {
    let playground = Playground::new();
    playground.write("a.txt", "text");
    for (file, why) in [
        ("model_quantized.onnx", Some("changes with the other texts of its batch (cosine 0.9")),
        ("model_batch1.onnx", Some("the graph runs with one text at a time only")),
        ("model_pooled.onnx", None),
        ("model.onnx", None),
    ] {
        let ran =
            playground.run_anew(&["build", "a.txt", "-o", "out.parquet", "--model-file", file]).expect(0);
        let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("warning: ")).collect();
        assert_eq!(warnings.len(), usize::from(why.is_some()), "{}", ran.story);
        assert!(
            warnings.iter().all(|line| line.contains(why.unwrap()) && line.contains(file)),
            "{}",
            ran.story
        );
    }
}

/// Compares bit by bit.
#[test]
#[ignore = "needs what scripts/test installs"]
fn vectors_with_fewer_dimensions_are_truncated_and_normalized() {
    let playground = Playground::new();
    mixed(&playground);
    let full = playground.build("in.jsonl", &["--max-tokens", "100"]);
    for dim in [32, 33, 48, 64] {
        let small = playground.build("in.jsonl", &["--max-tokens", "100", "--dim", &dim.to_string()]);
        for (small, full) in small.iter().zip(&full) {
            assert_eq!(small.vector, normalized(&full.vector[..dim]), "{} at {dim}", full.id);
        }
    }
}

fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    // A vector of full width is normalized already; dividing again could change a last bit.
    if (length - 1.0).abs() < 1e-7 && vector.len() == 64 {
        return vector.to_vec();
    }
    vector.iter().map(|&x| (f64::from(x) / length) as f32).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_document_vector_is_the_weighted_mean_of_its_chunks_which_make_up_its_text() {
    let playground = Playground::new();
    mixed(&playground);
    let documents = playground.build("in.jsonl", &["--max-tokens", "100"]);
    let mut chunks = playground
        .build("in.jsonl", &["--max-tokens", "100", "--chunks", "--chunk-tokens", "100", "--context", "none"])
        .into_iter()
        .peekable();
    let mut tokens = integers(&playground.path("out.parquet"), "tokens").into_iter();
    let mut most = 0;
    for document in &documents {
        let (mut text, mut sum, mut count) = (String::new(), vec![0.0f32; 64], 0);
        while let Some(chunk) = chunks.next_if(|chunk| chunk.id == format!("{}#{count}", document.id)) {
            text.push_str(&chunk.text);
            let tokens = tokens.next().unwrap() as f32;
            sum.iter_mut().zip(&chunk.vector).for_each(|(sum, x)| *sum += tokens * x);
            count += 1;
        }
        most = most.max(count);
        let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
        assert_eq!(letters(&text), letters(&document.text));
        assert!(cosine(&sum, &document.vector) > 0.999_999, "{}", document.id);
    }
    assert_eq!(chunks.next(), None);
    assert!(most > 10, "the test needs a document of many chunks");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_file_records_what_its_vectors_depend_on() {
    let playground = Playground::new();
    playground.write("a.txt", "text");
    let of = |more: &[&str]| {
        playground.build("a.txt", more);
        metadata(&playground.path("out.parquet"))["fingerprint"].clone()
    };
    let plain = of(&[]);
    let tool = metadata(&playground.path("out.parquet"))["tool"].clone();
    assert_eq!(tool, concat!("qwen3-index ", env!("CARGO_PKG_VERSION")));
    assert_eq!(plain["model"]["pooling"], "lasttoken");
    assert_eq!(
        (&plain["dim"], &plain["max_tokens"], &plain["rows"]),
        (&64.into(), &2048.into(), &"documents".into())
    );
    assert_eq!(
        plain,
        of(&["--threads", "1", "--batch-tokens", "99"]),
        "the fingerprint must not depend on threads and batches"
    );
    for more in [
        &["--dim", "32"][..],
        &["--instruction", "x"],
        &["--max-tokens", "99"],
        &["--chunks"],
        &["--vector-type", "f16"],
        &["--vector-type", "i8"],
        &["--model-file", "model_external.onnx"],
        &["--model", repository("fixtures/bert-tiny").to_str().unwrap(), "--max-tokens", "64"],
    ] {
        assert_ne!(plain, of(more), "{more:?}");
    }
}

/// The digest of the weights covers external data.
#[test]
#[ignore = "needs what scripts/test installs"]
fn other_weights_in_external_data_change_the_fingerprint() {
    let playground = Playground::new();
    playground.write("a.txt", "text");
    let model = repository("fixtures/qwen3-tiny");
    for name in ["config.json", "tokenizer.json", "onnx/model_external.onnx"] {
        playground.write(&format!("model/{name}"), fs::read(model.join(name)).unwrap());
    }
    let mut weights = fs::read(model.join("onnx/model_external.onnx_data")).unwrap();
    let mut of = || {
        playground.write("model/onnx/model_external.onnx_data", &weights);
        playground.build("a.txt", &["--model", "model/onnx/model_external.onnx"]);
        weights[1] ^= 1;
        metadata(&playground.path("out.parquet"))["fingerprint"]["model"]["weights"].clone()
    };
    assert_ne!(of(), of());
}

/// With ten times the documents, peak memory grows by at most a tenth plus 128 bytes per document, which reuse needs.
#[test]
#[ignore = "needs what scripts/test installs"]
fn memory_does_not_grow_with_the_corpus() {
    let playground = Playground::new();
    let peak = |documents: usize| {
        let mut lines = String::new();
        for n in 0..documents {
            writeln!(lines, "{{\"text\":\"Document number {n} is about parcel {}.\"}}", n * 7919 % 1000)
                .unwrap();
        }
        playground.write("in.jsonl", lines);
        let _ = fs::remove_file(playground.path("out.parquet"));
        peak_kib(playground.command(&["build", "in.jsonl", "-o", "out.parquet", "-q"]))
    };
    let (small, large) = (peak(2_000), peak(20_000));
    println!("peak memory: {small} KiB with 2,000 documents, {large} KiB with 20,000");
    let known = 18_000.0 * 128.0 / 1024.0;
    assert!(large as f64 <= small as f64 * 1.1 + known, "{small} KiB, {large} KiB");
}

/// Returns the peak resident memory of a command in KiB. The command must succeed.
fn peak_kib(command: Command) -> u64 {
    let script = "import resource, subprocess, sys\n\
                  subprocess.run(sys.argv[1:], check=True)\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut python = Command::new("python3");
    python.arg("-c").arg(script).arg(command.get_program()).args(command.get_args());
    python.current_dir(command.get_current_dir().unwrap());
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
