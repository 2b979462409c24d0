//! An indexed document as a blob: its text, where it may be cited, and its vectors. Written by `index`, read by `library`.
//!
//! JSON with a version, so that any tool can read it; vectors are base64 of one byte a coordinate, scales of
//! little-endian 32-bit floats.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::domain::search::{Chunk, Rows, Segment, Span, TermIndex};

/// The form written today. Others are refused: the document is indexed again.
const VERSION: u32 = 1;

/// A document ready to be searched.
#[derive(Debug)]
pub(crate) struct Document {
    pub text: String,
    pub segments: Vec<Segment>,
    pub chunks: Vec<Chunk>,
    pub vectors: Option<Vectors>,
    pub terms: TermIndex,
}

/// The vectors of the chunks and the model that made them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vectors {
    pub model: String,
    pub rows: Rows,
}

/// Why a blob is not a document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DocumentError {
    #[error("the blob is not a document: {0}")]
    Malformed(String),
    #[error("the document has version {0}, this build reads {VERSION}")]
    Version(u32),
    #[error("the document's ranges or vectors do not fit its text")]
    Inconsistent,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    title: String,
    text: String,
    segments: Vec<StoredSegment>,
    /// How many segments each chunk has.
    chunks: Vec<usize>,
    vectors: Option<StoredVectors>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    start: usize,
    end: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    start_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    end_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredVectors {
    model: String,
    dims: usize,
    levels: String,
    scales: String,
}

/// The bytes of a document.
pub(crate) fn encode(
    title: &str,
    text: &str,
    segments: &[Segment],
    chunks: &[Chunk],
    vectors: Option<&Vectors>,
) -> Vec<u8> {
    let stored = Stored {
        version: VERSION,
        title: title.to_owned(),
        text: text.to_owned(),
        segments: segments.iter().map(store_segment).collect(),
        chunks: chunks.iter().map(|chunk| chunk.segments.len()).collect(),
        vectors: vectors.map(store_vectors),
    };
    serde_json::to_vec(&stored).expect("a document has string keys only")
}

/// Reads a document and checks that all of it fits together.
pub(crate) fn decode(bytes: &[u8]) -> Result<Document, DocumentError> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| DocumentError::Malformed(error.to_string()))?;
    if stored.version != VERSION {
        return Err(DocumentError::Version(stored.version));
    }
    let segments: Vec<Segment> = stored.segments.iter().map(load_segment).collect();
    let fits = |range: &Range<usize>| stored.text.get(range.clone()).is_some_and(|text| !text.is_empty());
    let ordered = segments.windows(2).all(|pair| pair[0].bytes.end <= pair[1].bytes.start);
    let inside = segments.iter().all(|segment| fits(&segment.bytes));
    let chunks = load_chunks(&stored.chunks, &segments).filter(|_| ordered && inside);
    let chunks = chunks.ok_or(DocumentError::Inconsistent)?;
    let vectors = stored.vectors.map(|vectors| load_vectors(&vectors, chunks.len())).transpose()?;
    let terms = TermIndex::build(chunks.iter().map(|chunk| &stored.text[chunk.bytes.clone()]));
    Ok(Document { text: stored.text, segments, chunks, vectors, terms })
}

impl Document {
    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let vectors = self.vectors.as_ref().map_or(0, |vectors| vectors.rows.levels().len());
        let ranges = size_of::<Segment>() * self.segments.len() + size_of::<Chunk>() * self.chunks.len();
        self.text.len() + ranges + vectors + self.terms.bytes()
    }
}

fn store_segment(segment: &Segment) -> StoredSegment {
    StoredSegment {
        start: segment.bytes.start,
        end: segment.bytes.end,
        start_ms: segment.time.map(|time| time.start_ms),
        end_ms: segment.time.map(|time| time.end_ms),
    }
}

fn load_segment(stored: &StoredSegment) -> Segment {
    let time = stored.start_ms.zip(stored.end_ms).map(|(start_ms, end_ms)| Span { start_ms, end_ms });
    Segment { bytes: stored.start..stored.end, time }
}

