//! The model of a run. If the old index was made with the same model, tokenizer and graph are loaded only when a text has to be
//! embedded.

use std::mem;
use std::path::Path;
use std::sync::Arc;

use anyhow::{bail, ensure};

use crate::cli::BuildArguments;
use crate::command::process::TOOL;
use crate::command::setup::locate::LocatedModel;
use crate::command::setup::model;
use crate::console::{Phase, Reporter, debug};
use crate::index::Metadata;
use crate::model::{LoadedModel, Model, ModelFingerprint, Preparation, Resources, Workload};
use crate::pipeline::LoadTokenizer;
use crate::text::tokenize::Tokenizer;

/// A model with a known fingerprint. The model is loaded only when it is needed.
pub struct LazyModel {
    /// The name of the model in messages.
    pub name: String,
    /// `hf:OWNER/NAME@COMMIT`, or an absolute path.
    pub source: String,
    pub texts: Texts,
    resources: Resources,
    state: ModelState,
}

/// What the model needs to turn texts into chunks.
#[derive(Clone)]
pub struct Texts {
    pub model: Arc<Model>,
    /// The words that are put before each text.
    pub prompt: String,
    /// Limit on the tokens of a chunk, special tokens included.
    pub max_tokens: usize,
    /// The option that sets this limit, for messages.
    option: &'static str,
    /// Limit on the tokens of a batch, padding included; `None` for the default of the device.
    pub batch_tokens: Option<usize>,
}

impl Texts {
    /// Returns the tokenizer with the prompt.
    fn tokenizer(&self) -> anyhow::Result<Tokenizer> {
        let tokenizer = self.model.tokenizer()?.with_prompt(&self.prompt)?;
        model::check_room(&tokenizer, self.max_tokens, self.option)?;
        Ok(tokenizer)
    }

    fn workload(&self) -> anyhow::Result<Workload> {
        let workload = model::workload(&self.tokenizer()?, self.max_tokens)?;
        Ok(Workload { batch_tokens: self.batch_tokens, ..workload })
    }
}

enum ModelState {
    /// The model is not loaded: the fingerprint was found without loading the model, or [`LazyModel::load`] has already
    /// returned the loaded model.
    Known(ModelFingerprint),
    Loaded(Box<LoadedModel>),
}

impl LazyModel {
    /// Checks the arguments against the model. `before` is the metadata of the old index. Loads the model right away if there is
    /// no old index. `name` is the name of the model in messages.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or an argument does not fit the model. The old index was made with another model.
    pub fn new(
        arguments: &BuildArguments,
        located: LocatedModel,
        name: String,
        before: Option<&Metadata>,
        reporter: &Reporter,
    ) -> anyhow::Result<Self> {
        let known = match before {
            Some(before) => {
                reporter.enter(Phase::CheckingModel);
                same_model(before, &located, &name, &arguments.output)?
            }
            None => None,
        };
        let LocatedModel { model, source, .. } = located;
        let resources = model::resources(&arguments.model);
        let instruction = arguments.instruction.as_deref();
        let prompt = model::document_prompt(&model, instruction)?;
        if let Some(message) = model::about_prompt(&prompt, instruction) {
            reporter.info(&message);
        }
        let max_tokens = model::max_tokens(arguments.max_tokens, &model)?;
        let (max_tokens, option) = if arguments.chunks {
            (model::chunk_tokens(arguments.chunk_tokens, max_tokens)?, "--chunk-tokens")
        } else {
            (max_tokens, "--max-tokens")
        };
        let batch_tokens = arguments.batch_tokens.map(|tokens| tokens as usize);
        let texts = Texts { model: Arc::new(model), prompt, max_tokens, option, batch_tokens };
        let state = match known {
            Some(fingerprint) => {
                debug(|| {
                    "model: is the one of the old output, so it is loaded only if a text has to be embedded"
                        .to_owned()
                });
                ModelState::Known(fingerprint)
            }
            None => {
                reporter.enter(Phase::LoadingModel);
                ModelState::Loaded(Box::new(load(&texts, &resources)?))
            }
        };
        Ok(LazyModel { name, source, texts, resources, state })
    }

    /// Returns the fingerprint of the model's files.
    pub fn fingerprint(&self) -> &ModelFingerprint {
        match &self.state {
            ModelState::Known(fingerprint) => fingerprint,
            ModelState::Loaded(loaded) => &loaded.fingerprint,
        }
    }

    /// Returns the function that loads the tokenizer with the prompt.
    pub fn tokenizer(&self) -> LoadTokenizer {
        let (texts, name) = (self.texts.clone(), self.name.clone());
        let expected = self.fingerprint().tokenizer.clone();
        Box::new(move || {
            let tokenizer = texts.tokenizer()?;
            // The file may have changed since its digest was taken.
            ensure!(
                texts.model.tokenizer_digest()? == expected,
                "model {name}: has changed during this run; run again"
            );
            Ok(tokenizer)
        })
    }

    /// Returns the loaded model. Loads the model if the model is not loaded yet.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or the device cannot run the model.
    pub fn load(&mut self) -> anyhow::Result<LoadedModel> {
        let known = ModelState::Known(self.fingerprint().clone());
        match mem::replace(&mut self.state, known) {
            ModelState::Loaded(loaded) => Ok(*loaded),
            ModelState::Known(_) => load(&self.texts, &self.resources),
        }
    }
}

fn load(texts: &Texts, resources: &Resources) -> anyhow::Result<LoadedModel> {
    texts.model.load(resources, Preparation::Full, &|| texts.workload())
}

/// Returns the fingerprint of the model if the old index was made with the same model. Another model would embed all texts again
/// and make questions of the old model find nothing, so a forgotten variable must not be enough for that. Returns `None` if only
/// the version of this tool is another one, which exports the same weights to another graph.
///
/// # Errors
/// The old index was made with another model, or a file of the model cannot be read.
fn same_model(
    before: &Metadata,
    located: &LocatedModel,
    name: &str,
    output: &Path,
) -> anyhow::Result<Option<ModelFingerprint>> {
    let wanted = &before.fingerprint.model;
    let is_upgraded =
        located.is_exported && before.tool != TOOL && before.model.as_ref() == Some(&located.source);
    let differs = match located.model.fingerprint_as(wanted)? {
        None if is_upgraded => return Ok(None),
        None => "other weights",
        Some(here) => match here.difference(wanted) {
            Some(differs) => differs,
            None if here.precision != wanted.precision => "another precision of the device",
            None => return Ok(Some(here)),
        },
    };
    bail!(
        "model {name}: is not the model of output {} ({differs}; the output was made with {}); name the old model with --model, --precision and --device, or embed all texts again with --rebuild (the old output is untouched)",
        output.display(),
        before.model_name()
    )
}
