//! Turns CTranslate2 Whisper weights into the file whisper.cpp reads, matrices in 8-bit blocks (q8_0).
//!
//! Called by the installation. The result is checked against a pinned hash, so this code proves itself each time.

use super::filters::{self, FREQUENCIES};
use super::weights::{Tensor, Weights, WeightsError, to_f16};

/// What a whisper.cpp file starts with.
const MAGIC: u32 = 0x6767_6d6c;
/// Numbers that share one scale in q8_0.
const BLOCK: usize = 32;
/// Numbers of one attention head, in every Whisper model.
const HEAD: usize = 64;
/// Text tokens of an English model; those behind them are made by the engine.
const TOKENS: usize = 50_257;
/// "Mostly q8_0, second layout", as whisper.cpp numbers its file types.
const FILE_TYPE_Q8_0: usize = 2_007;

/// Why weights cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("the weights cannot be read")]
    Weights(#[from] WeightsError),
    #[error("the vocabulary is not that of an English Whisper model")]
    Vocabulary,
}

/// How a tensor is written, by whisper.cpp's numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    F32,
    F16,
    Q8_0,
}

impl Form {
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
        }
    }
}

/// The whisper.cpp file of a model.
pub(super) fn ggml(weights: &[u8], vocabulary: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let weights = Weights::read(weights)?;
    let mut file = Out(Vec::with_capacity(64 << 20));
    header(&mut file, &weights)?;
    words(&mut file, vocabulary)?;
    tensors(&mut file, &weights)?;
    Ok(file.0)
}

fn header(file: &mut Out, weights: &Weights) -> Result<(), WeightsError> {
    let first = weights.get("encoder/conv1/weight")?;
    let (width, bands) = match *first.shape {
        [width, bands, _] => (width, bands),
        [..] => return Err(WeightsError::Shape("encoder/conv1/weight".to_owned())),
    };
    let tokens = weights.get("decoder/embeddings/weight")?.shape[0];
    let audio = weights.get("encoder/position_encodings/encodings")?.shape[0];
    let text = weights.get("decoder/position_encodings/encodings")?.shape[0];
    let heads = width / HEAD;
    file.number(MAGIC);
    for size in [tokens, audio, width, heads, weights.layers("encoder"), text, width, heads, weights.layers("decoder")]
    {
        file.size(size);
    }
    file.size(bands);
    file.size(FILE_TYPE_Q8_0);
    let bands = u32::try_from(bands).map_err(|_| WeightsError::Shape("encoder/conv1/weight".to_owned()))?;
    file.number(bands);
    file.number(FREQUENCIES);
    file.f32(&filters::bands(bands));
    Ok(())
}

fn words(file: &mut Out, vocabulary: &[u8]) -> Result<(), ConvertError> {
    let text = std::str::from_utf8(vocabulary).map_err(|_| ConvertError::Vocabulary)?;
    let lines: Vec<&str> = text.split('\n').take(TOKENS).collect();
    if lines.len() != TOKENS {
        return Err(ConvertError::Vocabulary);
    }
    file.size(lines.len());
    for line in lines {
        // Special tokens are written as they are; all others spell each byte as a printable letter.
        let bytes = match line.starts_with("<|") {
            true => line.as_bytes().to_vec(),
            false => line.chars().map(spelled_byte).collect::<Option<_>>().ok_or(ConvertError::Vocabulary)?,
        };
        file.size(bytes.len());
        file.0.extend(bytes);
    }
    Ok(())
}

/// The byte a letter of the vocabulary stands for. Printable bytes stand for themselves, the others are counted up
/// from letter 256.
fn spelled_byte(letter: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let code = u32::from(letter);
    match u8::try_from(code) {
        Ok(byte) => printable(&byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !printable(byte)).nth(usize::try_from(code - 256).ok()?),
    }
}

fn tensors(file: &mut Out, weights: &Weights) -> Result<(), WeightsError> {
    let copy = |file: &mut Out, name: &str, from: &str, form| {
        file.tensor(name, weights.get(from)?, form);
        Ok(())
    };
    copy(file, "encoder.positional_embedding", "encoder/position_encodings/encodings", Form::F32)?;
    for conv in ["conv1", "conv2"] {
        copy(file, &format!("encoder.{conv}.weight"), &format!("encoder/{conv}/weight"), Form::F16)?;
        let mut bias = weights.get(&format!("encoder/{conv}/bias"))?.clone();
        bias.shape.push(1);
        file.tensor(&format!("encoder.{conv}.bias"), &bias, Form::F32);
    }
    norm(file, weights, "encoder.ln_post", "encoder/layer_norm")?;
    copy(file, "decoder.positional_embedding", "decoder/position_encodings/encodings", Form::F32)?;
    copy(file, "decoder.token_embedding.weight", "decoder/embeddings/weight", Form::Q8_0)?;
    norm(file, weights, "decoder.ln", "decoder/layer_norm")?;
    for side in ["encoder", "decoder"] {
        for layer in 0..weights.layers(side) {
            block(file, weights, &format!("{side}.blocks.{layer}"), &format!("{side}/layer_{layer}"))?;
        }
    }
    Ok(())
}

