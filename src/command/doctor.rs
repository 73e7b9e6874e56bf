//! `doctor`: a model and a machine in, a line for each thing that vectors depend on out: well, doubtful or broken.

use std::fs;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use serde::Serialize;

use super::process::{Exit, printed};
use super::setup::model::{self, RETRIEVAL};
use crate::cli::DoctorArguments;
use crate::console::{DecimalBytes, HumanCount, LogFormat, shown, tokens_per_second};
use crate::model::{LoadedModel, Model, ModelFolder, Workload, external_data};
use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, embed};
use crate::vector::embedding::Embedding;

/// Tokens of a text by which the speed is measured.
const SPEED_TOKENS: usize = 512;

/// For so long.
const SPEED_TIME: Duration = Duration::from_secs(2);

/// From the model card of Qwen3-Embedding-0.6B: questions, documents, and their similarities.
const QUESTIONS: [&str; 2] = ["What is the capital of China?", "Explain gravity"];
const DOCUMENTS: [&str; 2] = [
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is responsible for the movement of planets around the sun.",
];
const SIMILARITIES: [[f64; 2]; 2] = [[0.7646, 0.1414], [0.1355, 0.6000]];

/// A document, and the first numbers of its vector in fp32.
const HELLO: (&str, [f32; 5]) = ("hello world", [-0.01476, 0.01723, -0.01195, -0.07275, 0.00281]);

/// In fp32 the card's values come out to their last digit; 8 bits cost a few hundredths.
const SIMILARITY_TOLERANCE: f64 = 0.001;
const SIMILARITY_BROKEN: f64 = 0.05;

/// With which Git LFS begins what stands for a file.
const LFS: &[u8] = b"version https://git-lfs";

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failure,
}

/// What has been found out about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: Verdict,
    detail: String,
}

/// What has been found out so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

pub fn run(arguments: &DoctorArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let mut findings = Findings::default();
    // What comes after a failure cannot be looked at; the failure says what to do.
    if let Err((what, error)) = examine(arguments, format, &mut findings) {
        findings.add(what, Verdict::Failure, format!("{error:#}"));
    }
    printed(findings.print(arguments.json, &mut io::stdout().lock()))?;
    let is_broken = findings.0.iter().any(|finding| finding.state == Verdict::Failure);
    Ok(if is_broken { Exit::Failed } else { Exit::Done })
}

