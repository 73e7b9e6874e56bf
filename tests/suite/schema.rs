//! The messages of ONNX in `src/model/export/schema.rs` are those of `onnx.proto` beside it, which is the official file of onnx
//! 1.23.2.
//!
//! `UPDATE_SCHEMA=1 cargo test --locked --test suite -- schema` generates them.

use std::env;
use std::fs;

use crate::util::repository;

#[test]
fn the_messages_of_onnx_are_generated_from_the_official_file() {
    let folder = repository("src/model/export");
    let generated = tempfile::tempdir().unwrap();
    let messages = protox::compile(["onnx.proto"], [&folder]).unwrap();
    let mut config = prost_build::Config::new();
    config.disable_comments(["."]).out_dir(generated.path()).compile_fds(messages).unwrap();
    let generated = fs::read_to_string(generated.path().join("onnx.rs")).unwrap();
    if env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(folder.join("schema.rs"), &generated).unwrap();
    }
    assert!(generated == fs::read_to_string(folder.join("schema.rs")).unwrap(), "run with UPDATE_SCHEMA=1");
}
