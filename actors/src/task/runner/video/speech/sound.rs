//! A recording's sound as engines take it: raw samples in a file, and how loud each moment is.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::SAMPLE_RATE;
use super::cut::{LEVELS_PER_SECOND, has_speech};

/// Samples of one channel behind one level.
const SAMPLES_PER_LEVEL: usize = 160;
/// Bytes of one sample.
const SAMPLE_BYTES: usize = 2;
/// Channels this alike hold the same people; measured on calls, parties on channels of their own stay far below.
const ALIKE_MIN: f64 = 0.3;

const _: () = assert!(SAMPLES_PER_LEVEL * LEVELS_PER_SECOND == 16_000 && SAMPLE_RATE == 16_000);

/// One thing to listen to.
#[derive(Debug)]
pub(in super::super) struct Track {
    /// The channel, or none for all of them together.
    pub channel: Option<u8>,
    /// Loudness of each 10 ms.
    pub levels: Vec<f32>,
}

/// Samples in a file, channels interleaved.
#[derive(Debug, Clone)]
pub(in super::super) struct Sound {
    pub file: PathBuf,
    pub channels: usize,
}

impl Sound {
    pub(in super::super) fn new(file: &Path, channels: usize) -> Self {
        Self { file: file.to_owned(), channels }
    }

    /// What to listen to: each channel by itself when each party has one, else all together. Blocks.
    pub(in super::super) fn tracks(&self) -> io::Result<Vec<Track>> {
        let mut reader = BufReader::new(File::open(&self.file)?);
        let mut block = vec![0; SAMPLES_PER_LEVEL * SAMPLE_BYTES * self.channels];
        let (mut mixed, mut apart) = (vec![], vec![vec![]; self.channels]);
        let (mut product, mut squares) = (0.0, [0.0; 2]);
        while reader.read_exact(&mut block).is_ok() {
            let samples = decode(&block);
            mixed.push(level(&mix(&samples, self.channels)));
            for (channel, levels) in apart.iter_mut().enumerate() {
                levels.push(level(&pick(&samples, self.channels, channel)));
            }
            for pair in samples.chunks_exact(2).filter(|_| self.channels == 2) {
                let (left, right) = (f64::from(pair[0]), f64::from(pair[1]));
                product += left * right;
                squares = [squares[0] + left * left, squares[1] + right * right];
            }
        }
        let alike = product.abs() / (squares[0] * squares[1]).sqrt().max(f64::MIN_POSITIVE);
        if self.channels == 2 && alike < ALIKE_MIN && apart.iter().all(|levels| has_speech(levels)) {
            return Ok((0..).zip(apart).map(|(channel, levels)| Track { channel: Some(channel), levels }).collect());
        }
        Ok(vec![Track { channel: None, levels: mixed }])
    }

    /// The samples of some levels of a track. Blocks.
    pub(in super::super) fn samples(&self, channel: Option<u8>, levels: &Range<usize>) -> io::Result<Vec<f32>> {
        let level_bytes = SAMPLES_PER_LEVEL * SAMPLE_BYTES * self.channels;
        let mut file = File::open(&self.file)?;
        let from = u64::try_from(levels.start * level_bytes).expect("a file position fits in 64 bits");
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = vec![0; levels.len() * level_bytes];
        file.read_exact(&mut bytes)?;
        let samples = decode(&bytes);
        Ok(match channel {
            Some(channel) => pick(&samples, self.channels, usize::from(channel)),
            None => mix(&samples, self.channels),
        })
    }
}

fn decode(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0).collect()
}

fn pick(samples: &[f32], channels: usize, channel: usize) -> Vec<f32> {
    samples.iter().skip(channel).step_by(channels).copied().collect()
}

fn mix(samples: &[f32], channels: usize) -> Vec<f32> {
    let share = 1.0 / f32::from(u16::try_from(channels).expect("channels are few"));
    samples.chunks_exact(channels).map(|moment| moment.iter().sum::<f32>() * share).collect()
}

/// Root mean square.
fn level(samples: &[f32]) -> f32 {
    let count = f32::from(u16::try_from(samples.len()).expect("a level covers few samples"));
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(dir: &Path, moment: impl Fn(u16) -> [i16; 2]) -> Sound {
        let file = dir.join("sound");
        let bytes: Vec<u8> = (0..16_000).flat_map(moment).flat_map(i16::to_le_bytes).collect();
        std::fs::write(&file, bytes).unwrap();
        Sound::new(&file, 2)
    }

    #[test]
    fn parties_on_channels_of_their_own_are_heard_apart() {
        let dir = tempfile::tempdir().unwrap();
        let wave = |at: u16| if at % 100 < 50 { 8000 } else { -8000 };
        let turns = sound(dir.path(), |at| if at < 8000 { [wave(at), 0] } else { [0, wave(at)] });
        let tracks = turns.tracks().unwrap();
        assert_eq!(tracks.iter().map(|track| track.channel).collect::<Vec<_>>(), [Some(0), Some(1)]);
        assert!(tracks[0].levels[10] > 0.2 && tracks[0].levels[60] < 0.001);
        assert_eq!(turns.samples(Some(1), &(50..51)).unwrap()[0], 8000.0 / 32_768.0);
        let same = sound(dir.path(), |at| [wave(at), wave(at)]);
        assert_eq!(same.tracks().unwrap().iter().map(|track| track.channel).collect::<Vec<_>>(), [None]);
        assert_eq!(same.samples(None, &(0..100)).unwrap().len(), 16_000);
        let one_silent = sound(dir.path(), |at| [wave(at), 0]);
        assert_eq!(one_silent.tracks().unwrap().len(), 1);
    }
}
