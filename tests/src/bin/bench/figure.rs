//! Figures: medians over runs, held against a peer and a target, printed as JSON lines and as a table.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

/// What a figure should be. It speaks of the ratio when there is a peer, of the value otherwise.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured figure.
#[derive(Serialize)]
pub(crate) struct Figure {
    bench: &'static str,
    case: String,
    metric: &'static str,
    value: f64,
    min: f64,
    max: f64,
    runs: usize,
    peer: Option<String>,
    peer_value: Option<f64>,
    ratio: Option<f64>,
    want: Option<String>,
    ok: Option<bool>,
}

impl Figure {
    /// The median of the runs.
    pub(crate) fn new(bench: &'static str, case: impl Into<String>, metric: &'static str, runs: &[f64]) -> Self {
        let (min, max) =
            runs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), x| (min.min(*x), max.max(*x)));
        Self {
            bench,
            case: case.into(),
            metric,
            value: rounded(median(runs)),
            min: rounded(min),
            max: rounded(max),
            runs: runs.len(),
            peer: None,
            peer_value: None,
            ratio: None,
            want: None,
            ok: None,
        }
    }

    /// Holds it against the median of a peer.
    pub(crate) fn versus(mut self, peer: &str, runs: &[f64]) -> Self {
        let theirs = median(runs);
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(rounded(theirs));
        self.ratio = Some(rounded(self.value / theirs));
        self
    }

    /// Holds it against a target.
    pub(crate) fn want(mut self, want: Want) -> Self {
        let judged = self.ratio.unwrap_or(self.value);
        let (text, ok) = match want {
            Want::AtLeast(least) => (format!(">={least}"), judged >= least),
            Want::AtMost(most) => (format!("<={most}"), judged <= most),
        };
        (self.want, self.ok) = (Some(text), Some(ok));
        self
    }
}

/// All figures of this run.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Value>,
}

impl Report {
    /// Prints a figure and keeps it for the table. Figures without runs, of peers that are not installed, are left out.
    pub(crate) fn add(&mut self, figure: Figure) {
        if figure.runs == 0 {
            return;
        }
        let line = serde_json::to_value(&figure).expect("a figure is plain data");
        // The names in the order of the format, which a JSON value would sort.
        say(&serde_json::to_string(&figure).expect("a figure is plain data"));
        self.lines.push(line);
    }

    /// Prints all figures for people.
    pub(crate) fn table(&self) -> anyhow::Result<()> {
        const COLUMNS: [&str; 11] =
            ["bench", "case", "metric", "value", "min", "max", "peer", "peer_value", "ratio", "want", "ok"];
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(ok) => (if *ok { "yes" } else { "NO" }).to_owned(),
            Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        let mut rows: Vec<Vec<String>> = vec![COLUMNS.map(str::to_owned).to_vec()];
        rows.extend(self.lines.iter().map(|line| COLUMNS.iter().map(|column| cell(&line[*column])).collect()));
        let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let mut out = std::io::stdout().lock();
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A line for whoever watches.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok(); // Nobody reads: the exit code stands.
}

/// The middle one; the mean of the two in the middle.
pub(crate) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// A count as a figure.
pub(crate) fn real(count: u64) -> f64 {
    let half = |half: u64| f64::from(u32::try_from(half).expect("half of 64 bits is 32 bits"));
    half(count >> 32) * 4_294_967_296.0 + half(count & 0xFFFF_FFFF)
}

/// A length as a figure.
pub(crate) fn count(len: usize) -> f64 {
    real(u64::try_from(len).expect("lengths fit 64 bits"))
}

/// Four digits behind the point: enough for milliseconds and ratios.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
