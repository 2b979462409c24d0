//! What the embedded engine makes of speech: how many words are wrong, what it costs, and whether parties on channels of
//! their own are told apart. On recordings whose words are known.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::figure::{Figure, Report, Want, count};
use crate::meter::Meter;
use crate::node::{Api, Node};
use crate::recording::{done, upload};
use crate::{Settings, figure, tasks};

const FIXTURES: &str = "tests/fixtures/media";
const READING: &str = "speech_librivox_16k";
const READING_FILE: &str = "speech_librivox_16k.wav";
const CALL: &str = "call_dual_channel";
const CALL_FILE: &str = "call_dual_channel.m4a";
/// Where `scripts/models` puts them.
const MODELS: &str = ".models";

const WRONG_MAX: f64 = 0.02;
/// CPU seconds for a second of speech, ffmpeg included.
const REAL_TIME_MAX: f64 = 0.2;
const SPEAKERS_MIN: f64 = 0.98;

/// A word and who said it.
#[derive(Clone, Debug, PartialEq)]
struct Spoken {
    word: String,
    channel: Option<u64>,
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# speech: the embedded engine on a reading of 25 s and a call of 36 s with a channel for each party");
    let models = Path::new(MODELS).canonicalize().context("no models: run scripts/models")?;
    let models = format!("ai.models_dir={}", models.display());
    let (mut wrong, mut cost, mut wrong_call, mut right) = (vec![], vec![], vec![], vec![]);
    for run in 0..settings.runs {
        let node = Node::start(&settings.steward, &[&models])?;
        tasks::raised(&node).await?;
        let api = node.api().await?;
        let meter = Meter::start(&[node.pid()])?;
        let result = transcript(&api, READING_FILE).await?;
        let usage = meter.stop()?;
        let seconds = result["duration_ms"].as_f64().context("the result has no length")? / 1000.0;
        cost.push(usage.cpu_s / seconds);
        wrong.push(wrong_share(&known(READING, "utterances")?, &heard(&result)?));
        let (expected, found) = (known(CALL, "segments")?, heard(&transcript(&api, CALL_FILE).await?)?);
        wrong_call.push(wrong_share(&expected, &found));
        right.push(right_share(&expected, &found));
        let others = usage.other_cores;
        figure::say(&format!("# run {run}: {:.3} CPU-s a second, others {others:.2} cores", cost[run]));
    }
    let of_reading = |metric, runs: &[f64]| Figure::new("speech", "a reading of 25 s", metric, runs);
    let of_call = |metric, runs: &[f64]| Figure::new("speech", "a call on two channels", metric, runs);
    report.add(of_reading("wrong words, share", &wrong).want(Want::AtMost(WRONG_MAX)));
    report.add(of_reading("cpu_s of a second", &cost).want(Want::AtMost(REAL_TIME_MAX)));
    report.add(of_call("words of the right party, share", &right).want(Want::AtLeast(SPEAKERS_MIN)));
    report.add(of_call("wrong words, share", &wrong_call));
    Ok(())
}

async fn transcript(api: &Api, file: &str) -> anyhow::Result<Value> {
    let blob = upload(api, &Path::new(FIXTURES).join(file)).await?;
    let (_, result) = done(api, "transcript", &blob).await?;
    ensure!(result["status"] == "ok", "no transcript: {result}");
    Ok(result)
}

/// The words of a recording as it is known, from the list of this name.
fn known(recording: &str, list: &str) -> anyhow::Result<Vec<Spoken>> {
    let text = fs::read(Path::new(FIXTURES).join(format!("{recording}.json"))).context("no known text")?;
    let known: Value = serde_json::from_slice(&text).context("the known text is no JSON")?;
    spoken(&known[list])
}

fn heard(result: &Value) -> anyhow::Result<Vec<Spoken>> {
    spoken(&result["segments"])
}

fn spoken(segments: &Value) -> anyhow::Result<Vec<Spoken>> {
    let Value::Array(segments) = segments else { bail!("there are no segments: {segments}") };
    let mut spoken = vec![];
    for segment in segments {
        let text = segment["text"].as_str().context("a segment without text")?;
        let channel = segment["channel"].as_u64();
        spoken.extend(
            text.split([' ', '-']).map(plain).filter(|word| !word.is_empty()).map(|word| Spoken { word, channel }),
        );
    }
    Ok(spoken)
}

/// A word without what is not said; titles and numbers are the same, written out and not.
fn plain(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_alphanumeric() || *c == '%').collect::<String>().to_lowercase();
    match plain.as_str() {
        "mister" => "mr".to_owned(),
        "10" => "ten".to_owned(),
        _ => plain,
    }
}

/// Words that are wrong, missing or too many, as a share of those that were said.
fn wrong_share(expected: &[Spoken], found: &[Spoken]) -> f64 {
    let pairs = aligned(expected, found);
    let same = pairs.iter().filter(|(a, b)| expected[*a].word == found[*b].word).count();
    // Whatever is not paired was left out or put in.
    let edits = expected.len() + found.len() - pairs.len() - same;
    count(edits) / count(expected.len())
}

/// Words that were heard on the channel of whoever said them, as a share of those that were heard.
fn right_share(expected: &[Spoken], found: &[Spoken]) -> f64 {
    let pairs = aligned(expected, found);
    let right = pairs.iter().filter(|(a, b)| expected[*a].channel == found[*b].channel).count();
    count(right) / count(pairs.len().max(1))
}

/// Which words stand for each other when one text is turned into the other with the fewest edits.
fn aligned(expected: &[Spoken], found: &[Spoken]) -> Vec<(usize, usize)> {
    let (rows, columns) = (expected.len(), found.len());
    let cost = |a: usize, b: usize| usize::from(expected[a].word != found[b].word);
    // Edits from each pair of places to the ends.
    let mut edits = vec![vec![0; columns + 1]; rows + 1];
    for a in (0..=rows).rev() {
        for b in (0..=columns).rev() {
            edits[a][b] = match (a < rows, b < columns) {
                (true, true) => (edits[a + 1][b + 1] + cost(a, b)).min(edits[a + 1][b] + 1).min(edits[a][b + 1] + 1),
                (true, false) => edits[a + 1][b] + 1,
                (false, true) => edits[a][b + 1] + 1,
                (false, false) => 0,
            };
        }
    }
    let (mut pairs, mut a, mut b) = (vec![], 0, 0);
    while a < rows && b < columns {
        if edits[a][b] == edits[a + 1][b + 1] + cost(a, b) {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if edits[a][b] == edits[a + 1][b] + 1 {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, channel: u64) -> Vec<Spoken> {
        text.split(' ').map(|word| Spoken { word: plain(word), channel: Some(channel) }).collect()
    }

    #[test]
    fn edits_and_parties_are_counted() {
        let expected = [said("Hello Mister Dashwood", 0), said("ten more seats please", 1)].concat();
        assert_eq!((wrong_share(&expected, &expected), right_share(&expected, &expected)), (0.0, 1.0));
        // One exchanged, one left out, one put in; one on the wrong channel.
        let found = [said("hello, Mr. Ashwood", 0), said("10", 0), said("seats please sir", 1)].concat();
        assert!((wrong_share(&expected, &found) - 3.0 / 7.0).abs() < 1e-9);
        assert!((right_share(&expected, &found) - 5.0 / 6.0).abs() < 1e-9);
        assert!((wrong_share(&expected, &[]) - 1.0).abs() < 1e-9);
    }
}
