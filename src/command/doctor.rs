//! `doctor`: checks each thing that vectors depend on, and prints one finding per check and a verdict.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use serde::Serialize;

use super::advice::explained_run;
use super::process::{Exit, printed};
use super::setup::inputs::this_program;
use super::setup::locate::{self, DefaultGraph};
use super::setup::model;
use super::terminal::Screen;
use crate::cli::DoctorArguments;
use crate::console::{DecimalBytes, HumanCount, LogFormat, counted, shown, tokens_per_second};
use crate::model::export::{self, Quality};
use crate::model::prompts::{RETRIEVAL, instruct};
use crate::model::{
    Device, DeviceChoice, LoadedModel, Model, ModelFolder, Precision, Preparation, Workload, external_data,
    load_runtime, providers,
};
use crate::source::{Confinement, confinement};
use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, embed};
use crate::vector::embedding::Embedding;

/// The number of tokens of each text that the speed is measured with.
const SPEED_TOKENS: usize = 512;

/// How long the speed is measured.
const SPEED_TIME: Duration = Duration::from_secs(2);

/// The width of the state and the name before the detail of a finding, in columns.
const DETAIL_INDENT: usize = 20;

/// Questions, documents and their similarities, from the model card of Qwen3-Embedding-0.6B.
const QUESTIONS: [&str; 2] = ["What is the capital of China?", "Explain gravity"];
const DOCUMENTS: [&str; 2] = [
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is responsible for the movement of planets around the sun.",
];
const SIMILARITIES: [[f64; 2]; 2] = [[0.7646, 0.1414], [0.1355, 0.6000]];

/// A text, and the first five dimensions of the vector that an fp32 export returns for this text.
const HELLO: (&str, [f32; 5]) = ("hello world", [-0.01476, 0.01723, -0.01195, -0.07275, 0.00281]);

/// An export passes as exact if its similarities differ from the model card by at most this much. An fp32 export agrees with
/// the model card to the last digit.
const SIMILARITY_TOLERANCE: f64 = 0.001;

/// Quantization can explain a difference of at most this much between the similarities and the model card. With 8 bits,
/// similarities differ by a few hundredths.
const SIMILARITY_BROKEN: f64 = 0.05;

/// The lowest mean cosine to the vectors in fp32 that is not worth a warning.
const QUALITY_MIN: f64 = 0.995;

/// The first bytes of a Git LFS pointer file.
const LFS: &[u8] = b"version https://git-lfs";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failure,
}

/// The result of one check, and what to do about a problem.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: Verdict,
    detail: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

pub fn run(arguments: &DoctorArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let mut findings = Findings::default();
    examine(arguments, format, &mut findings);
    findings.workers();
    let mut out = io::stdout().lock();
    printed(match arguments.json {
        true => findings.print_json(&mut out),
        false => findings.print(Screen::stdout(), &mut out),
    })?;
    Ok(if findings.names(Verdict::Failure).is_empty() { Exit::Done } else { Exit::Failed })
}

/// Runs the checks. After a failed check, skips only the checks that depend on it.
fn examine(arguments: &DoctorArguments, format: LogFormat, findings: &mut Findings) {
    let located = locate::open(&arguments.model, DefaultGraph::Model, Some(format));
    let opened = located.and_then(|located| Ok((located.model.tokenizer()?.clone(), located.model)));
    let (tokenizer, model) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            findings.failure("model", &error);
            return findings.runtime_alone(arguments);
        }
    };
    let has_files = findings.files(&model.folder);
    findings.tokenizer(&model.folder, &tokenizer);
    let max_tokens = max_tokens(&model, &tokenizer).unwrap_or_else(|error| {
        findings.failure("tokenizer", &error);
        SPEED_TOKENS
    });
    if !has_files {
        return findings.runtime_alone(arguments);
    }
    let texts = || Ok(Workload::of_many(max_tokens, Vec::new()));
    let mut loaded = match model.load(&model::resources(&arguments.model), Preparation::Full, &texts) {
        Ok(loaded) => loaded,
        Err(error) => return findings.not_loaded(arguments, &error),
    };
    findings.pooling(&model.folder, &loaded);
    findings.runtime(loaded.library);
    let cpu_reason =
        loaded.cpu_reason().map_or(String::new(), |reason| format!(" ({})", explained_run(reason.error())));
    findings.ok("device", format!("{}{cpu_reason}", loaded.device()));
    findings.graph(&model, &loaded);
    findings.batching(&loaded);
    if let Err(error) = findings.reference(&model.folder, &tokenizer, &mut loaded) {
        findings.failure("reference", &error);
    }
    if arguments.quality
        && let Err(error) = findings.quality(arguments, &model, &tokenizer, &mut loaded, format)
    {
        findings.failure("quality", &error);
    }
    if let Err(error) = findings.speed(&mut loaded, max_tokens) {
        findings.failure("speed", &error);
    }
}

