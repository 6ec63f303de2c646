//! The notification by which a node tells other nodes of its commits.
//!
//! A node sends the notification with its next poll, so under load one notification stands for many
//! commits. A notification inside a transaction would make PostgreSQL commit such transactions one
//! after the other.

/// The channel of notifications. A lost notification does no harm, because nodes also poll without
/// notifications.
pub(super) const CHANNEL: &str = "doorbuster";

#[derive(Clone, Copy)]
pub(super) struct CommitNotice {
    /// The writer number of the node's store that made the commit.
    pub(super) writer: i32,
    /// Whether the commit appended events.
    pub(super) events: bool,
}

/// If the commit appended events, this suffix follows the writer number. A node of the previous
/// version cannot parse the suffix, and treats the notification as a hint that some node committed.
const WITH_EVENTS: char = '+';

impl CommitNotice {
    pub(super) fn text(self) -> String {
        let mut text = self.writer.to_string();
        text.extend(self.events.then_some(WITH_EVENTS));
        text
    }

    /// Parses a notification. Returns `None` for a text that another program sent.
    pub(super) fn parse(text: &str) -> Option<Self> {
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
