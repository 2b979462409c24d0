//! Tests of the AI runners: what a worker would see. `remote` talks to a fake service over a real socket; `local` and
//! `ranking` use the real weights from `.models` and say so loudly when these are absent.

mod bench;
mod fake_openai;
mod local;
mod ranking;
mod remote;
mod unavailable;