fn block(file: &mut Out, weights: &Weights, to: &str, from: &str) -> Result<(), WeightsError> {
    let linear = |file: &mut Out, name: &str, source: &str, parts: &[&str]| {
        projections(file, weights, &format!("{to}.{name}"), &format!("{from}/{source}"), parts)
    };
    norm(file, weights, &format!("{to}.mlp_ln"), &format!("{from}/ffn/layer_norm"))?;
    linear(file, "mlp.0", "ffn/linear_0", &[])?;
    linear(file, "mlp.2", "ffn/linear_1", &[])?;
    norm(file, weights, &format!("{to}.attn_ln"), &format!("{from}/self_attention/layer_norm"))?;
    linear(file, "attn", "self_attention/linear_0", &["query", "key", "value"])?;
    linear(file, "attn.out", "self_attention/linear_1", &[])?;
    if to.starts_with("decoder") {
        norm(file, weights, &format!("{to}.cross_attn_ln"), &format!("{from}/attention/layer_norm"))?;
        linear(file, "cross_attn", "attention/linear_0", &["query"])?;
        linear(file, "cross_attn", "attention/linear_1", &["key", "value"])?;
        linear(file, "cross_attn.out", "attention/linear_2", &[])?;
    }
    Ok(())
}

fn norm(file: &mut Out, weights: &Weights, to: &str, from: &str) -> Result<(), WeightsError> {
    file.tensor(&format!("{to}.weight"), weights.get(&format!("{from}/gamma"))?, Form::F32);
    file.tensor(&format!("{to}.bias"), weights.get(&format!("{from}/beta"))?, Form::F32);
    Ok(())
}

/// A matrix with its bias, or several that the other engine keeps in one. Keys have no bias in these models.
fn projections(file: &mut Out, weights: &Weights, to: &str, from: &str, parts: &[&str]) -> Result<(), WeightsError> {
    let weight = weights.get(&format!("{from}/weight"))?;
    let bias = weights.get(&format!("{from}/bias"))?;
    if parts.is_empty() {
        file.tensor(&format!("{to}.weight"), weight, Form::Q8_0);
        file.tensor(&format!("{to}.bias"), bias, Form::F32);
    }
    for (index, part) in parts.iter().enumerate() {
        file.tensor(&format!("{to}.{part}.weight"), &weight.part(index, parts.len()), Form::Q8_0);
        if *part != "key" {
            file.tensor(&format!("{to}.{part}.bias"), &bias.part(index, parts.len()), Form::F32);
        }
    }
    Ok(())
}

/// The file as it grows.
struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn size(&mut self, size: usize) {
        self.number(u32::try_from(size).expect("sizes of a model that fits in memory are small"));
    }

    fn f32(&mut self, values: &[f32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn tensor(&mut self, name: &str, tensor: &Tensor, form: Form) {
        self.size(tensor.shape.len());
        self.size(name.len());
        self.number(form.number());
        tensor.shape.iter().rev().for_each(|&size| self.size(size));
        self.0.extend(name.as_bytes());
        match form {
            Form::F32 => self.f32(&tensor.values),
            Form::F16 => self.0.extend(tensor.values.iter().flat_map(|&value| to_f16(value).to_le_bytes())),
            Form::Q8_0 => tensor.values.chunks(BLOCK).for_each(|block| self.block(block)),
        }
    }

    /// One scale, then each number as a multiple of it.
    fn block(&mut self, values: &[f32]) {
        let scale = values.iter().fold(0.0, |most: f32, value| most.max(value.abs())) / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        self.0.extend(to_f16(scale).to_le_bytes());
        self.0.extend(values.iter().flat_map(|value| step(value * inverse).to_le_bytes()));
    }
}

#[expect(clippy::as_conversions, reason = "the value lies within ±127; a float has no other way to become an integer")]
fn step(value: f32) -> i8 {
    value.round_ties_even() as i8
}
