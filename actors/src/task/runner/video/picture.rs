//! What is done to each picture before it is encoded: turned upright, made square-pixelled, fitted, converted. Pure.

use super::inspect::Video;

/// The largest picture made, either way up.
const LONG_SIDE_MAX: u64 = 1920;
const SHORT_SIDE_MAX: u64 = 1080;
/// High dynamic range to what ordinary screens show.
const TONE_MAP: &str = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0,zscale=t=bt709:m=bt709:r=tv";

/// Width and height of the encoded picture: upright, square pixels, even, within the limits, never enlarged.
pub(super) fn size(video: &Video) -> (u32, u32) {
    let (aspect_width, aspect_height) = video.sample_aspect;
    let (mut width, mut height) = (u64::from(video.width), u64::from(video.height));
    // Wide samples become more pixels, never fewer lines.
    width = (width * u64::from(aspect_width) / u64::from(aspect_height)).max(2);
    if video.rotation.rem_euclid(180) == 90 {
        (width, height) = (height, width);
    }
    let (width_max, height_max) =
        if width >= height { (LONG_SIDE_MAX, SHORT_SIDE_MAX) } else { (SHORT_SIDE_MAX, LONG_SIDE_MAX) };
    if width > width_max {
        (width, height) = (width_max, height * width_max / width);
    }
    if height > height_max {
        (width, height) = (width * height_max / height, height_max);
    }
    let even = |side: u64| u32::try_from((side / 2 * 2).max(2)).expect("sides are within the limits");
    (even(width), even(height))
}

/// The filters, in order. ffmpeg itself turns the picture upright before them.
pub(super) fn filters(video: &Video) -> String {
    format!("setpts=PTS-STARTPTS,{}", timed_filters(video))
}

/// The same, for pictures that keep their times.
pub(super) fn timed_filters(video: &Video) -> String {
    let (width, height) = size(video);
    format!("{}scale={width}:{height},setsar=1,format=yuv420p", conversion(video))
}

/// What comes before scaling: each filter with a comma behind it.
pub(super) fn conversion(video: &Video) -> String {
    let mut chain = String::new();
    if video.interlaced {
        chain.push_str("bwdif=deint=interlaced,");
    }
    if video.hdr {
        chain.push_str(TONE_MAP);
        chain.push(',');
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::super::plan::TimeBase;
    use super::*;

    fn video(width: u32, height: u32, rotation: i32, sample_aspect: (u32, u32)) -> Video {
        Video {
            index: 0,
            codec: String::new(),
            width,
            height,
            pixel_format: String::new(),
            time_base: TimeBase { numerator: 1, denominator: 25 },
            start_us: 0,
            frame_us: 40_000,
            rotation,
            sample_aspect,
            interlaced: false,
            hdr: false,
        }
    }

    #[test]
    fn pictures_fit_upright_and_even() {
        let cases = [
            ((640, 360, 0, (1, 1)), (640, 360)),
            ((641, 361, 0, (1, 1)), (640, 360)),
            ((640, 360, -90, (1, 1)), (360, 640)),
            ((640, 360, 180, (1, 1)), (640, 360)),
            ((3840, 2160, 0, (1, 1)), (1920, 1080)),
            ((3840, 2160, 90, (1, 1)), (1080, 1920)),
            ((1440, 1080, 0, (4, 3)), (1920, 1080)),
            ((2000, 2000, 0, (1, 1)), (1080, 1080)),
            ((1, 4000, 0, (1, 1)), (2, 1920)),
        ];
        for ((width, height, rotation, aspect), expected) in cases {
            assert_eq!(
                size(&video(width, height, rotation, aspect)),
                expected,
                "{width}x{height} {rotation} {aspect:?}"
            );
        }
    }

    #[test]
    fn only_what_needs_it_is_deinterlaced_and_tone_mapped() {
        let plain = video(640, 360, 0, (1, 1));
        assert_eq!(filters(&plain), "setpts=PTS-STARTPTS,scale=640:360,setsar=1,format=yuv420p");
        let both = filters(&Video { interlaced: true, hdr: true, ..plain });
        assert!(both.find("bwdif").unwrap() < both.find("tonemap").unwrap() && both.ends_with("format=yuv420p"));
    }
}
