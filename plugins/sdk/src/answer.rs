//! Writing an answer, as `processor.wit` says.

use crate::Error;

/// The answer to a batch, entry by entry.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// The outputs' names in the order in which the answer gives them.
    names: Vec<String>,
}

/// Where an answer was.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) bytes: usize,
    names: usize,
}

impl Answer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), names: Vec::new() }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), names: self.names.len() }
    }

    /// Forgets what was written since.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.names.truncate(mark.names);
    }

    pub(crate) fn keep(&mut self, index: u32) {
        self.entry(1, index);
    }

    /// Begins a new record: its partition and its bytes are to follow.
    pub(crate) fn begin_emit(&mut self, index: u32) {
        self.entry(2, index);
    }

    pub(crate) fn forward(&mut self, index: u32, name: &str) {
        let output = match self.names.iter().position(|known| known == name) {
            Some(output) => output,
            None => {
                self.bytes.push(5);
                self.text(name);
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        self.entry(3, index);
        self.number(output);
    }

    pub(crate) fn fail(&mut self, index: u32, error: &Error) {
        self.entry(4, index);
        let (fault, text) = match error {
            Error::BadMessage(text) => (0, text),
            Error::Failed(text) => (1, text),
        };
        self.bytes.push(fault);
        self.text(text);
    }

    /// The names of the outputs of one record: each stands where it was used first.
    pub(crate) fn routed(self) -> Vec<String> {
        self.names
    }

    fn entry(&mut self, entry: u8, index: u32) {
        let [a, b, c, d] = index.to_le_bytes();
        self.bytes.extend_from_slice(&[entry, a, b, c, d]);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&length(number));
    }
}

/// Nothing in a guest is longer than its memory.
pub(crate) fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("less than 2 GiB").to_le_bytes()
}

pub(crate) fn nullable(length_bytes: Option<usize>) -> [u8; 4] {
    length_bytes.map_or((-1_i32).to_le_bytes(), length)
}
