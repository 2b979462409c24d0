//! Picks a few scalars out of a JSON body by pointer, in one pass, without building the rest of it.
//!
//! Called by `body`. Bodies of a thousand small fields are common and only two or three of them matter here.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scheme::Items;

/// Pointers picked at once: a bit each.
const POINTERS_MAX: usize = 32;

/// The text of each pointer, in the order they were asked for. Numbers count as text, because ids are often
/// numbers; empty strings, booleans, nulls, arrays and objects do not.
pub(super) type Row = Vec<Option<String>>;

/// One row, or one per item where the scheme has several. None when the body is not JSON, or not of that shape.
pub(super) fn pick(body: &[u8], pointers: &[&str], items: Items) -> Vec<Row> {
    assert!(pointers.len() <= POINTERS_MAX, "a scheme names a handful of places");
    let mut json = serde_json::Deserializer::from_slice(body);
    let rows = json.deserialize_any(Whole { pointers, items });
    rows.and_then(|rows| json.end().map(|()| rows)).unwrap_or_default()
}

/// The whole body.
struct Whole<'p> {
    pointers: &'p [&'p str],
    items: Items,
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Vec<Row>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Row>, A::Error> {
        if let Items::Under(key) = self.items {
            let mut rows = vec![];
            while let Some(is_there) = map.next_key_seed(Named(key))? {
                if is_there {
                    rows.extend(map.next_value_seed(List(self.pointers))?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            return Ok(rows);
        }
        let mut row = vec![None; self.pointers.len()];
        Node { pointers: self.pointers, alive: u32::MAX, depth: 0, row: &mut row }.visit_map(map)?;
        Ok(vec![row])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Row>, A::Error> {
        if let Items::Array = self.items {
            return List(self.pointers).visit_seq(items);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(vec![vec![None; self.pointers.len()]])
    }
}

/// An array of items, one row each.
struct List<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Vec<Row>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Vec<Row>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Row>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Row>, A::Error> {
        let mut rows = Vec::new();
        loop {
            let mut row = vec![None; self.0.len()];
            let node = Node { pointers: self.0, alive: u32::MAX, depth: 0, row: &mut row };
            if items.next_element_seed(node)?.is_none() {
                return Ok(rows);
            }
            rows.push(row);
        }
    }
}

/// A key, read in place: whether it is this one.
pub(super) struct Named(pub(super) &'static str);

impl<'de> DeserializeSeed<'de> for Named {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Named {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// A value `depth` keys down, where the pointers whose bit is set have matched so far.
struct Node<'p, 'r> {
    pointers: &'p [&'p str],
    alive: u32,
    depth: usize,
    row: &'r mut Row,
}

impl Node<'_, '_> {
    /// The pointers that still match after this key.
    fn below(&self, key: &str) -> u32 {
        let matches = |pointer: &&str| pointer.split('/').nth(self.depth + 1) == Some(key);
        let bits = self.pointers.iter().enumerate().filter(|(_, pointer)| matches(pointer));
        bits.fold(0, |bits, (index, _)| bits | 1 << index) & self.alive
    }

    /// Gives the text to the pointers that end here.
    fn end(&mut self, text: &str) {
        for (index, pointer) in self.pointers.iter().enumerate() {
            let ends = pointer.split('/').count() == self.depth + 1;
            if self.alive & 1 << index != 0 && ends && !text.is_empty() {
                self.row[index] = Some(text.to_owned());
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(alive) = map.next_key_seed(Key(&self))? {
            if alive == 0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let depth = self.depth + 1;
            map.next_value_seed(Node { pointers: self.pointers, alive, depth, row: &mut *self.row })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.end(text);
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.end(&number.to_string());
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.end(&number.to_string());
        Ok(())
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        self.end(&number.to_string());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, read in place: which pointers it keeps alive.
struct Key<'n, 'p, 'r>(&'n Node<'p, 'r>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = u32;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<u32, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = u32;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<u32, E> {
        Ok(self.0.below(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const POINTERS: [&str; 5] = ["/a", "/a/b", "/a/b/c", "/b", "/b/a"];

    /// What picking means, by the slow way.
    fn slowly(value: &Value) -> Row {
        let text = |pointer: &&str| match value.pointer(pointer)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        POINTERS.iter().map(text).collect()
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn picks_what_pointers_point_at(value in tree()) {
            let body = value.to_string();
            let expected = match &value {
                Value::Object(_) => vec![slowly(&value)],
                Value::Array(items) => items.iter().map(slowly).collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
            };
            prop_assert_eq!(pick(body.as_bytes(), &POINTERS, Items::Array), expected);
        }

        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            pick(&body, &POINTERS, Items::One);
        }
    }

    #[test]
    fn half_a_body_has_no_values() {
        for body in [r#"{"a":"x""#, r#"{"a":"x"} {"#, r#"[{"a":"x"}"#] {
            assert!(pick(body.as_bytes(), &POINTERS, Items::Array).is_empty(), "{body}");
        }
    }
}
