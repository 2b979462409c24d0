//! The kinds of task there are, and which slots they use.

/// What a task does. One runner serves each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Brings the recording into the blob store.
    Fetch,
    /// Looks at a media file and says what can be done with it.
    Probe,
    /// Makes an MP4 (H.264, AAC) that every browser plays.
    Normalize,
    /// Makes a still picture.
    Thumbnail,
    /// Turns speech into text with times.
    Transcript,
    /// Shortens a text and lists its action items.
    Summarize,
    /// Cuts a text into chunks and embeds them for search.
    Index,
    /// Continues a conversation.
    Chat,
    /// Turns texts into vectors.
    Embed,
    /// Finds the chunks nearest to a question.
    Search,
    /// Answers a question from the account's documents, with citations.
    Answer,
    /// Encodes the pictures of one chunk of a recording: a part of `Normalize`.
    Encode,
    /// Encodes the whole sound of a recording whose pictures are encoded in parts.
    Sound,
    /// Makes an HLS ladder.
    Hls,
    /// Makes the sound that speech engines take.
    Audio,
    /// Makes a sheet of small pictures for a player's time line.
    Storyboard,
    /// Cuts a piece out of a recording.
    Clip,
}

/// Which slots of a worker a task takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskClass {
    /// Keeps a core busy; as many slots as cores.
    Cpu,
    /// Waits for the network; many slots.
    Net,
}

impl TaskClass {
    /// The name used in metrics and by clients.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Net => "net",
        }
    }
}

/// Every class.
pub(crate) const TASK_CLASSES: [TaskClass; 2] = [TaskClass::Cpu, TaskClass::Net];

/// Every kind, in the order of their numbers in the log.
pub const TASK_KINDS: [TaskKind; 17] = [
    TaskKind::Fetch,
    TaskKind::Probe,
    TaskKind::Normalize,
    TaskKind::Thumbnail,
    TaskKind::Transcript,
    TaskKind::Summarize,
    TaskKind::Index,
    TaskKind::Chat,
    TaskKind::Embed,
    TaskKind::Search,
    TaskKind::Answer,
    TaskKind::Encode,
    TaskKind::Sound,
    TaskKind::Hls,
    TaskKind::Audio,
    TaskKind::Storyboard,
    TaskKind::Clip,
];

impl TaskKind {
    /// The name used in events, metrics and by clients.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Probe => "probe",
            Self::Normalize => "normalize",
            Self::Thumbnail => "thumbnail",
            Self::Transcript => "transcript",
            Self::Summarize => "summarize",
            Self::Index => "index",
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Search => "search",
            Self::Answer => "answer",
            Self::Encode => "encode",
            Self::Sound => "sound",
            Self::Hls => "hls",
            Self::Audio => "audio",
            Self::Storyboard => "storyboard",
            Self::Clip => "clip",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        TASK_KINDS.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it encodes a piece of a recording, for `normalize` to join.
    #[must_use]
    pub fn is_piece(self) -> bool {
        matches!(self, Self::Encode | Self::Sound)
    }

    /// Which slots it takes.
    #[must_use]
    pub fn class(self) -> TaskClass {
        match self {
            Self::Fetch => TaskClass::Net,
            Self::Probe
            | Self::Normalize
            | Self::Thumbnail
            | Self::Transcript
            | Self::Summarize
            | Self::Index
            | Self::Chat
            | Self::Embed
            | Self::Search
            | Self::Answer
            | Self::Encode
            | Self::Sound
            | Self::Hls
            | Self::Audio
            | Self::Storyboard
            | Self::Clip => TaskClass::Cpu,
        }
    }
}
