//! The binary `steward`: protocols in, commands out.
//!
//! [`main`] reads the command line. `app` wires a node together, `gateway` speaks to clients, `router` finds the shard,
//! `config` says how, `telemetry` tells what happened.

mod app;
mod between;
mod blobs;
mod cli;
mod cluster;
mod config;
mod data_dir;
mod declared;
mod documents;
mod everything;
mod gateway;
mod metrics;
mod open_files;
mod raising;
mod router;
mod runners;
mod shutdown;
mod telemetry;
mod watch;

pub use cli::main;
