//! A subscriber: prints every event with its cursor, draws the long steps, and checks that the feed has no gap.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::subscribe_request::From as Start;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{Event, SubscribeRequest, SubscribeResponse};
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

/// How long the demo waits for the next event before it gives up.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How long a subscriber tries to come back to a node that is gone.
const RECONNECT_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Watch {
    grpc: String,
    key: String,
    account: String,
    stream: Option<Streaming<SubscribeResponse>>,
    bars: MultiProgress,
    tasks: BTreeMap<String, ProgressBar>,
    /// The cursor: number of the last event seen.
    pub(crate) seq: u64,
    pub(crate) counts: BTreeMap<String, u32>,
    pub(crate) reconnects: u32,
}

impl Watch {
    pub(crate) fn new(grpc: &str, key: &str, account: &str) -> Self {
        Self {
            grpc: grpc.to_owned(),
            key: key.to_owned(),
            account: account.to_owned(),
            stream: None,
            bars: MultiProgress::new(),
            tasks: BTreeMap::new(),
            seq: 0,
            counts: BTreeMap::new(),
            reconnects: 0,
        }
    }

    /// Prints above the progress bars.
    #[expect(clippy::print_stdout, reason = "a demo talks to a person")]
    pub(crate) fn say(&self, line: &str) {
        if std::io::stdout().is_terminal() {
            self.bars.println(line).ok(); // A terminal that is gone cannot be told.
        } else {
            println!("{line}");
        }
    }

    /// Follows the feed until an event is the one waited for; returns its data.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> anyhow::Result<(Event, Value)> {
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, self.next()).await;
            let event = next.with_context(|| format!("no event within {SILENCE_MAX:?}"))??;
            let data: Value = serde_json::from_str(&event.data_json).context("an event's data is no JSON")?;
            self.show(&event, &data);
            if wanted(&event.r#type, &data) {
                return Ok((event, data));
            }
        }
    }

    /// The next event, over as many connections as it takes. Each event's number must be the one after the last.
    async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if self.stream.is_none() {
                self.stream = Some(self.connect().await?);
            }
            let stream = self.stream.as_mut().context("just connected")?;
            match stream.message().await {
                Ok(Some(SubscribeResponse { item: Some(Item::Event(event)) })) => {
                    ensure!(event.seq == self.seq + 1, "event {} came after {}", event.seq, self.seq);
                    self.seq = event.seq;
                    return Ok(event);
                }
                Ok(Some(SubscribeResponse { item: Some(Item::Gap(gap)) })) => bail!("the feed has a gap: {gap:?}"),
                Ok(Some(SubscribeResponse { item: Some(Item::CaughtUpSeq(_)) | None })) => {}
                Ok(None) | Err(_) => {
                    self.stream = None;
                    self.reconnects += 1;
                }
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Streaming<SubscribeResponse>> {
        let connecting = async {
            loop {
                if let Ok(stream) = self.try_connect().await {
                    return stream;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let connected = tokio::time::timeout(RECONNECT_MAX, connecting).await;
        connected.with_context(|| format!("no connection to {} within {RECONNECT_MAX:?}", self.grpc))
    }

    async fn try_connect(&self) -> anyhow::Result<Streaming<SubscribeResponse>> {
        let mut client = EventServiceClient::connect(format!("http://{}", self.grpc)).await?;
        let from = Some(Start::AfterSeq(self.seq));
        let mut request =
            Request::new(SubscribeRequest { account_id: self.account.clone(), from, types: vec![], until_now: false });
        let bearer: MetadataValue<_> = format!("Bearer {}", self.key).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        Ok(client.subscribe(request).await?.into_inner())
    }

    fn show(&mut self, event: &Event, data: &Value) {
        *self.counts.entry(event.r#type.clone()).or_default() += 1;
        let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        let task = text("task");
        match event.r#type.as_str() {
            "task.progressed" => self.progress(&task, data["permille"].as_u64().unwrap_or(0), text("note")),
            "task.succeeded" | "task.failed" => {
                if let Some(bar) = self.tasks.remove(&task) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        let what = ["task", "job", "playbook", "endpoint", "document", "source", "message", "code", "reason"]
            .into_iter()
            .filter(|field| data[*field].is_string())
            .map(|field| format!("{field} {}", text(field)))
            .chain(data["failure"]["message"].as_str().map(|message| format!("because {message}")))
            .collect::<Vec<_>>();
        let share = data["permille"].as_u64().map(|permille| format!(" · {} % {}", permille / 10, text("note")));
        self.say(&format!(
            "  {:>4}  {:<34} {}{}",
            event.seq,
            event.r#type,
            what.join(" · "),
            share.unwrap_or_default()
        ));
    }

    fn progress(&mut self, task: &str, permille: u64, note: String) {
        let bars = &self.bars;
        let bar = self.tasks.entry(task.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("        {prefix:<11} {bar:40.cyan/dim} {percent:>3} %  {msg}");
            let bar = bars.add(ProgressBar::new(1000));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(task.to_owned());
            bar
        });
        bar.set_position(permille);
        bar.set_message(note);
    }
}
