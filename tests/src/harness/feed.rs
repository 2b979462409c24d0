//! A subscriber: reads a feed as it happens and checks that no event is missing or doubled.

use serde_json::Value;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::subscribe_request::From as Start;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{Event, SubscribeRequest, SubscribeResponse};
use tonic::{Status, Streaming};

use super::api::Line;
use super::wait::WAIT_MAX;

/// The stream of one account's events.
pub struct Follow {
    stream: Streaming<SubscribeResponse>,
    /// Number of the last event seen.
    pub seq: u64,
}

/// An event's data.
///
/// # Panics
/// When it is no JSON.
#[must_use]
pub fn data(event: &Event) -> Value {
    serde_json::from_str(&event.data_json).expect("an event's data is JSON")
}

impl Follow {
    pub(super) async fn open(mut events: EventServiceClient<Line>, account: &str, after_seq: u64) -> Self {
        let from = Some(Start::AfterSeq(after_seq));
        let request = SubscribeRequest { account_id: account.to_owned(), from, types: vec![], until_now: false };
        let stream = events.subscribe(request).await.expect("the subscription is accepted").into_inner();
        Self { stream, seq: after_seq }
    }

    /// The next event; an error when the stream ended.
    pub async fn next(&mut self) -> Result<Event, Status> {
        loop {
            let answer = self.stream.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
            match answer.item {
                Some(Item::Event(event)) => {
                    assert_eq!(event.seq, self.seq + 1, "an event is missing or came twice");
                    self.seq = event.seq;
                    return Ok(event);
                }
                Some(Item::Gap(gap)) => panic!("the feed lost events: {gap:?}"),
                Some(Item::CaughtUpSeq(_)) | None => {}
            }
        }
    }

    /// Reads on until an event fits; returns it with its data.
    ///
    /// # Panics
    /// When none comes within [`WAIT_MAX`].
    pub async fn until(&mut self, what: &str, fits: impl Fn(&Event, &Value) -> bool) -> (Event, Value) {
        let reading = async {
            loop {
                let event = self.next().await.expect("the stream goes on");
                let data = data(&event);
                if fits(&event, &data) {
                    return (event, data);
                }
            }
        };
        let read = tokio::time::timeout(WAIT_MAX, reading).await;
        read.unwrap_or_else(|_| panic!("{what} did not come within {WAIT_MAX:?}"))
    }

    /// Reads on until a task's event of this type comes.
    pub async fn until_task(&mut self, event_type: &str, task: &str) -> (Event, Value) {
        let what = format!("{event_type} of {task}");
        self.until(&what, |event, data| event.r#type == event_type && data["task"] == task).await
    }

    /// Reads on until the job ends; returns the last event's type and data.
    pub async fn until_job_ends(&mut self, job: &str) -> (String, Value) {
        let ends = |event: &Event, data: &Value| {
            matches!(event.r#type.as_str(), "job.succeeded" | "job.failed" | "job.cancelled") && data["job"] == job
        };
        let (event, data) = self.until("the end of the job", ends).await;
        (event.r#type, data)
    }
}