/// Returns the limit on tokens per chunk, which leaves room for text.
fn max_tokens(model: &Model, tokenizer: &Tokenizer) -> anyhow::Result<usize> {
    let max_tokens = model::max_tokens(None, model)?;
    model::check_room(tokenizer, max_tokens, "--max-tokens")?;
    Ok(max_tokens)
}

impl Findings {
    fn add(&mut self, what: &'static str, state: Verdict, detail: String) {
        self.0.push(Finding { what, state, detail });
    }

    fn ok(&mut self, what: &'static str, detail: String) {
        self.add(what, Verdict::Ok, detail);
    }

    fn warn(&mut self, what: &'static str, detail: String) {
        self.add(what, Verdict::Warning, detail);
    }

    fn failure(&mut self, what: &'static str, error: &anyhow::Error) {
        self.add(what, Verdict::Failure, explained_run(error));
    }

    /// Returns the names of the findings with this verdict, in the order of the checks.
    fn names(&self, state: Verdict) -> Vec<&'static str> {
        self.0.iter().filter(|finding| finding.state == state).map(|finding| finding.what).collect()
    }

    /// Checks that the graph and its weights exist and can be read. Returns whether the check passed.
    fn files(&mut self, folder: &ModelFolder) -> bool {
        match bytes(folder) {
            Ok(bytes) => self.ok("model", format!("{}, {}", folder.onnx.display(), DecimalBytes(bytes))),
            Err(ref error) => {
                self.failure("model", error);
                return false;
            }
        }
        true
    }

    fn tokenizer(&mut self, folder: &ModelFolder, tokenizer: &Tokenizer) {
        let path = folder.tokenizer.display();
        let ids = HumanCount(tokenizer.vocabulary() as u64);
        match (folder.end_token(), tokenizer.appends_end_token()) {
            (Some(end), false) => self.warn(
                "tokenizer",
                format!("{path}: does not append {end}, which must end each text; this tool appends the token, but other programs will not; use the tokenizer.json of the model's own repository"),
            ),
            (Some(end), true) => self.ok("tokenizer", format!("{path}: {ids} tokens, ends each text with {end}")),
            (None, _) => self.ok("tokenizer", format!("{path}: {ids} tokens")),
        }
    }

    fn pooling(&mut self, folder: &ModelFolder, loaded: &LoadedModel) {
        if let Some(warning) = loaded.head_warning() {
            return self.warn("pooling", warning);
        }
        let Some(pooling) = loaded.fingerprint.pooling else {
            return self.ok("pooling", "by the graph".to_owned());
        };
        match folder.stray_pooling() {
            Ok(None) => self.ok("pooling", pooling.to_string()),
            Ok(Some(path)) => self.warn(
                "pooling",
                format!("{pooling}; {} names another pooling, which is wrong for {}; this tool ignores that file, but other programs will use the file", path.display(), folder.architecture()),
            ),
            Err(error) => self.failure("pooling", &error),
        }
    }

    fn runtime(&mut self, library: &Path) {
        self.ok("runtime", format!("{}, built for {}", library.display(), providers().join(", ")));
    }

    /// Checks ONNX Runtime without a model.
    fn runtime_alone(&mut self, arguments: &DoctorArguments) {
        match load_runtime(&arguments.model.device) {
            Ok(library) => self.runtime(library),
            Err(error) => self.failure("runtime", &error),
        }
    }

    /// Adds a failure for a model that could not be loaded. The cause is ONNX Runtime or the graph.
    fn not_loaded(&mut self, arguments: &DoctorArguments, error: &anyhow::Error) {
        match load_runtime(&arguments.model.device) {
            Ok(library) => {
                self.runtime(library);
                self.failure("graph", error);
            }
            Err(_) => self.failure("runtime", error),
        }
    }

    fn graph(&mut self, model: &Model, loaded: &LoadedModel) {
        let Some(embedder) = loaded.embedders.first() else { return };
        let variant = embedder
            .export()
            .map_or(String::new(), |export| format!("; this tool's {} variant", export.variant));
        let (inputs, output) = (embedder.inputs().join(", "), embedder.output());
        let width = HumanCount(embedder.width() as u64);
        let quality = Quality::stored_in(&model.folder.onnx);
        let quality = quality.map_or(String::new(), |quality| format!("; when it was exported, {quality}"));
        self.ok("graph", format!("inputs {inputs}; output {output}, {width} dimensions{variant}{quality}"));
    }

    fn batching(&mut self, loaded: &LoadedModel) {
        let Some(embedder) = loaded.embedders.first() else { return };
        let batching = loaded.probe.map_or(Batching::Alone, |probe| probe.batching());
        let budget = HumanCount(embedder.batch_tokens() as u64);
        match loaded.batching_warning() {
            Some(warning) => self.warn("batching", warning),
            None => self.ok("batching", format!("batches of {batching}, up to {budget} tokens per batch")),
        }
    }

    /// Compares vectors with the model card of Qwen3-Embedding-0.6B. Skips the comparison for a model of another shape.
    fn reference(
        &mut self,
        folder: &ModelFolder,
        tokenizer: &Tokenizer,
        loaded: &mut LoadedModel,
    ) -> anyhow::Result<()> {
        if !folder.has_shape_of_0_6b() {
            self.ok("reference", "no published values for this model".to_owned());
            return Ok(());
        }
        let questions = vectors(loaded, &tokenizer.with_prompt(&instruct(RETRIEVAL))?, &QUESTIONS)?;
        let documents = vectors(loaded, tokenizer, &DOCUMENTS)?;
        let similarity = |(question, document): (usize, usize)| {
            (questions[question].cosine(&documents[document]) - SIMILARITIES[question][document]).abs()
        };
        let worst = [(0, 0), (0, 1), (1, 0), (1, 1)].map(similarity).into_iter().fold(0.0, f64::max);
        let hello = vectors(loaded, tokenizer, &[HELLO.0])?;
        let off = hello[0].values().iter().zip(HELLO.1).map(|(here, there)| (here - there).abs());
        let off = off.fold(0.0, f32::max);
        let detail = format!(
            "similarities differ from the model card by at most {worst:.4}; the first numbers of the vector of {:?} differ from fp32 by at most {off:.4}",
            HELLO.0
        );
        match worst {
            _ if worst <= SIMILARITY_TOLERANCE => self.ok("reference", detail),
            _ if worst <= SIMILARITY_BROKEN => self.warn(
                "reference",
                format!("{detail}; this is normal for a quantized export, but an fp32 export differs by less than {SIMILARITY_TOLERANCE}"),
            ),
            _ => self.warn(
                "reference",
                format!("{detail}; this is normal for a fine-tuned model, but for Qwen3-Embedding-0.6B itself, use another export"),
            ),
        }
        Ok(())
    }

    /// Compares the vectors of the built-in texts with those in fp32: of the model's weights, or of the fp32 export beside the
    /// export in use.
    fn quality(
        &mut self,
        arguments: &DoctorArguments,
        model: &Model,
        tokenizer: &Tokenizer,
        loaded: &mut LoadedModel,
        format: LogFormat,
    ) -> anyhow::Result<()> {
        let embedder = loaded.embedders.first_mut().context("the model has no device")?;
        let forward = |batch: &Batch| embedder.forward(batch);
        let fp32 = model.folder.onnx.with_file_name(Precision::Fp32.file_name());
        let quality = if let Some(weights) = locate::weights(&arguments.model, format)? {
            export::measure(&weights.path, tokenizer, forward)?
        } else if fp32 != model.folder.onnx && fp32.is_file() {
            let exact = Model::open(&fp32, None, DeviceChoice::Only(Device::Cpu))?;
            let texts = || Ok(Workload::of_many(SPEED_TOKENS, Vec::new()));
            let mut exact = exact.load(&model::resources(&arguments.model), Preparation::Full, &texts)?;
            let exact = exact.embedders.first_mut().context("the model has no device")?;
            export::measure_against(|batch| exact.forward(batch), tokenizer, forward)?
        } else {
            self.warn(
                "quality",
                format!(
                    "no weights in fp32 to compare with: neither the model's own repository nor {}",
                    fp32.display()
                ),
            );
            return Ok(());
        };
        match quality.mean >= QUALITY_MIN {
            true => self.ok("quality", quality.to_string()),
            false => self.warn("quality", format!("{quality}; use another export of the model")),
        }
        Ok(())
    }

    fn speed(&mut self, loaded: &mut LoadedModel, max_tokens: usize) -> anyhow::Result<()> {
        let length = SPEED_TOKENS.min(max_tokens);
        let embedder = loaded.embedders.first_mut().context("the model has no device")?;
        let together = if embedder.batching() == Batching::Alone {
            1
        } else {
            (embedder.batch_tokens() / length).max(1)
        };
        let text = |document| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![1; length]));
        let batch = Batch::new((0..together).map(text).collect());
        let started = Instant::now();
        let mut tokens = 0;
        while started.elapsed() < SPEED_TIME {
            embed(embedder, &batch)?;
            tokens += batch.tokens();
        }
        let speed = tokens_per_second(tokens as f64 / started.elapsed().as_secs_f64());
        let texts = counted(together as u64, "text");
        self.ok("speed", format!("{speed}, {texts} of {length} tokens per batch"));
        Ok(())
    }

    /// Checks how the kernel confines the processes that read documents. An old kernel or a container may not be able to.
    fn workers(&mut self) {
        match this_program().and_then(|program| Ok(confinement(&program)?)) {
            Ok(Confinement { seccomp: true, .. }) => {
                let detail = "processes that read documents can open neither files nor sockets";
                self.ok("workers", detail.to_owned());
            }
            Ok(Confinement { seccomp: false, landlock }) => {
                let left = if landlock { "only Landlock confines" } else { "nothing but limits confines" };
                self.warn("workers", format!("{left} the processes that read documents, because the kernel or the container has no seccomp filters; read documents from strangers elsewhere"));
            }
            Err(error) => self.failure("workers", &error),
        }
    }

    fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &self.0)?;
        writeln!(out)
    }

    fn print(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        for Finding { what, state, detail } in &self.0 {
            let state = match state {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failure => "FAILURE",
            };
            let head = format!("{state:>7}  {what:<10} ");
            screen.write(out, &head, DETAIL_INDENT, &shown(detail))?;
        }
        writeln!(out)?;
        screen.write(out, "", 0, &self.verdict())
    }

    fn verdict(&self) -> String {
        let (failures, warnings) = (self.names(Verdict::Failure), self.names(Verdict::Warning));
        let named = |names: &[&str], noun: &str| {
            format!("{} ({})", counted(names.len() as u64, noun), names.join(", "))
        };
        match (&failures[..], &warnings[..]) {
            ([], []) => "ready".to_owned(),
            ([], warnings) => format!("ready, with {}", named(warnings, "warning")),
            (failures, []) => format!("not ready: {}", named(failures, "failure")),
            (failures, warnings) => {
                format!("not ready: {}, {}", named(failures, "failure"), named(warnings, "warning"))
            }
        }
    }
}

