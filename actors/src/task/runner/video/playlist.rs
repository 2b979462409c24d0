//! HLS playlists: what a media playlist says, and the master that names the renditions. Pure.
//!
//! Files are blobs, so a playlist names others by hash, with an end that players know: they lie beside it under `…/blobs/`.

use std::fmt::Write as _;

/// A media playlist over one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaPlaylist {
    text: String,
    /// Where each segment ends, from the first one's start.
    pub ends_us: Vec<i64>,
    /// Bits a second of the fullest segment.
    pub peak_bits: u64,
    bytes: u64,
}

impl MediaPlaylist {
    /// Reads what ffmpeg wrote, and puts another name for its file. None: it is not what was asked for.
    pub(super) fn read(text: &str, file: &str, name: &str) -> Option<Self> {
        let mut found = Self { text: String::new(), ends_us: vec![], peak_bits: 0, bytes: 0 };
        let (mut end_us, mut length_us) = (0, 0);
        for line in text.lines() {
            if let Some(seconds) = line.strip_prefix("#EXTINF:") {
                length_us = micros(seconds.split(',').next()?)?;
                end_us += length_us;
                found.ends_us.push(end_us);
            } else if let Some(range) = line.strip_prefix("#EXT-X-BYTERANGE:") {
                let bytes: u64 = range.split('@').next()?.parse().ok()?;
                found.bytes += bytes;
                let bits = bytes.checked_mul(8_000_000)?.checked_div(u64::try_from(length_us).ok()?)?;
                found.peak_bits = found.peak_bits.max(bits);
            }
            let line = if line == file {
                name.to_owned()
            } else {
                line.replace(&format!("\"{file}\""), &format!("\"{name}\""))
            };
            writeln!(found.text, "{line}").expect("a text grows");
        }
        let is_whole = text.starts_with("#EXTM3U") && text.trim_end().ends_with("#EXT-X-ENDLIST");
        (is_whole && !found.ends_us.is_empty() && !found.text.contains(file)).then_some(found)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Bits a second over all.
    pub(super) fn average_bits(&self) -> u64 {
        let length_us = self.ends_us.last().copied().and_then(|us| u64::try_from(us).ok()).unwrap_or_default();
        self.bytes.saturating_mul(8_000_000).checked_div(length_us).unwrap_or_default()
    }
}

/// Microseconds of a text such as `6.016000`.
fn micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

/// A rendition, as the master names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendition {
    /// Its media playlist.
    pub name: String,
    /// As in RFC 6381.
    pub codec: String,
    pub peak_bits: u64,
    pub average_bits: u64,
    /// Width and height; none for sound.
    pub size: Option<(u32, u32)>,
}

/// The master playlist: each picture rendition with the sound, or the sound alone.
pub(super) fn master(pictures: &[Rendition], sound: Option<&Rendition>) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    let mut line = |line: String| writeln!(text, "{line}").expect("a text grows");
    if let Some(sound) = sound.filter(|_| !pictures.is_empty()) {
        let name = &sound.name;
        line(format!(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"sound\",NAME=\"sound\",DEFAULT=YES,AUTOSELECT=YES,URI=\"{name}\""
        ));
    }
    let alone = sound.filter(|_| pictures.is_empty());
    for rendition in pictures.iter().chain(alone) {
        let beside = sound.filter(|_| rendition.size.is_some());
        let (peak, average) = beside.map_or((0, 0), |sound| (sound.peak_bits, sound.average_bits));
        let codecs: Vec<&str> = [Some(rendition), beside].into_iter().flatten().map(|r| r.codec.as_str()).collect();
        let mut info = format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
            rendition.peak_bits + peak,
            rendition.average_bits + average,
            codecs.join(",")
        );
        if let Some((width, height)) = rendition.size {
            write!(info, ",RESOLUTION={width}x{height}").expect("a text grows");
        }
        if beside.is_some() {
            info.push_str(",AUDIO=\"sound\"");
        }
        line(info);
        line(rendition.name.clone());
    }
    text
}

/// The codec of H.264 pictures, from the configuration in the head of their file.
pub(super) fn h264_codec(head: &[u8]) -> Option<String> {
    let at = head.windows(4).position(|window| window == b"avcC")?;
    // The configuration's version, then profile, constraints and level.
    let &[1, profile, constraints, level] = head.get(at + 4..at + 8)? else { return None };
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// What AAC-LC sound is called, the only kind made and passed through here.
pub(super) const AAC_CODEC: &str = "mp4a.40.2";

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"r0.mp4\",BYTERANGE=\"839@0\"\n\
        #EXTINF:6.000000,\n#EXT-X-BYTERANGE:600000@839\nr0.mp4\n#EXTINF:2.016000,\n#EXT-X-BYTERANGE:252000@600839\nr0.mp4\n\
        #EXT-X-ENDLIST\n";

    #[test]
    fn a_media_playlist_is_measured_and_its_file_renamed() {
        let read = MediaPlaylist::read(WRITTEN, "r0.mp4", "abc").unwrap();
        assert_eq!(read.ends_us, [6_000_000, 8_016_000]);
        assert_eq!((read.peak_bits, read.average_bits()), (1_000_000, 850_299));
        assert_eq!(read.text(), WRITTEN.replace("r0.mp4", "abc"));
        for broken in ["", "#EXTM3U\n#EXT-X-ENDLIST\n", WRITTEN.trim_end_matches("#EXT-X-ENDLIST\n")] {
            assert_eq!(MediaPlaylist::read(broken, "r0.mp4", "abc"), None, "{broken}");
        }
    }

    #[test]
    fn a_master_says_what_players_choose_by() {
        let picture = |name: &str, peak_bits, size| Rendition {
            name: name.to_owned(),
            codec: "avc1.64001f".to_owned(),
            peak_bits,
            average_bits: peak_bits / 2,
            size: Some(size),
        };
        let sound = Rendition {
            name: "ss".to_owned(),
            codec: AAC_CODEC.to_owned(),
            peak_bits: 100,
            average_bits: 90,
            size: None,
        };
        let pictures = [picture("aa", 4000, (1280, 720)), picture("bb", 1000, (640, 360))];
        let want = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"sound\",NAME=\"sound\",DEFAULT=YES,AUTOSELECT=YES,URI=\"ss\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=4100,AVERAGE-BANDWIDTH=2090,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,AUDIO=\"sound\"\naa\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1100,AVERAGE-BANDWIDTH=590,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=640x360,AUDIO=\"sound\"\nbb\n";
        assert_eq!(master(&pictures, Some(&sound)), want);
        let alone = master(&[], Some(&sound));
        assert!(
            alone.ends_with("#EXT-X-STREAM-INF:BANDWIDTH=100,AVERAGE-BANDWIDTH=90,CODECS=\"mp4a.40.2\"\nss\n"),
            "{alone}"
        );
        assert!(!master(&pictures, None).contains("AUDIO"));
    }

    #[test]
    fn the_codec_is_read_from_the_head_of_the_file() {
        assert_eq!(h264_codec(b"....avcC\x01\x64\x00\x1f\xff").as_deref(), Some("avc1.64001f"));
        assert_eq!(h264_codec(b"....avcC\x02\x64\x00\x1f\xff"), None);
        assert_eq!(h264_codec(b"....avcC\x01\x64"), None);
    }
}
