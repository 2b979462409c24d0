//! A bar per running task, on a terminal. Elsewhere progress is a line like any other event.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use steward_proto::event::v1::Event;

use super::show::parsed;

/// Bars at the same time; more progress than that is lines.
const BARS_MAX: usize = 16;
/// The length of a bar: thousandths.
const LENGTH: u64 = 1_000;

/// The bars of what is being followed.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    running: HashMap<String, ProgressBar>,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        let terminal = !json && io::stdout().is_terminal() && io::stderr().is_terminal();
        Self { bars: terminal.then(MultiProgress::new), running: HashMap::new() }
    }

    /// Shows an event as a bar, if it can be; ends the bars of tasks that ended.
    pub(super) fn shows(&mut self, event: &Event) -> bool {
        let Some(bars) = &self.bars else { return false };
        if !event.r#type.starts_with("task.") {
            return false;
        }
        let data = parsed(&event.data_json);
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let task = format!("{} {}", text("job"), text("task"));
        if event.r#type != "task.progressed" {
            if let Some(bar) = self.running.remove(&task) {
                bar.finish_and_clear();
            }
            return false;
        }
        if !self.running.contains_key(&task) && self.running.len() >= BARS_MAX {
            return false;
        }
        let bar = self.running.entry(task.clone()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:28} {bar:40} {percent:>3}% {msg}");
            let style = style.expect("the template is a constant");
            bars.add(ProgressBar::new(LENGTH)).with_style(style).with_prefix(task)
        });
        bar.set_position(data["permille"].as_u64().unwrap_or_default());
        bar.set_message(text("note"));
        true
    }

    /// Prints something while the bars step aside.
    pub(super) fn beside(&self, print: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}
