//! What the shapes of eight platforms are, by bodies written after the platforms' own documentation, and what holds for
//! any body.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// Five texts, a link, two words and a time, and what JSON puts between; an escape makes six bytes of one at most.
const SHAPE_BYTES_MAX: usize = 5 * 6 * text::TEXT_BYTES_MAX + 2 * text::LINK_BYTES_MAX + 512;

#[derive(Clone, Deserialize)]
struct Sample {
    provider: String,
    event_type: String,
    /// JSON, or a string for bodies that are not.
    body: Value,
    common: Option<Value>,
}

impl Sample {
    fn shape(&self) -> Option<Value> {
        shape_of(&self.provider, &self.event_type, &self.body)
    }
}

fn shape_of(provider: &str, event_type: &str, body: &Value) -> Option<Value> {
    let body = body.as_str().map_or(Body::Json(body), |text| Body::Raw(text.as_bytes()));
    common(provider, event_type, body)
}

fn samples() -> Vec<Sample> {
    let text = include_str!("../../../../../tests/fixtures/shapes.json");
    serde_json::from_str(text).expect("the file of samples is of this form")
}

#[test]
fn each_sample_has_its_shape() {
    for sample in samples() {
        assert_eq!(sample.shape(), sample.common, "{} {}", sample.provider, sample.event_type);
    }
}

#[test]
fn every_platform_has_several_samples() {
    for (provider, _) in MAPPERS {
        let count = samples().iter().filter(|sample| sample.provider == *provider).count();
        assert!(count >= 3, "{provider} has {count}");
    }
}

#[test]
fn a_batch_speaks_through_its_first_item() {
    let item =
        |id: u32| json!({"subscriptionType": "deal.creation", "objectId": id, "occurredAt": 1_790_000_000_000_u64});
    let shape = shape_of("hubspot", "", &json!([item(1), item(2)]));
    assert_eq!(shape, shape_of("hubspot", "deal.creation", &item(1)));
    assert_eq!(shape.unwrap()["what"], json!({"kind": "deal", "action": "created", "id": "1"}));
    assert_eq!(shape_of("hubspot", "", &json!([])), None);
}

#[test]
fn nothing_is_said_of_what_says_nothing() {
    for (provider, _) in MAPPERS {
        for body in [json!({}), json!([]), json!([[]]), json!(null), json!(1), json!("{}"), json!("<a/>")] {
            assert_eq!(shape_of(provider, "a.b", &body), None, "{provider} {body}");
        }
    }
    assert_eq!(shape_of("carrier-pigeon", "a.b", &json!({"id": 1})), None);
}

/// A body that differs from a sample in a few places.
fn mutated() -> impl Strategy<Value = (String, String, Value)> {
    let samples = samples();
    let change = (any::<prop::sample::Index>(), replacement());
    let drawn = (0..samples.len(), prop::collection::vec(change, 0..4), "[a-z:_.]{0,20}", any::<bool>());
    drawn.prop_map(move |(at, changes, other_type, keeps_type)| {
        let Sample { provider, event_type, mut body, .. } = samples[at].clone();
        for (place, value) in changes {
            if let Value::String(text) = &mut body {
                *text = spliced(text, place, &value);
            } else {
                replace(&mut body, place, value);
            }
        }
        (provider, if keeps_type { event_type } else { other_type }, body)
    })
}

fn replacement() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        "[\\PC\\x00-\\x1f]{250,600}".prop_map(Value::from),
        "https://[ -~]{0,2100}".prop_map(Value::from),
        Just(Value::from("x".repeat(SHAPE_BYTES_MAX))),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[-0-9.:+Zé]{0,9}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({"id": {"id": []}})),
    ]
}

/// Puts a value in place of one that stands somewhere in the tree.
fn replace(tree: &mut Value, place: prop::sample::Index, value: Value) {
    let mut pointers = vec![];
    collect(tree, String::new(), &mut pointers);
    if let Some(there) = tree.pointer_mut(&pointers[place.index(pointers.len())]) {
        *there = value;
    }
}

fn collect(tree: &Value, path: String, into: &mut Vec<String>) {
    if let Value::Object(fields) = tree {
        fields.iter().for_each(|(name, value)| collect(value, format!("{path}/{name}"), into));
    }
    if let Value::Array(items) = tree {
        items.iter().enumerate().for_each(|(at, value)| collect(value, format!("{path}/{at}"), into));
    }
    into.push(path);
}

/// Writes a value over a stretch of the text.
fn spliced(text: &str, place: prop::sample::Index, value: &Value) -> String {
    let characters: Vec<char> = text.chars().collect();
    let from = place.index(characters.len() + 1);
    let before = characters.iter().take(from);
    let value = value.to_string();
    before.copied().chain(value.chars()).chain(characters.iter().skip(from + 5).copied()).collect()
}

fn holds(provider: &str, event_type: &str, body: Body<'_>) -> Result<(), TestCaseError> {
    let shape = common(provider, event_type, body);
    prop_assert_eq!(&shape, &common(provider, event_type, body), "S1");
    let Some(shape) = shape else { return Ok(()) };
    prop_assert!(shape.to_string().len() <= SHAPE_BYTES_MAX, "S2: {}", shape);
    if let Some(link) = shape.get("link") {
        prop_assert!(link.as_str().unwrap().starts_with("https://"), "S4: {}", link);
    }
    if let Some(when) = shape.get("when") {
        prop_assert!(humantime::parse_rfc3339(when.as_str().unwrap()).is_ok(), "{}", when);
    }
    let parts: Vec<&str> = shape.as_object().unwrap().keys().map(String::as_str).collect();
    prop_assert!(parts.iter().all(|part| ["who", "what", "when", "link"].contains(part)), "{parts:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_change_of_a_sample_is_read((provider, event_type, body) in mutated()) {
        let body = body.as_str().map_or(Body::Json(&body), |text| Body::Raw(text.as_bytes()));
        holds(&provider, &event_type, body)?;
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400), event_type in ".{0,80}") {
        let parsed = serde_json::from_slice::<Value>(&bytes);
        for (provider, _) in MAPPERS {
            holds(provider, &event_type, parsed.as_ref().map_or(Body::Raw(&bytes), Body::Json))?;
        }
    }
}
