//! Reads a CTranslate2 weights file: a specification name, then named tensors. Used by the conversion.

use std::collections::BTreeMap;

/// Why a weights file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    #[error("the file ends in the middle of a value")]
    Short,
    #[error("it holds a {0:?}, not a Whisper model")]
    OtherModel(String),
    #[error("tensor {name} has number type {kind}, which is not converted")]
    NumberType { name: String, kind: u8 },
    #[error("tensor {0} is missing")]
    Absent(String),
    #[error("tensor {0} has another shape than a Whisper model")]
    Shape(String),
}

/// Numbers with a shape, outermost dimension first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Tensor {
    /// Part `index` of `count` equal parts along the first dimension.
    pub(super) fn part(&self, index: usize, count: usize) -> Self {
        let rows = self.shape[0] / count;
        let size = self.values.len() / count;
        let mut shape = self.shape.clone();
        shape[0] = rows;
        Self { shape, values: self.values[index * size..(index + 1) * size].to_vec() }
    }
}

/// All tensors of a model.
#[derive(Debug)]
pub(super) struct Weights(BTreeMap<String, Tensor>);

const KIND_F32: u8 = 0;
const KIND_F16: u8 = 4;

impl Weights {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut rest = Rest(bytes);
        rest.number()?; // The file version; the layout below is that of all versions we met.
        let model = rest.text()?;
        if model != "WhisperSpec" {
            return Err(WeightsError::OtherModel(model));
        }
        rest.number()?; // The revision of the specification.
        let count = rest.number()?;
        let mut tensors = BTreeMap::new();
        for _ in 0..count {
            let name = rest.text()?;
            // Numbers that are not weights, such as the count of heads, are not needed: the shapes tell.
            if let Some(tensor) = rest.tensor(&name)? {
                tensors.insert(name, tensor);
            }
        }
        Ok(Self(tensors))
    }

    pub(super) fn get(&self, name: &str) -> Result<&Tensor, WeightsError> {
        self.0.get(name).ok_or_else(|| WeightsError::Absent(name.to_owned()))
    }

    /// How many layers one side (`encoder`, `decoder`) has.
    pub(super) fn layers(&self, side: &str) -> usize {
        (0..).take_while(|layer| self.0.contains_key(&format!("{side}/layer_{layer}/ffn/layer_norm/beta"))).count()
    }
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WeightsError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(WeightsError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, WeightsError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, WeightsError> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(u32::from_le_bytes(bytes))
    }

    fn length(&mut self) -> Result<usize, WeightsError> {
        usize::try_from(self.number()?).map_err(|_| WeightsError::Short)
    }

    fn text(&mut self) -> Result<String, WeightsError> {
        let length = u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes were taken"));
        let text = self.take(usize::from(length))?;
        Ok(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }

    fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, WeightsError> {
        let rank = self.byte()?;
        let shape = (0..rank).map(|_| self.length()).collect::<Result<Vec<_>, _>>()?;
        let kind = self.byte()?;
        let length = self.length()?;
        let bytes = self.take(length)?;
        let values: Vec<f32> = match kind {
            KIND_F32 => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            KIND_F16 => bytes.as_chunks().0.iter().map(|two| from_f16(u16::from_le_bytes(*two))).collect(),
            _ if rank == 0 => return Ok(None),
            _ => return Err(WeightsError::NumberType { name: name.to_owned(), kind }),
        };
        if shape.iter().product::<usize>() != values.len() {
            return Err(WeightsError::Shape(name.to_owned()));
        }
        Ok(Some(Tensor { shape, values }))
    }
}

/// A half-precision number. Exact: every one of them is a single-precision number too.
pub(super) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match (exponent, fraction) {
        (0, _) => {
            // Below the normal range the value is the fraction times 2^-24.
            let small = f32::from(bits & 0x3ff) * f32::from_bits(0x3380_0000);
            f32::from_bits(sign | small.to_bits())
        }
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The nearest half-precision number, ties to the even one.
pub(super) fn to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = bits >> 16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude >= 0x4780_0000 {
        // Too large, or not a number at all.
        if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 }
    } else if magnitude < 0x3880_0000 {
        // Adding 0.5 moves the fraction's last kept bit to the end of the mantissa, and rounds on the way.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        // Rebias the exponent, and round half to even by what the shift drops.
        (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13
    };
    u16::try_from(sign | half).expect("sixteen bits are left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_survive_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let value = from_f16(bits);
            if !value.is_nan() {
                assert_eq!(to_f16(value), bits, "{value}");
            }
        }
    }

    #[test]
    fn rounds_to_the_nearest_half() {
        // 1 + 2^-11 lies between two halves: ties go to the even one; a bit more goes up.
        assert_eq!(to_f16(1.0 + 2_f32.powi(-11)), 0x3c00);
        assert_eq!(to_f16(1.0 + 2_f32.powi(-11) + 2_f32.powi(-20)), 0x3c01);
        assert_eq!(to_f16(65_520.0), 0x7c00);
        assert_eq!(to_f16(-2_f32.powi(-24)), 0x8001);
    }

    #[test]
    fn a_cut_file_is_refused() {
        let mut file = Vec::from(6_u32.to_le_bytes());
        file.extend(12_u16.to_le_bytes());
        file.extend(b"WhisperSpec\0");
        assert_eq!(Weights::read(&file).unwrap_err(), WeightsError::Short);
    }
}
