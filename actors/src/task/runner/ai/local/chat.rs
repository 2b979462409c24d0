//! SmolLM2 135M Instruct: a small chat model from one GGUF file that also holds its tokenizer.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::tokenizer::TokenizerFromGguf as _;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use candle_transformers::generation::LogitsProcessor;
use candle_transformers::models::quantized_llama::ModelWeights;
use candle_transformers::utils::apply_repeat_penalty;
use futures_util::future::BoxFuture;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::error::{cancelled, failed, invalid};
use super::super::provider::{ChatAnswer, ChatModel, ChatRequest, ModelName, OnToken, Role};
use super::alone::alone;
use super::present::Lazy;
use crate::task::runner::TaskError;

/// Question and answer together; attention over more takes seconds and the model was trained on little of it.
const CONTEXT_TOKENS_MAX: usize = 2048;
/// Text per question: half the context, so that instructions, examples and the answer fit too.
const TEXT_TOKENS_MAX: usize = 900;
/// Tokens read between two looks at the stop flag.
const READ_TOKENS: usize = 128;
/// Pieces of answer on their way from the model's thread.
const PIECES_IN_FLIGHT_MAX: usize = 64;
/// How much less likely a word of the answer becomes once it was said, and how far back that looks.
const REPEAT_PENALTY: (f32, usize) = (1.1, 64);
/// Equal questions get equal answers, at any temperature.
const SEED: u64 = 42;
/// What the model was trained to see when a conversation has no instructions of its own.
const DEFAULT_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// The chat model as runners see it.
pub(super) struct LocalChat {
    pub(super) name: ModelName,
    pub(super) lazy: Arc<Lazy<SmolLm>>,
}

impl ChatModel for LocalChat {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn text_tokens_max(&self) -> usize {
        TEXT_TOKENS_MAX
    }

    fn is_small(&self) -> bool {
        true
    }

    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
        on_token: OnToken<'a>,
    ) -> BoxFuture<'a, Result<ChatAnswer, TaskError>> {
        Box::pin(async move {
            let (pieces, mut heard) = mpsc::channel::<String>(PIECES_IN_FLIGHT_MAX);
            let request = request.clone();
            let call = self.lazy.call(move |model, stop| {
                let mut say = |piece: String| pieces.blocking_send(piece).is_ok();
                model.chat(&request, &mut say, stop)
            });
            let hear = async {
                while let Some(piece) = heard.recv().await {
                    on_token(&piece);
                }
            };
            tokio::join!(call, hear).0
        })
    }
}

/// The loaded weights. Shared; a conversation works on a clone, which shares the weights and has its own memory.
pub(super) struct SmolLm {
    weights: ModelWeights,
    tokenizer: Tokenizer,
    turn_start: u32,
    turn_end: u32,
}

impl SmolLm {
    /// Reads the file.
    pub(super) fn load(file: &Path) -> Result<Self, String> {
        let mut reader = BufReader::new(File::open(file).map_err(|error| error.kind().to_string())?);
        let content = Content::read(&mut reader).map_err(|error| error.to_string())?;
        let tokenizer = tokenizer(&content)?;
        let token = |text: &str| tokenizer.token_to_id(text).ok_or(format!("its tokenizer lacks {text}"));
        let (turn_start, turn_end) = (token("<|im_start|>")?, token("<|im_end|>")?);
        let weights = weights(&content, &mut reader).map_err(|error| error.to_string())?;
        Ok(Self { weights, tokenizer, turn_start, turn_end })
    }

    fn chat(
        &self,
        request: &ChatRequest,
        say: &mut dyn FnMut(String) -> bool,
        stop: &CancellationToken,
    ) -> Result<ChatAnswer, TaskError> {
        let prompt = self.prompt(request)?;
        let room = CONTEXT_TOKENS_MAX.saturating_sub(prompt.len());
        if room == 0 {
            let tokens = prompt.len();
            return Err(invalid(format!("the conversation has {tokens} tokens; the model takes {CONTEXT_TOKENS_MAX}")));
        }
        let limit = room.min(usize::try_from(request.max_tokens).unwrap_or(usize::MAX));
        let (answer, text) = self.generate(&prompt, limit, request.temperature, say, stop)?;
        Ok(ChatAnswer {
            text: text.trim().to_owned(),
            input_tokens: count(prompt.len()),
            output_tokens: count(answer.len()),
            finish_reason: if answer.last() == Some(&self.turn_end) { "stop" } else { "length" }.to_owned(),
        })
    }