fn load_chunks(lengths: &[usize], segments: &[Segment]) -> Option<Vec<Chunk>> {
    let mut chunks = vec![];
    let mut start = 0_usize;
    for length in lengths {
        let range = start..start.checked_add(*length)?;
        let covered = segments.get(range.clone())?;
        let (first, last) = (covered.first()?, covered.last()?);
        let time = first.time.zip(last.time).map(|(a, b)| Span { start_ms: a.start_ms, end_ms: b.end_ms });
        start = range.end;
        chunks.push(Chunk { segments: range, bytes: first.bytes.start..last.bytes.end, time });
    }
    (start == segments.len()).then_some(chunks)
}

fn store_vectors(vectors: &Vectors) -> StoredVectors {
    let levels: Vec<u8> = vectors.rows.levels().iter().map(|level| level.cast_unsigned()).collect();
    let scales: Vec<u8> = vectors.rows.scales().iter().flat_map(|scale| scale.to_le_bytes()).collect();
    StoredVectors {
        model: vectors.model.clone(),
        dims: vectors.rows.dims(),
        levels: BASE64_STANDARD.encode(levels),
        scales: BASE64_STANDARD.encode(scales),
    }
}

fn load_vectors(stored: &StoredVectors, chunks: usize) -> Result<Vectors, DocumentError> {
    let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| DocumentError::Malformed(error.to_string()));
    let levels: Vec<i8> = bytes(&stored.levels)?.into_iter().map(u8::cast_signed).collect();
    let scales = floats(&bytes(&stored.scales)?).ok_or(DocumentError::Inconsistent)?;
    let rows = Rows::from_parts(stored.dims, levels, scales).filter(|rows| rows.scales().len() == chunks);
    Ok(Vectors { model: stored.model.clone(), rows: rows.ok_or(DocumentError::Inconsistent)? })
}

/// Little-endian 32-bit floats; `None` when bytes are left over.
pub(crate) fn floats(bytes: &[u8]) -> Option<Vec<f32>> {
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::search::cut;

    fn sample() -> (String, Vec<Segment>) {
        let text = "Hello there.\nGood bye.\n".to_owned();
        let time = |start_ms, end_ms| Some(Span { start_ms, end_ms });
        let segments =
            vec![Segment { bytes: 0..12, time: time(0, 900) }, Segment { bytes: 13..22, time: time(900, 2000) }];
        (text, segments)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (text, segments) = sample();
        let chunks = cut(&text, &segments);
        let vectors = Vectors { model: "local/x".into(), rows: Rows::quantize(&[vec![0.6, -0.8]]).unwrap() };
        let document = decode(&encode("Title", &text, &segments, &chunks, Some(&vectors))).unwrap();
        assert_eq!((document.text, document.segments, document.chunks), (text, segments, chunks));
        assert_eq!(document.vectors, Some(vectors));
        assert_eq!(document.terms.chunks(), 1);
    }

    #[test]
    fn stored_form_stays() {
        let (text, segments) = sample();
        let bytes = encode("T", &text, &segments, &cut(&text, &segments), None);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"version":1,"title":"T","text":"Hello there.\nGood bye.\n","segments":[{"start":0,"end":12,"start_ms":0,"end_ms":900},{"start":13,"end":22,"start_ms":900,"end_ms":2000}],"chunks":[2],"vectors":null}"#
        );
    }

    #[track_caller]
    fn refused(from: &str, to: &str, expected: &DocumentError) {
        let (text, segments) = sample();
        let vectors = Vectors { model: "m".into(), rows: Rows::quantize(&[vec![1.0]]).unwrap() };
        let bytes = encode("T", &text, &segments, &cut(&text, &segments), Some(&vectors));
        let changed = String::from_utf8(bytes).unwrap().replace(from, to);
        assert_eq!(&decode(changed.as_bytes()).unwrap_err(), expected, "{changed}");
    }

    #[test]
    fn damaged_documents_are_refused() {
        use DocumentError::{Inconsistent, Version};
        refused("\"version\":1", "\"version\":2", &Version(2));
        refused("\"end\":22", "\"end\":99", &Inconsistent);
        refused("\"start\":13", "\"start\":5", &Inconsistent);
        refused("\"start\":0,", "\"start\":12,", &Inconsistent);
        refused("\"chunks\":[2]", "\"chunks\":[1]", &Inconsistent);
        refused("\"chunks\":[2]", "\"chunks\":[2,0]", &Inconsistent);
        refused("\"dims\":1", "\"dims\":2", &Inconsistent);
        assert!(matches!(decode(b"{}"), Err(DocumentError::Malformed(_))));
    }
}
