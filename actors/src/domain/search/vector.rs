//! Vectors as rows of small integers with one scale a row: a quarter of the memory, the same order of results.

/// The largest value of a quantised coordinate.
const LEVEL_MAX: f32 = 127.0;

/// Rows of one document's vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    dims: usize,
    levels: Vec<i8>,
    scales: Vec<f32>,
}

/// A question's vector, quantised the same way.
#[derive(Debug)]
pub(crate) struct QuantizedQuery {
    levels: Vec<i8>,
    scale: f32,
}

impl Rows {
    /// Quantises vectors of unit length. `None` when they differ in length or there are none.
    #[must_use]
    pub(crate) fn quantize(vectors: &[Vec<f32>]) -> Option<Self> {
        let dims = vectors.first().map(Vec::len).filter(|dims| *dims > 0)?;
        if vectors.iter().any(|vector| vector.len() != dims) {
            return None;
        }
        let mut rows = Self { dims, levels: Vec::with_capacity(dims * vectors.len()), scales: vec![] };
        for vector in vectors {
            let (levels, scale) = quantize(vector);
            rows.levels.extend(levels);
            rows.scales.push(scale);
        }
        Some(rows)
    }

    /// Rows from their stored parts, when these fit together.
    #[must_use]
    pub(crate) fn from_parts(dims: usize, levels: Vec<i8>, scales: Vec<f32>) -> Option<Self> {
        let fits = dims > 0 && dims.checked_mul(scales.len()) == Some(levels.len());
        (fits && scales.iter().all(|scale| scale.is_finite())).then_some(Self { dims, levels, scales })
    }

    /// Coordinates in a row.
    #[must_use]
    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// All coordinates, row after row.
    #[must_use]
    pub(crate) fn levels(&self) -> &[i8] {
        &self.levels
    }

    /// What a level of each row stands for.
    #[must_use]
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The cosine of each row with the question; `None` when the question comes from a model with other dimensions.
    #[must_use]
    pub(crate) fn cosines(&self, query: &QuantizedQuery) -> Option<Vec<f64>> {
        if query.levels.len() != self.dims {
            return None;
        }
        let cosine = |(row, scale): (&[i8], &f32)| dot(row, &query.levels) * f64::from(scale * query.scale);
        Some(self.levels.chunks_exact(self.dims).zip(&self.scales).map(cosine).collect())
    }
}

impl QuantizedQuery {
    /// Quantises a question's vector of unit length.
    #[must_use]
    pub(crate) fn new(vector: &[f32]) -> Self {
        let (levels, scale) = quantize(vector);
        Self { levels, scale }
    }
}

/// Products of bytes summed in blocks that cannot overflow, in a shape the compiler vectorises.
fn dot(a: &[i8], b: &[i8]) -> f64 {
    let sum: i32 = a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
    f64::from(sum)
}

fn quantize(vector: &[f32]) -> (Vec<i8>, f32) {
    let largest = vector.iter().filter(|x| x.is_finite()).fold(0.0_f32, |max, x| max.max(x.abs()));
    if largest == 0.0 {
        return (vec![0; vector.len()], 0.0);
    }
    let scale = largest / LEVEL_MAX;
    (vector.iter().map(|x| level(x / scale)).collect(), scale)
}

#[expect(clippy::as_conversions, reason = "float to integer has no other form; the cast saturates and maps NaN to 0")]
fn level(x: f32) -> i8 {
    x.clamp(-LEVEL_MAX, LEVEL_MAX).round() as i8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(vector: Vec<f32>) -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 { vector.into_iter().map(|x| x / length).collect() } else { vector }
    }

    #[test]
    fn refuses_rows_that_do_not_fit() {
        assert_eq!(Rows::quantize(&[vec![1.0], vec![1.0, 2.0]]), None);
        assert_eq!(Rows::quantize(&[]), None);
        assert_eq!(Rows::from_parts(3, vec![0; 5], vec![1.0, 1.0]), None);
        assert_eq!(Rows::from_parts(0, vec![], vec![]), None);
        assert_eq!(Rows::from_parts(1, vec![1], vec![f32::NAN]), None);
        let rows = Rows::quantize(&[vec![1.0, 0.0]]).unwrap();
        assert_eq!(rows.cosines(&QuantizedQuery::new(&[1.0])), None);
    }

    #[test]
    fn bad_numbers_become_zero() {
        let rows = Rows::quantize(&[vec![f32::NAN, 1.0], vec![0.0, 0.0]]).unwrap();
        assert_eq!(rows.levels(), [0, 127, 0, 0]);
        assert_eq!(rows.cosines(&QuantizedQuery::new(&[0.0, 0.0])).unwrap(), [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn cosines_stay_close_to_the_exact_ones(
            a in proptest::collection::vec(-1.0_f32..1.0, 64),
            b in proptest::collection::vec(-1.0_f32..1.0, 64),
        ) {
            let (a, b) = (unit(a), unit(b));
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(x * y)).sum();
            let rows = Rows::quantize(std::slice::from_ref(&a)).unwrap();
            let close = rows.cosines(&QuantizedQuery::new(&b)).unwrap()[0];
            prop_assert!((exact - close).abs() < 0.01, "{exact} {close}");
        }

        #[test]
        fn parts_make_the_same_rows(vectors in proptest::collection::vec(proptest::collection::vec(-1.0_f32..1.0, 8), 1..5)) {
            let rows = Rows::quantize(&vectors).unwrap();
            let again = Rows::from_parts(rows.dims(), rows.levels().to_vec(), rows.scales().to_vec());
            prop_assert_eq!(again, Some(rows));
        }
    }
}
