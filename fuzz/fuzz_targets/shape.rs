//! Bodies of the platforms with one shape, with anything changed in them: the shape never panics, says texts only and keeps
//! to its lengths.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::domain::webhook::shape::{Body, common};

/// The longest text of a shape, and the longest link.
const TEXT_BYTES_MAX: usize = 256;
const LINK_BYTES_MAX: usize = 2_048;

/// A body as its platform sends it.
#[derive(Deserialize)]
struct Sample {
    provider: String,
    event_type: String,
    body: Value,
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/fixtures/shapes.json")).expect("the samples are well formed")
});

#[derive(Arbitrary, Debug)]
enum Input {
    Changed { sample: u8, event_type: Option<String>, changes: Vec<(u8, Leaf)> },
    Raw { sample: u8, event_type: String, body: Vec<u8> },
}

/// What stands where something else stood.
#[derive(Arbitrary, Debug)]
enum Leaf {
    Text(String),
    Number(i64),
    Fraction(f64),
    Null,
    Flag(bool),
    List(Vec<String>),
    Fields(Vec<(String, String)>),
}

impl From<Leaf> for Value {
    fn from(leaf: Leaf) -> Self {
        match leaf {
            Leaf::Text(text) => json!(text),
            Leaf::Number(number) => json!(number),
            Leaf::Fraction(number) => json!(number),
            Leaf::Null => Self::Null,
            Leaf::Flag(flag) => json!(flag),
            Leaf::List(items) => json!(items),
            Leaf::Fields(fields) => fields.into_iter().map(|(name, value)| (name, json!(value))).collect(),
        }
    }
}

fuzz_target!(|input: Input| {
    let sample_of = |nth: u8| &SAMPLES[usize::from(nth) % SAMPLES.len()];
    let shape = match input {
        Input::Changed { sample, event_type, changes } => {
            let sample = sample_of(sample);
            let mut body = sample.body.clone();
            for (nth, leaf) in changes {
                let count = places(&mut body).len();
                *places(&mut body).swap_remove(usize::from(nth) % count) = leaf.into();
            }
            common(&sample.provider, event_type.as_deref().unwrap_or(&sample.event_type), Body::Json(&body))
        }
        Input::Raw { sample, event_type, body } => {
            let parsed = serde_json::from_slice::<Value>(&body);
            let body = parsed.as_ref().map_or(Body::Raw(&body), Body::Json);
            common(&sample_of(sample).provider, &event_type, body)
        }
    };
    if let Some(shape) = shape {
        check(&shape, TEXT_BYTES_MAX);
    }
});

/// Everything that has nothing below it.
fn places(value: &mut Value) -> Vec<&mut Value> {
    if value.as_object().is_some_and(|fields| !fields.is_empty()) {
        return value.as_object_mut().into_iter().flat_map(|fields| fields.values_mut().flat_map(places)).collect();
    }
    if value.as_array().is_some_and(|items| !items.is_empty()) {
        return value.as_array_mut().into_iter().flat_map(|items| items.iter_mut().flat_map(places)).collect();
    }
    vec![value]
}

fn check(value: &Value, bytes_max: usize) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                check(value, if name == "link" { LINK_BYTES_MAX } else { bytes_max });
            }
        }
        Value::String(text) => assert!(text.len() <= bytes_max, "{} bytes: {text}", text.len()),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => panic!("a shape has texts only: {value}"),
    }
}
