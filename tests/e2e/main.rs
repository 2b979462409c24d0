//! End to end: what only a running node can prove. Every test starts the real binary; a file per theme.

mod deliveries;
mod durable;
mod endpoints;
mod feed_reading;
mod hostile;
mod jobs;
mod metrics_text;
mod operating;
mod pipeline;
mod pipeline_faults;
mod proxy;
mod refusals;
mod refusals_auth;
mod storage;
mod storage_damage;
mod tools;
mod uploads;
mod uploads_sdk;
mod webhooks_again;
mod webhooks_batches;
mod webhooks_declared;
mod webhooks_edges;
mod webhooks_in;
mod webhooks_sdks;
mod webhooks_sources;
mod webhooks_unsigned;
