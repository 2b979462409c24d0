//! Domain to `record.proto` and back, and the view of an event that clients get.

mod view;

pub use view::{data_json, event_type, public_event};
