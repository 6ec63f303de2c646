//! Faults of settings. Each fault says what is wrong and how to fix it.

use std::fmt;

/// One fault of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// The setting and its origin.
    pub setting: String,
    /// What is wrong and how to fix it.
    pub detail: String,
}

/// All faults of the settings. If there is at least one fault, the program does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(pub Vec<SettingFault>);

impl fmt::Display for SettingFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.setting, self.detail)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            fault.fmt(out)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
