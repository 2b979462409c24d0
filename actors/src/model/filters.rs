//! The filters that turn a spectrum into 80 bands of equal width to the ear, as Whisper models expect them. Used by
//! the conversion.

/// Samples in a second.
const SAMPLE_RATE: f64 = 16_000.0;
/// Frequencies of a spectrum of 400 samples.
pub(super) const FREQUENCIES: u32 = 201;
/// Below this many hertz the scale is linear, above it logarithmic.
const BREAK_HZ: f64 = 1_000.0;
const BREAK_MEL: f64 = 15.0;
const HZ_PER_MEL: f64 = 200.0 / 3.0;
/// Steps above the break in which the frequency grows 6.4 times.
const LOG_STEPS: f64 = 27.0;
const LOG_GROWTH: f64 = 6.4;

/// One row of [`FREQUENCIES`] weights for each band, row after row.
pub(super) fn bands(count: u32) -> Vec<f32> {
    let top = mel(SAMPLE_RATE / 2.0);
    let step = top / f64::from(count + 1);
    // The last edge is the top itself: a product of steps would miss it by a rounding.
    let edge = |i: u32| hertz(if i > count { top } else { f64::from(i) * step });
    let edges: Vec<f64> = (0..count + 2).map(edge).collect();
    let frequency = |i: u32| f64::from(i) * (SAMPLE_RATE / 2.0 / f64::from(FREQUENCIES - 1));
    let mut weights = Vec::new();
    for band in edges.windows(3) {
        let (low, middle, high) = (band[0], band[1], band[2]);
        let height = 2.0 / (high - low);
        for i in 0..FREQUENCIES {
            let (rise, fall) = (-(low - frequency(i)) / (middle - low), (high - frequency(i)) / (high - middle));
            weights.push(narrow(at_least_zero(rise.min(fall)) * height));
        }
    }
    weights
}

/// Cuts off what is below zero, and keeps a negative zero. `max` may give either zero, and gives another one in optimised
/// builds: the model's hash would depend on how this was compiled.
fn at_least_zero(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

fn mel(hertz: f64) -> f64 {
    if hertz < BREAK_HZ {
        return hertz / HZ_PER_MEL;
    }
    BREAK_MEL + (hertz / BREAK_HZ).ln() / (LOG_GROWTH.ln() / LOG_STEPS)
}

fn hertz(mel: f64) -> f64 {
    if mel < BREAK_MEL {
        return mel * HZ_PER_MEL;
    }
    BREAK_HZ * (LOG_GROWTH.ln() / LOG_STEPS * (mel - BREAK_MEL)).exp()
}

#[expect(clippy::as_conversions, reason = "rounding to the nearest single is what is wanted, and has no other form")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zeros_have_the_signs_of_the_published_model() {
        let weights = bands(80);
        let negative = |weight: &f32| weight.to_bits() == (-0.0_f32).to_bits();
        let at: Vec<usize> =
            weights.iter().enumerate().filter(|(_, weight)| negative(weight)).map(|(at, _)| at).collect();
        assert_eq!(at, [0]);
    }
}