/// Returns the total size of the graph and its weights, in bytes. Fails if the graph is a Git LFS pointer, or if a file is
/// missing.
fn bytes(folder: &ModelFolder) -> anyhow::Result<u64> {
    let graph = folder.onnx.display();
    let start = fs::File::open(&folder.onnx).and_then(|file| {
        let mut start = Vec::new();
        file.take(LFS.len() as u64).read_to_end(&mut start).map(|_| start)
    });
    let start = start.map_err(|e| anyhow!("{graph}: cannot be read: {e}; check its permissions"))?;
    ensure!(
        start != LFS,
        "{graph}: is only a Git LFS pointer; get the file itself with `git lfs pull` or `qwen3-index model pull`"
    );
    let mut bytes = folder.onnx.metadata()?.len();
    for name in external_data(&folder.onnx)? {
        let path = folder.onnx.with_file_name(&name);
        let data = path.metadata().map_err(|e| {
            anyhow!(
                "{}: contains weights of {graph}, but cannot be read: {e}; download this file too",
                path.display()
            )
        })?;
        bytes += data.len();
    }
    Ok(bytes)
}

fn vectors(
    loaded: &mut LoadedModel,
    tokenizer: &Tokenizer,
    texts: &[&str],
) -> anyhow::Result<Vec<Embedding>> {
    let embedder = loaded.embedders.first_mut().context("the model has no device")?;
    let mut vectors = Vec::new();
    for text in texts {
        let batch = Batch::new(vec![(ChunkKey { document: 0, chunk: 0 }, tokenizer.encode(text)?)]);
        for (_, vector) in embed(embedder, &batch)? {
            vectors.push(vector?);
        }
    }
    Ok(vectors)
}
