//! The answers file: one JSON line for each final answer. With this file, the auditor can check
//! that the store keeps every promise that buyers received.
//!
//! Each worker buffers its lines, and writes the buffer to the file every 200 milliseconds. A
//! worker that panics writes its buffer too, so that an aborted run keeps its answers.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::FinalAnswer;
use super::{LoadError, limits};

#[derive(Debug)]
pub(super) struct AnswersFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    file: File,
    /// The error of the first write that failed. After this error, the workers write nothing more.
    failed: Option<io::Error>,
}

/// One line of the answers file. Its fields are those of `AnswerLine` in `doorbuster-api`.
#[derive(serde::Serialize)]
pub(super) struct AnswerRecord<'a> {
    buyer: &'a str,
    key: &'a str,
    sale: &'a str,
    item: &'a str,
    units: u32,
    status: u16,
    code: Option<&'a str>,
    id: Option<&'a str>,
    state: Option<&'a str>,
}

impl<'a> AnswerRecord<'a> {
    /// Returns the line for this buyer's final answer.
    pub fn new(
        buyer: &'a str,
        key: &'a str,
        sale: &'a str,
        item: &'a str,
        units: u32,
        answer: &'a FinalAnswer<'_>,
    ) -> Self {
        let (code, id, state) =
            (answer.code.as_deref(), answer.id.as_deref(), answer.state.as_deref());
        Self { buyer, key, sale, item, units, status: answer.status, code, id, state }
    }
}

impl AnswersFile {
    /// Creates or empties the file.
    pub fn create(path: &Path) -> Result<Self, LoadError> {
        let file = File::create(path)
            .map_err(|source| LoadError::Answers { path: path.display().to_string(), source })?;
        Ok(Self { path: path.into(), state: Mutex::new(FileState { file, failed: None }) })
    }

    fn write(&self, chunk: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_none() {
            state.failed = state.file.write_all(chunk).err();
        }
    }

    /// Returns the first write error.
    pub fn finish(&self) -> Result<(), LoadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.failed.take() {
            None => Ok(()),
            Some(source) => {
                Err(LoadError::Answers { path: self.path.display().to_string(), source })
            }
        }
    }
}

/// The lines of one worker that are not in the file yet.
#[derive(Debug)]
pub(super) struct AnswerBuffer {
    file: Arc<AnswersFile>,
    gathered: Vec<u8>,
}

impl AnswerBuffer {
    /// Creates an empty buffer.
    pub fn new(file: Arc<AnswersFile>) -> Self {
        Self { file, gathered: Vec::with_capacity(limits::ANSWERS_CHUNK_BYTES + 1024) }
    }

    /// Adds one line.
    pub fn add(&mut self, line: &AnswerRecord<'_>) {
        serde_json::to_writer(&mut self.gathered, line)
            .expect("writing JSON to memory does not fail");
        self.gathered.push(b'\n');
        if self.gathered.len() >= limits::ANSWERS_CHUNK_BYTES {
            self.flush();
        }
    }

    /// Writes the buffered lines.
    pub fn flush(&mut self) {
        if !self.gathered.is_empty() {
            self.file.write(&self.gathered);
            self.gathered.clear();
        }
    }
}

impl Drop for AnswerBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}
