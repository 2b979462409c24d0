//! Three nodes in one process, with real sockets between them and stubs for what they answer. Tests move the leadership.

mod api;
mod retries;
mod web;
mod world;
