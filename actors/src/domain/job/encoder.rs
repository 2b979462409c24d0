//! Arguments for the encoder that a client may give: a short list, since most of ffmpeg's could read files or take hours.

use serde_json::Value;

/// Arguments a client may give in one list.
const ARGS_MAX: usize = 16;

/// What may be said of pictures and of sound, each with what is right for it.
const VIDEO: [(&str, Allowed); 5] = [
    ("-crf", Allowed::Number(10, 40)),
    ("-preset", Allowed::Word(&["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"])),
    ("-tune", Allowed::Word(&["film", "animation", "grain", "stillimage", "fastdecode"])),
    ("-profile:v", Allowed::Word(&["baseline", "main", "high"])),
    ("-maxrate", Allowed::Kilobits(100, 50_000)),
];
const AUDIO: [(&str, Allowed); 2] = [("-b:a", Allowed::Kilobits(32, 320)), ("-ac", Allowed::Number(1, 2))];

#[derive(Clone, Copy)]
enum Allowed {
    Number(u32, u32),
    Word(&'static [&'static str]),
    /// As `800k`.
    Kilobits(u32, u32),
}

impl Allowed {
    fn check(self, value: &str) -> Result<(), String> {
        let within = |text: &str, min: u32, max: u32| {
            text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse().is_ok_and(|n: u32| (min..=max).contains(&n))
        };
        match self {
            Self::Number(min, max) if !within(value, min, max) => Err(format!("must be {min} to {max}")),
            Self::Kilobits(min, max) if !value.strip_suffix('k').is_some_and(|number| within(number, min, max)) => {
                Err(format!("must be {min}k to {max}k"))
            }
            Self::Word(words) if !words.contains(&value) => Err(format!("must be one of {}", words.join(", "))),
            Self::Number(..) | Self::Kilobits(..) | Self::Word(_) => Ok(()),
        }
    }
}

/// Arguments that were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct EncoderArgs {
    pub video: Vec<String>,
    pub audio: Vec<String>,
}

impl EncoderArgs {
    /// Reads `ffmpeg_args` of a job's input; the error says which one is wrong, and the rule.
    pub fn of_input(input: &Value) -> Result<Self, String> {
        let Some(given) = input.get("ffmpeg_args") else { return Ok(Self::default()) };
        let texts = given.as_array().filter(|given| given.len() <= ARGS_MAX && given.len().is_multiple_of(2));
        let texts: Option<Vec<&str>> = texts.and_then(|given| given.iter().map(Value::as_str).collect());
        let rule = || format!("ffmpeg_args must be a list of at most {ARGS_MAX} texts: names, each with a value");
        let mut found = Self::default();
        for pair in texts.ok_or_else(rule)?.chunks_exact(2) {
            let &[name, value] = pair else { return Err(rule()) };
            let of = |list: &[(&str, Allowed)]| list.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule);
            let (allowed, list) = match (of(&VIDEO), of(&AUDIO)) {
                (Some(allowed), _) => (allowed, &mut found.video),
                (None, Some(allowed)) => (allowed, &mut found.audio),
                (None, None) => return Err(unknown(name)),
            };
            allowed.check(value).map_err(|rule| format!("ffmpeg_args: the value of {name} {rule}"))?;
            if list.iter().any(|known| known == name) {
                return Err(format!("ffmpeg_args: {name} is given twice"));
            }
            list.extend([name.to_owned(), value.to_owned()]);
            if name == "-maxrate" {
                list.extend(["-bufsize".to_owned(), value.to_owned()]);
            }
        }
        Ok(found)
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.video.is_empty() && self.audio.is_empty()
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = VIDEO.iter().chain(&AUDIO).map(|(name, _)| *name).collect();
    let name: String = name.chars().take(32).collect();
    format!("ffmpeg_args: {name:?} is not allowed; allowed are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_on_the_list_is_taken_and_sorted_by_track() {
        let input = json!({"ffmpeg_args": ["-crf", "28", "-b:a", "64k", "-maxrate", "800k"]});
        let args = EncoderArgs::of_input(&input).unwrap();
        assert_eq!(args.video, ["-crf", "28", "-maxrate", "800k", "-bufsize", "800k"]);
        assert_eq!(args.audio, ["-b:a", "64k"]);
        assert!(EncoderArgs::of_input(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn everything_else_is_refused_by_name_and_rule() {
        for (given, said) in [
            (json!(["-i", "/etc/passwd"]), "\"-i\" is not allowed; allowed are -crf"),
            (json!(["-vf", "movie=/etc/passwd"]), "\"-vf\" is not allowed"),
            (json!(["-crf", "9"]), "the value of -crf must be 10 to 40"),
            (json!(["-crf", "+28"]), "the value of -crf must be 10 to 40"),
            (json!(["-crf", "28 -i x"]), "the value of -crf must be 10 to 40"),
            (json!(["-preset", "placebo"]), "the value of -preset must be one of ultrafast"),
            (json!(["-b:a", "1M"]), "the value of -b:a must be 32k to 320k"),
            (json!(["-crf", "20", "-crf", "30"]), "-crf is given twice"),
            (json!(["-crf"]), "names, each with a value"),
            (json!(["-crf", 28]), "must be a list of at most 16 texts"),
            (json!("-crf 28"), "must be a list of at most 16 texts"),
        ] {
            let error = EncoderArgs::of_input(&json!({"ffmpeg_args": given})).unwrap_err();
            assert!(error.contains(said), "{given}: {error}");
        }
    }
}
