//! Live progress on the terminal: how many buyers have their answer, and which.

use doorbuster_harness::load::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::table::grouped;

/// A bar on standard error; silent where nobody looks.
pub struct LiveProgress(ProgressBar);

impl LiveProgress {
    /// A bar for this many buyers.
    pub fn new(buyers: u32, shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:24.cyan/dim} {wide_msg}")
            .expect("it is fixed, and valid");
        Self(
            ProgressBar::with_draw_target(Some(buyers.into()), target)
                .with_style(style.progress_chars("━━─")),
        )
    }

    /// Says what is being done before the first answer.
    pub fn set_message(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    /// Shows how far the storm has come.
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
    /// Takes the bar away: what follows is the result, or what went wrong.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
