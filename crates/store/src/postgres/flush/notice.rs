//! The notification by which a node tells other nodes of a commit.

/// The notification of a commit for other nodes.
#[derive(Clone, Copy)]
pub(in crate::postgres) struct CommitNotice {
    /// The writer number of the store that committed.
    pub(in crate::postgres) writer: i32,
    /// Whether the commit appended events.
    pub(in crate::postgres) events: bool,
}

/// The suffix after the writer number if the commit appended events. A node of the previous version
/// cannot parse a text with this suffix. It treats the notification as a hint that some other node
/// committed.
const WITH_EVENTS: char = '+';

impl CommitNotice {
    pub(super) fn text(self) -> String {
        let mut text = self.writer.to_string();
        text.extend(self.events.then_some(WITH_EVENTS));
        text
    }

    /// Parses a notification. If the text cannot be parsed, another program sent it.
    pub(in crate::postgres) fn parse(text: &str) -> Option<Self> {
        let writer = text.strip_suffix(WITH_EVENTS);
        Some(Self { writer: writer.unwrap_or(text).parse().ok()?, events: writer.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::CommitNotice;

    #[test]
    fn a_notification_has_its_writer_and_whether_events_were_appended() {
        for (writer, events, text) in [(7, false, "7"), (-9, true, "-9+")] {
            assert_eq!(CommitNotice { writer, events }.text(), text);
            let hint = CommitNotice::parse(text).expect("a hint");
            assert_eq!((hint.writer, hint.events), (writer, events));
        }
        assert!(CommitNotice::parse("something else").is_none());
    }
}
