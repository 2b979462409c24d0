//! Server-sent events out of bytes that arrive in any pieces. Only `data` matters here. Pure.

/// The longest event; a model's are some hundred bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Events are longer than anything a service has reason to send.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("sent an event of more than {EVENT_BYTES_MAX} bytes")]
pub(super) struct EventTooLong;

/// Collects lines and gives out the data of whole events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
}

impl Events {
    /// Takes the next bytes and gives the data of the events they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, EventTooLong> {
        let mut events = vec![];
        for byte in bytes {
            // A line ends with \n, \r or \r\n.
            let second_of_pair = self.after_return && *byte == b'\n';
            self.after_return = *byte == b'\r';
            match byte {
                b'\n' if second_of_pair => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(EventTooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then(|| String::from_utf8_lossy(&data).into_owned());
        }
        if let Some(value) = line.strip_prefix(b"data").filter(|rest| rest.is_empty() || rest[0] == b':') {
            let value = value.strip_prefix(b":").unwrap_or(value);
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\r\n\r\ndata: {\"a\":1}\n\nevent: x\ndata:two\ndata: lines\nid: 7\n\ndatum: no\n\ndata\r\rdata: a\r\ndata: b\r\n\r\ndata: é\n\ndata: cut";

    #[test]
    fn reads_the_data_of_whole_events() {
        let events = Events::default().push(STREAM.as_bytes()).unwrap();
        assert_eq!(events, ["{\"a\":1}", "two\nlines", "", "a\nb", "é"]);
    }

    #[test]
    fn endless_events_are_refused() {
        let mut events = Events::default();
        let line = format!("data: {}\n", "x".repeat(1 << 16));
        let results: Vec<_> = (0..20).map(|_| events.push(line.as_bytes())).collect();
        assert!(results.contains(&Err(EventTooLong)));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0..STREAM.len(), 0..10)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut events = Events::default();
            let mut got = vec![];
            for pair in cuts.windows(2) {
                got.extend(events.push(&STREAM.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(got, Events::default().push(STREAM.as_bytes()).unwrap());
        }
    }
}
