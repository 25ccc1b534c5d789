//! Reading records that stand one a line.

use std::io::{BufRead, Read};

use crate::limits::LINE_BYTES;

/// Why an input could not be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// The input failed.
    #[error("line {line} cannot be read")]
    Read {
        /// Number of the line, from 1.
        line: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line that is no record any broker takes.
    #[error("line {line} is longer than {LINE_BYTES} bytes")]
    TooLong {
        /// Number of the line, from 1.
        line: u64,
    },
    /// A line without a key.
    #[error("line {line} has no {separator:?} after its key")]
    NoKey {
        /// Number of the line, from 1.
        line: u64,
        /// What was looked for.
        separator: String,
    },
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Number, from 1.
    pub(super) number: u64,
    /// What stands in it, without its end.
    pub(super) bytes: Vec<u8>,
    /// Bytes that it took up, with its end.
    pub(super) length: u64,
}

impl Line {
    /// Key and value.
    pub(super) fn split(self, separator: &str) -> Result<(Vec<u8>, Vec<u8>), LineError> {
        let found =
            self.bytes.windows(separator.len().max(1)).position(|w| w == separator.as_bytes());
        match found {
            Some(at) => {
                let value = self.bytes.get(at + separator.len()..).unwrap_or_default().to_vec();
                let mut key = self.bytes;
                key.truncate(at);
                Ok((key, value))
            }
            None => Err(LineError::NoKey { line: self.number, separator: separator.to_owned() }),
        }
    }
}

/// The lines of an input, which end at "\n" or "\r\n". The last one may have no end.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    fn read(&mut self) -> Result<Option<Line>, LineError> {
        let line = self.number + 1;
        let mut bytes = Vec::new();
        let most = LINE_BYTES as u64 + 2;
        let read = self.input.by_ref().take(most).read_until(b'\n', &mut bytes);
        if read.map_err(|source| LineError::Read { line, source })? == 0 {
            return Ok(None);
        }
        self.number = line;
        let length = bytes.len() as u64;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() > LINE_BYTES {
            return Err(LineError::TooLong { line });
        }
        Ok(Some(Line { number: line, bytes, length }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        Lines::new(input).map(|line| line.unwrap().bytes).collect()
    }

    #[test]
    fn a_line_is_what_stands_between_ends() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"a\r\n\nb\xff"), [&b"a"[..], b"", b"b\xff"]);
        assert_eq!(lines(b"a\n"), [b"a"]);
        let lengths: u64 = Lines::new(&b"a\r\n\nb"[..]).map(|line| line.unwrap().length).sum();
        assert_eq!(lengths, 5);
    }

    #[test]
    fn an_overlong_line_is_not_held() {
        let mut input = vec![b'x'; LINE_BYTES];
        assert_eq!(lines(&input)[0].len(), LINE_BYTES);
        input.push(b'x');
        let error = Lines::new(&input[..]).next().unwrap().unwrap_err();
        assert!(matches!(error, LineError::TooLong { line: 1 }));
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        let line = |text: &str| Line { number: 3, bytes: text.into(), length: 0 };
        assert_eq!(line("k::v::w").split("::").unwrap(), (b"k".to_vec(), b"v::w".to_vec()));
        assert_eq!(line(":").split(":").unwrap(), (Vec::new(), Vec::new()));
        assert!(matches!(line("").split(":"), Err(LineError::NoKey { line: 3, .. })));
        assert!(matches!(line("k:v").split("::"), Err(LineError::NoKey { .. })));
    }
}
