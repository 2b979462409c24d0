//! What the input of a job on a recording asks for beside the recording: checked when the job is, and read by its runner.

use serde_json::Value;

/// How sound is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundAsked {
    /// A file for each channel, rather than one of all.
    pub split: bool,
    pub is_flac: bool,
}

impl SoundAsked {
    /// Reads `channels` and `format`; the error names the one that is wrong, and the rule.
    pub fn of_input(input: &Value) -> Result<Self, String> {
        Ok(Self {
            split: word(input, "channels", ["mono", "split"])? == 1,
            is_flac: word(input, "format", ["wav", "flac"])? == 1,
        })
    }

    /// The name of the format.
    #[must_use]
    pub fn format(self) -> &'static str {
        if self.is_flac { "flac" } else { "wav" }
    }
}

/// Which of these words a field is; the first one when it is absent.
fn word(input: &Value, field: &str, words: [&str; 2]) -> Result<usize, String> {
    let Some(given) = input.get(field) else { return Ok(0) };
    let place = words.iter().position(|word| given.as_str() == Some(word));
    place.ok_or_else(|| format!("{field} must be {} or {}", words[0], words[1]))
}

/// What is cut out of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipAsked {
    pub start_ms: u64,
    pub end_ms: u64,
}

impl ClipAsked {
    /// Reads `start_ms` and `end_ms`; the error names the one that is wrong, and the rule.
    pub fn of_input(input: &Value) -> Result<Self, String> {
        let number = |field: &str| {
            let given = input.get(field).and_then(Value::as_u64);
            given.ok_or_else(|| format!("{field} must be a number of milliseconds"))
        };
        let (start_ms, end_ms) = (number("start_ms")?, number("end_ms")?);
        if start_ms < end_ms { Ok(Self { start_ms, end_ms }) } else { Err("end_ms must be behind start_ms".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_fields_are_named_with_their_rule() {
        let sound = |input: Value| SoundAsked::of_input(&input);
        assert_eq!(sound(json!({})), Ok(SoundAsked { split: false, is_flac: false }));
        assert_eq!(
            sound(json!({"channels": "split", "format": "flac"})),
            Ok(SoundAsked { split: true, is_flac: true })
        );
        assert_eq!(sound(json!({"channels": 2})), Err("channels must be mono or split".to_owned()));
        assert_eq!(sound(json!({"format": "mp3"})), Err("format must be wav or flac".to_owned()));
        let clip = |input: Value| ClipAsked::of_input(&input);
        assert_eq!(clip(json!({"start_ms": 0, "end_ms": 1})), Ok(ClipAsked { start_ms: 0, end_ms: 1 }));
        assert_eq!(clip(json!({"start_ms": 5, "end_ms": 5})), Err("end_ms must be behind start_ms".to_owned()));
        assert_eq!(clip(json!({"end_ms": 5})), Err("start_ms must be a number of milliseconds".to_owned()));
        assert_eq!(
            clip(json!({"start_ms": 1.5, "end_ms": 5})),
            Err("start_ms must be a number of milliseconds".to_owned())
        );
    }
}