fn examine(
    arguments: &DoctorArguments,
    format: LogFormat,
    findings: &mut Findings,
) -> Result<(), (&'static str, anyhow::Error)> {
    let model = model::open(&arguments.model, None, Some(format)).map_err(|e| ("model", e))?;
    findings.files(&model.folder).map_err(|e| ("model", e))?;
    findings.tokenizer(&model);
    findings.pooling(&model.folder).map_err(|e| ("pooling", e))?;
    let tokenizer = model.tokenizer.clone();
    let max_tokens = model::max_tokens(None, &model, &tokenizer).map_err(|e| ("tokenizer", e))?;
    let texts = Workload { max_tokens, batch_tokens: None, prefix: Vec::new() };
    let mut loaded = model.load(&model::resources(&arguments.model), &texts).map_err(|e| ("runtime", e))?;
    findings.runtime(&loaded);
    findings.graph(&loaded);
    findings.batching(&loaded);
    findings.reference(&model, &mut loaded).map_err(|e| ("reference", e))?;
    findings.speed(&mut loaded, max_tokens).map_err(|e| ("speed", e))
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

    /// Downloads that were not finished, and clones without Git LFS.
    fn files(&mut self, folder: &ModelFolder) -> anyhow::Result<()> {
        let graph = folder.onnx.display();
        let start = fs::File::open(&folder.onnx).and_then(|file| {
            let mut start = Vec::new();
            file.take(LFS.len() as u64).read_to_end(&mut start).map(|_| start)
        });
        ensure!(
            start.with_context(|| graph.to_string())? != LFS,
            "{graph}: is only a pointer of Git LFS; get the file itself, with `git lfs pull` or `qwen3-index model pull`"
        );
        let mut bytes = folder.onnx.metadata()?.len();
        for name in external_data(&folder.onnx)? {
            let path = folder.onnx.with_file_name(&name);
            let data = path.metadata().map_err(|e| {
                anyhow!("{}, which {graph} has its weights in: {e}; download it too", path.display())
            })?;
            bytes += data.len();
        }
        self.ok("model", format!("{graph}, {}", DecimalBytes(bytes)));
        Ok(())
    }

    fn tokenizer(&mut self, model: &Model) {
        let path = model.folder.tokenizer.display();
        let ids = HumanCount(model.tokenizer.vocabulary() as u64);
        match (model.folder.end_token(), model.tokenizer.appends_end_token()) {
            (Some(end), false) => self.warn(
                "tokenizer",
                format!("{path}: leaves out {end}, which must end each text; this tool appends it, other programs will not: take the tokenizer.json of the model's own repository"),
            ),
            (Some(end), true) => self.ok("tokenizer", format!("{path}: {ids} tokens, ends each text with {end}")),
            (None, _) => self.ok("tokenizer", format!("{path}: {ids} tokens")),
        }
    }

    fn pooling(&mut self, folder: &ModelFolder) -> anyhow::Result<()> {
        let pooling = folder.pooling()?;
        match folder.stray_pooling()? {
            Some(path) => self.warn(
                "pooling",
                format!("{pooling}; {} says otherwise, which is wrong for {}: this tool takes no notice, other programs will", path.display(), folder.architecture()),
            ),
            None => self.ok("pooling", pooling.to_string()),
        }
        Ok(())
    }

    fn runtime(&mut self, loaded: &LoadedModel) {
        let providers = loaded.providers().join(", ");
        self.ok("runtime", format!("{}, built for {providers}", loaded.library.display()));
        let cpu_reason = loaded.cpu_reason().map_or(String::new(), |reason| format!(" ({reason})"));
        self.ok("device", format!("{}{cpu_reason}", loaded.device()));
    }

    fn graph(&mut self, loaded: &LoadedModel) {
        let Some(embedder) = loaded.embedders.first() else { return };
        let variant = embedder
            .export()
            .map_or(String::new(), |export| format!("; this tool's {} variant", export.variant));
        let (inputs, output) = (embedder.inputs().join(", "), embedder.output());
        self.ok("graph", format!("{inputs} in, {output} out, {} numbers{variant}", embedder.width()));
    }

    fn batching(&mut self, loaded: &LoadedModel) {
        let Some(embedder) = loaded.embedders.first() else { return };
        let how = match loaded.probe.batching() {
            Batching::Rounded | Batching::AnyLengths => "texts of any lengths go together",
            Batching::EqualLengths => "texts of equal lengths go together",
            Batching::Alone => "each text goes alone",
        };
        let budget = HumanCount(embedder.batch_tokens() as u64);
        match loaded.warning() {
            Some(warning) => self.warn("batching", warning),
            None => self.ok("batching", format!("{how}, up to {budget} tokens at once")),
        }
    }

    /// The values of the model card, where the model is the one.
    fn reference(&mut self, model: &Model, loaded: &mut LoadedModel) -> anyhow::Result<()> {
        if !model.folder.has_shape_of_0_6b() {
            self.ok("reference", "none is published for this model".to_owned());
            return Ok(());
        }
        let questions = vectors(loaded, &model.tokenizer.with_instruction(RETRIEVAL)?, &QUESTIONS)?;
        let documents = vectors(loaded, &model.tokenizer, &DOCUMENTS)?;
        let similarity = |(question, document): (usize, usize)| {
            (questions[question].cosine(&documents[document]) - SIMILARITIES[question][document]).abs()
        };
        let worst = [(0, 0), (0, 1), (1, 0), (1, 1)].map(similarity).into_iter().fold(0.0, f64::max);
        let hello = vectors(loaded, &model.tokenizer, &[HELLO.0])?;
        let off = hello[0].values().iter().zip(HELLO.1).map(|(here, there)| (here - there).abs());
        let off = off.fold(0.0, f32::max);
        let detail = format!(
            "similarities are at most {worst:.4} from those of the model card, the first numbers of {:?} {off:.4} from those of fp32",
            HELLO.0
        );
        match worst {
            _ if worst <= SIMILARITY_TOLERANCE => self.ok("reference", detail),
            _ if worst <= SIMILARITY_BROKEN => self.warn(
                "reference",
                format!("{detail}: what fewer bits cost; fp32 comes within {SIMILARITY_TOLERANCE}"),
            ),
            _ => self.warn(
                "reference",
                format!("{detail}: if this is Qwen3-Embedding-0.6B itself, take another export; a model that was trained on from it differs"),
            ),
        }
        Ok(())
    }

    fn speed(&mut self, loaded: &mut LoadedModel, max_tokens: usize) -> anyhow::Result<()> {
        let length = SPEED_TOKENS.min(max_tokens);
        let embedder = loaded.embedders.first_mut().context("a model without a device")?;
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
        self.ok("speed", format!("{speed}, {together} texts of {length} tokens at once"));
        Ok(())
    }

    fn print(&self, is_json: bool, out: &mut impl Write) -> io::Result<()> {
        if is_json {
            serde_json::to_writer_pretty(&mut *out, &self.0)?;
            return writeln!(out);
        }
        for Finding { what, state, detail } in &self.0 {
            let state = match state {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failure => "FAILURE",
            };
            writeln!(out, "{state:>7}  {what:<10} {}", shown(detail))?;
        }
        Ok(())
    }
}

fn vectors(
    loaded: &mut LoadedModel,
    tokenizer: &Tokenizer,
    texts: &[&str],
) -> anyhow::Result<Vec<Embedding>> {
    let embedder = loaded.embedders.first_mut().context("a model without a device")?;
    let mut vectors = Vec::new();
    for text in texts {
        let batch = Batch::new(vec![(ChunkKey { document: 0, chunk: 0 }, tokenizer.encode(text)?)]);
        for (_, vector) in embed(embedder, &batch)? {
            vectors.push(vector?);
        }
    }
    Ok(vectors)
}
