//! Real children on real files: the sandbox, and the runners that use it. Needs ffmpeg and a kernel with Landlock.

mod engines;
mod models;
mod normalize;
mod pitfalls;
mod profiles;
mod sandbox;
mod support;
mod transcribing_service;
mod transcript;
