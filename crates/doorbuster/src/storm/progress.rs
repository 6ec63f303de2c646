//! The progress bar on the terminal. It shows how many buyers have each kind of answer.

use doorbuster_harness::load::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::table::grouped;

/// A progress bar on standard error. It can be hidden, for example if standard error is not a
/// terminal.
pub struct LiveProgress(ProgressBar);

impl LiveProgress {
    /// Creates a bar for this number of buyers. If `shown` is false, the bar stays hidden.
    pub fn new(buyers: u32, shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:24.cyan/dim} {wide_msg}")
            .expect("the template is a valid constant");
        Self(
            ProgressBar::with_draw_target(Some(buyers.into()), target)
                .with_style(style.progress_chars("━━─")),
        )
    }

    /// Shows a message until the next message or the next progress replaces it.
    pub fn set_message(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    /// Shows the progress of the storm.
    pub fn show(&self, progress: &Progress) {
        let mut message = format!("{} of {}", grouped(progress.answered), grouped(progress.buyers));
        for (kind, count) in &progress.answers {
            message += &format!(" · {} {}", grouped(*count), kind.replace('_', " "));
        }
        if progress.retries > 0 {
            message += &format!(" · {} sent again", grouped(progress.retries));
        }
        self.0.set_message(message);
        self.0.set_position(progress.answered);
    }
}

impl Drop for LiveProgress {
    /// Removes the bar, so that only the result or the error stays on the terminal.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
