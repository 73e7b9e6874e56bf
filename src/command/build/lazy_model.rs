//! The model of a run. If the old index was made with the same weights, the model is loaded only when a text has to be
//! embedded.

use std::mem;

use crate::cli::BuildArguments;
use crate::command::setup::{locate, model};
use crate::console::{Phase, Reporter};
use crate::model::{LoadedModel, Model, ModelFingerprint, Resources, Workload};
use crate::text::tokenize::Tokenizer;

/// A model with a known fingerprint. The model is loaded only when it is needed.
pub struct LazyModel {
    /// The name of the model in messages.
    pub name: String,
    pub model: Model,
    /// The words that are put before each text.
    pub prompt: String,
    /// The model's tokenizer, with the prompt.
    pub tokenizer: Tokenizer,
    pub workload: Workload,
    resources: Resources,
    state: ModelState,
}

enum ModelState {
    /// The model is not loaded: the fingerprint was found without loading the model, or [`LazyModel::load`] has already
    /// returned the loaded model.
    Known(ModelFingerprint),
    Loaded(Box<LoadedModel>),
}

impl LazyModel {
    /// Checks the arguments against the model. `before` is the fingerprint in the old index. Loads the model right away if
    /// there is no old fingerprint or the weights have changed.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or an argument does not fit the model.
    pub fn new(
        arguments: &BuildArguments,
        model: Model,
        before: Option<&ModelFingerprint>,
        reporter: &Reporter,
    ) -> anyhow::Result<Self> {
        let resources = model::resources(&arguments.model);
        let instruction = arguments.instruction.as_deref();
        let prompt = model::document_prompt(&model, instruction)?;
        if let Some(message) = model::about_prompt(&prompt, instruction) {
            reporter.info(&message);
        }
        let tokenizer = model.tokenizer.with_prompt(&prompt)?;
        let max_tokens = model::max_tokens(arguments.max_tokens, &model, &tokenizer)?;
        let batch_tokens = arguments.batch_tokens.map(|tokens| tokens as usize);
        let workload = Workload { batch_tokens, ..model::workload(&tokenizer, max_tokens)? };
        reporter.enter(Phase::CheckingModel);
        let known = before.map(|before| model.fingerprint_as(before)).transpose()?.flatten();
        let state = match known {
            Some(fingerprint) => ModelState::Known(fingerprint),
            None => {
                reporter.enter(Phase::LoadingModel);
                ModelState::Loaded(Box::new(model.load(&resources, &workload)?))
            }
        };
        let name = locate::name(&arguments.model, &model);
        Ok(LazyModel { name, model, prompt, tokenizer, workload, resources, state })
    }

    /// Returns the fingerprint of the model's files.
    pub fn fingerprint(&self) -> &ModelFingerprint {
        match &self.state {
            ModelState::Known(fingerprint) => fingerprint,
            ModelState::Loaded(loaded) => &loaded.fingerprint,
        }
    }

    /// Returns the loaded model. Loads the model if the model is not loaded yet.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or the device cannot run the model.
    pub fn load(&mut self) -> anyhow::Result<LoadedModel> {
        let known = ModelState::Known(self.fingerprint().clone());
        match mem::replace(&mut self.state, known) {
            ModelState::Loaded(loaded) => Ok(*loaded),
            ModelState::Known(_) => self.model.load(&self.resources, &self.workload),
        }
    }
}
