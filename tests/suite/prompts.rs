//! The words that a model was trained to find before questions and documents, from `config_sentence_transformers.json`.

use serde_json::{Value, json};

use crate::util::{Playground, Row, jsonl, metadata, repository, rows};

const TEXTS: [&str; 2] = ["A station is returned by post.", "电池能用多久？"];

/// Returns a playground with the tiny model and these prompts in the folder `model`.
fn playground(prompts: &Value) -> Playground {
    let playground = Playground::new().with("in.jsonl", jsonl(TEXTS));
    for name in ["config.json", "tokenizer.json", "onnx/model.onnx"] {
        let content = std::fs::read(repository("fixtures/qwen3-tiny").join(name)).unwrap();
        playground.write(&format!("model/{name}"), content);
    }
    playground.write("model/config_sentence_transformers.json", json!({ "prompts": prompts }).to_string());
    playground
}

fn embedded(playground: &Playground, arguments: &[&str]) -> Value {
    let ran = playground.run(&[&["embed", "--model", "model"], arguments].concat()).expect(0);
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    line["vector"].clone()
}

fn vectors(rows: Vec<Row>) -> Vec<Vec<f32>> {
    rows.into_iter().map(|row| row.vector).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_and_questions_get_the_prompts_of_the_model() {
    let plain = playground(&json!({"query": "", "document": ""}));
    let e5 = playground(&json!({"query": "query: ", "passage": "passage: "}));
    let ran = e5.run(&["build", "in.jsonl", "-o", "out.parquet", "--model", "model"]).expect(0);
    ran.says("the model's own prompt \"passage: \" is put before each document");
    let with_prompt = jsonl(TEXTS.map(|text| format!("passage: {text}")).iter().map(String::as_str));
    plain.write("in.jsonl", with_prompt);
    let expected = vectors(plain.build("in.jsonl", &["--model", "model"]));
    assert_eq!(vectors(rows(&e5.path("out.parquet"))), expected);
    let fingerprint = &metadata(&e5.path("out.parquet"))["fingerprint"];
    assert_eq!((&fingerprint["prompt"], &fingerprint["instruction"]), (&json!("passage: "), &Value::Null));
    let inspected = e5.run(&["inspect", "out.parquet"]).expect(0);
    assert!(inspected.stdout.contains("prompt: \"passage: \""), "{}", inspected.story);

    let question = embedded(&plain, &["query: hello"]);
    assert_eq!(embedded(&e5, &["--query", "hello"]), question);
    assert_eq!(embedded(&e5, &["hello"]), embedded(&plain, &["passage: hello"]));
    // A search finds the document by the vector of the question with its prompt.
    let ran = e5.run(&["search", "out.parquet", "hello", "--model", "model", "--json"]).expect(0);
    let hits: Value = serde_json::from_str(&ran.stdout).unwrap();
    let plain_hits = plain
        .run(&["search", "out.parquet", "query: hello", "--model", "model", "--no-instruction", "--json"])
        .expect(0);
    let plain_hits: Value = serde_json::from_str(&plain_hits.stdout).unwrap();
    assert_eq!(hits["hits"][0]["score"], plain_hits["hits"][0]["score"]);

    // Another prompt makes other vectors.
    let other = json!({"prompts": {"passage": "text: "}}).to_string();
    e5.write("model/config_sentence_transformers.json", other);
    e5.run(&["build", "in.jsonl", "-o", "out.parquet", "--model", "model"]).expect(1).says(
        "was made with other settings, which no argument of this run changes: the prompt before each text",
    );
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_instruction_has_the_form_of_the_models_prompt() {
    let of_query = |prompt: &str| playground(&json!({ "query": prompt, "document": "" }));
    let question = |prompt: &str| embedded(&of_query(prompt), &["--query", "hello"]);
    let plain = of_query("");
    // Harrier has a space more than Qwen3-Embedding.
    let harrier = of_query("Instruct: Search\nQuery: ");
    let find = ["--instruction", "Find it", "hello"];
    assert_eq!(embedded(&plain, &find), question("Instruct: Find it\nQuery:"));
    assert_eq!(embedded(&harrier, &find), question("Instruct: Find it\nQuery: "));
    assert_ne!(embedded(&plain, &find), embedded(&harrier, &find));
    // Without a prompt in the file, a Qwen3 model gets the one of Qwen3-Embedding.
    let default =
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:";
    assert_eq!(embedded(&playground(&json!({})), &["--query", "hello"]), question(default));

    let build = ["build", "in.jsonl", "-o", "out.parquet", "--model", "model", "--instruction", "Find it"];
    for (playground, instruction, prompt) in [
        (&plain, json!("Find it"), Value::Null),
        (&harrier, Value::Null, json!("Instruct: Find it\nQuery: ")),
    ] {
        let ran = playground.run(&build).expect(0);
        assert!(!ran.stderr.contains("own prompt"), "{}", ran.story);
        let fingerprint = &metadata(&playground.path("out.parquet"))["fingerprint"];
        assert_eq!((&fingerprint["instruction"], &fingerprint["prompt"]), (&instruction, &prompt));
    }
}