    /// The conversation in the form the model was trained on. Texts cannot forge turns: their tokens are plain ones.
    fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, TaskError> {
        let mut prompt = vec![];
        let mut turn = |role: &str, content: &str| -> Result<(), TaskError> {
            prompt.push(self.turn_start);
            prompt.extend(self.encode(&format!("{role}\n{content}"))?);
            prompt.push(self.turn_end);
            prompt.extend(self.encode("\n")?);
            Ok(())
        };
        if request.messages.first().is_none_or(|first| first.role != Role::System) {
            turn(Role::System.as_str(), DEFAULT_SYSTEM)?;
        }
        for message in &request.messages {
            turn(message.role.as_str(), &message.content)?;
        }
        prompt.push(self.turn_start);
        prompt.extend(self.encode("assistant\n")?);
        Ok(prompt)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, TaskError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|_| failed("a text could not be tokenised"))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn generate(
        &self,
        prompt: &[u32],
        limit: usize,
        temperature: f32,
        say: &mut dyn FnMut(String) -> bool,
        stop: &CancellationToken,
    ) -> Result<(Vec<u32>, String), TaskError> {
        let mut weights = self.weights.clone();
        let mut sampler = LogitsProcessor::new(SEED, Some(f64::from(temperature)), None);
        let mut decoder = self.tokenizer.decode_stream(true);
        let (mut answer, mut text) = (Vec::new(), String::new());
        let mut logits = read(&mut weights, prompt, stop)?;
        while answer.len() < limit {
            let token = sample(&mut sampler, &logits, &answer).map_err(broken)?;
            answer.push(token);
            if token == self.turn_end {
                break;
            }
            if let Some(piece) = decoder.step(token).map_err(|_| failed("the answer could not be decoded"))? {
                text.push_str(&piece);
                if !say(piece) {
                    return Err(cancelled());
                }
            }
            if stop.is_cancelled() {
                return Err(cancelled());
            }
            if answer.len() < limit {
                logits = forward(&mut weights, &[token], prompt.len() + answer.len() - 1).map_err(broken)?;
            }
        }
        Ok((answer, text))
    }
}

/// Reads the prompt in pieces, so that a stopped call ends soon.
fn read(weights: &mut ModelWeights, prompt: &[u32], stop: &CancellationToken) -> Result<Tensor, TaskError> {
    let mut last = Err(failed("the conversation is empty"));
    for (at, piece) in prompt.chunks(READ_TOKENS).enumerate() {
        if stop.is_cancelled() {
            return Err(cancelled());
        }
        last = forward(weights, piece, at * READ_TOKENS).map_err(broken);
    }
    last
}

fn forward(weights: &mut ModelWeights, tokens: &[u32], position: usize) -> candle_core::Result<Tensor> {
    let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
    alone(|| weights.forward(&input, position))?.squeeze(0)
}

fn sample(sampler: &mut LogitsProcessor, logits: &Tensor, answer: &[u32]) -> candle_core::Result<u32> {
    let (penalty, window) = REPEAT_PENALTY;
    let recent = &answer[answer.len().saturating_sub(window)..];
    sampler.sample(&apply_repeat_penalty(logits, penalty, recent)?)
}

/// The file's weights are in a form (Q4_1) the engine has no fast code for; rewritten in the next finer one (Q8_0) the
/// model answers some ten times faster, from about 60 MB more memory.
fn weights<R: Read + Seek>(content: &Content, reader: &mut R) -> candle_core::Result<ModelWeights> {
    let mut tensors: Vec<(&str, QTensor)> = vec![];
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(reader, name, &Device::Cpu)?;
        let tensor = match tensor.dtype() == GgmlDType::Q4_1 {
            true => QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?,
            false => tensor,
        };
        tensors.push((name, tensor));
    }
    let metadata: Vec<_> = content.metadata.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(vec![]);
    gguf_file::write(&mut file, &metadata, &tensors)?;
    file.set_position(0);
    ModelWeights::from_gguf(Content::read(&mut file)?, &mut file, &Device::Cpu)
}

/// The engine reads vocabulary and merges; how this model splits text first is not in the file.
fn tokenizer(content: &Content) -> Result<Tokenizer, String> {
    let mut tokenizer = Tokenizer::from_gguf(content).map_err(|error| error.to_string())?;
    let split = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]);
    tokenizer.with_pre_tokenizer(Some(split));
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

fn broken(error: candle_core::Error) -> TaskError {
    failed(format!("the model failed: {error}"))
}

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}
