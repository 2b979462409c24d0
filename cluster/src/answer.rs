//! Waits for what the driver says: it answers by callback, tasks want a future.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// A driver that says nothing for so long is stuck or gone.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Hands `ask` a callback and waits for it to be called. Nothing when that does not happen.
pub(crate) async fn answer<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> Option<T> {
    let (told, answered) = oneshot::channel();
    // Whoever waited may have given up.
    ask(Box::new(move |answer| drop(told.send(answer))));
    timeout(ANSWER_MAX, answered).await.ok()?.ok()
}
