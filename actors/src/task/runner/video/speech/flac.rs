//! A window of sound as FLAC, half the bytes of plain samples: what services are sent. Called by the transcript runner.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::super::failure;
use super::super::tools::{Call, Tools, input_args};
use super::SAMPLE_RATE;
use crate::task::runner::{Reporter, TaskError};

/// The window as it goes to ffmpeg and as it comes back.
const PLAIN: &str = "window.wav";
const PACKED: &str = "window.flac";
/// The longest window.
const WINDOW_LENGTH: Duration = Duration::from_secs(30);
/// What services take in one request; plain samples of a window are a thirteenth of it.
const REQUEST_BYTES_MAX: u64 = 24 << 20;
const SAMPLE_BYTES: u32 = 4;
const _: () = assert!(30 * 16_000 * 4 < REQUEST_BYTES_MAX && SAMPLE_RATE == 16_000);

/// Packs samples; leaves both files in the folder to be overwritten.
pub(in super::super) async fn flac(
    tools: &Tools,
    samples: &[f32],
    folder: &Path,
    reporter: &Reporter,
) -> Result<Bytes, TaskError> {
    let plain = folder.join(PLAIN);
    fs::write(&plain, wav(samples)).map_err(|error| failure::storage(&error))?;
    let mut args = vec!["-threads".to_owned(), "1".to_owned()];
    args.extend(input_args(&plain));
    let form = ["-map", "0:0", "-sample_fmt", "s16", "-c:a", "flac", "-map_metadata", "-1", "-bitexact", "-f", "flac"];
    args.extend(form.map(str::to_owned));
    args.push(PACKED.to_owned());
    let call = Call { args, input: Some(&plain), folder, length: WINDOW_LENGTH };
    tools.ffmpeg(call, reporter, &mut |_| {}).await?;
    fs::read(folder.join(PACKED)).map(Bytes::from).map_err(|error| failure::storage(&error))
}

/// One channel of 32-bit floating point samples.
fn wav(samples: &[f32]) -> Vec<u8> {
    let data_bytes = u32::try_from(samples.len()).expect("a window is short") * SAMPLE_BYTES;
    let mut wav = Vec::with_capacity(samples.len() * 4 + 44);
    wav.extend(b"RIFF");
    wav.extend((36 + data_bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // Form 3 is floating point; one channel.
    wav.extend([3, 0, 1, 0]);
    wav.extend(SAMPLE_RATE.to_le_bytes());
    wav.extend((SAMPLE_RATE * SAMPLE_BYTES).to_le_bytes());
    // Bytes of a moment, bits of a sample.
    wav.extend([4, 0, 32, 0]);
    wav.extend(b"data");
    wav.extend(data_bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    wav
}
