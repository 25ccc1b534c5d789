//! The work itself, on borrowed bytes: nothing here knows of worlds. Also compiled into the bench.

use serde_json::Value;

/// What a scan looks for among the fields of an object.
#[derive(Default)]
pub(crate) struct Found {
    /// Whether `test` is `true`.
    pub(crate) test: bool,
    /// Where the text of `region` is.
    pub(crate) region: Option<(usize, usize)>,
}

/// Reads a JSON text once, byte by byte: checks its syntax, not its UTF-8, and finds the fields.
/// Nothing if it is no JSON.
pub(crate) fn scan(text: &[u8]) -> Option<Found> {
    let mut scanner = Scanner { text, at: 0 };
    let mut found = Found::default();
    scanner.space();
    if scanner.peek() == Some(b'{') {
        scanner.object(0, |name, start, end| match name {
            b"test" => found.test = text.get(start..end) == Some(b"true"),
            b"region" if text.get(start) == Some(&b'"') => {
                found.region = Some((start + 1, end - 1));
            }
            _ => {}
        })?;
    } else {
        scanner.value(0)?;
    }
    scanner.space();
    (scanner.at == text.len()).then_some(found)
}

/// Parses a JSON text and writes it again with its `email` masked. Nothing if it is a test.
pub(crate) fn mask(text: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
    let mut value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if value.get("test") == Some(&Value::Bool(true)) {
        return Ok(false);
    }
    if let Some(email) = value.get_mut("email") {
        *email = Value::String("***".to_owned());
    }
    serde_json::to_writer(out, &value).map_err(|error| error.to_string())?;
    Ok(true)
}

/// The output for a text: that of its region, which has one of these names, or `other`.
pub(crate) fn output(text: &[u8]) -> Option<&str> {
    let region = scan(text)?.region.and_then(|(start, end)| text.get(start..end));
    Some(match region {
        Some(region @ (b"north" | b"south")) => std::str::from_utf8(region).unwrap_or("other"),
        _ => "other",
    })
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<(usize, usize)> {
        self.eat(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some((start, self.at - 1));
                }
                b'\\' => self.at += 2,
                0..=31 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        while let Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') = self.peek() {
            self.at += 1;
        }
        (self.text.get(start) != Some(&b'-') || self.at > start + 1).then_some(())
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        if depth > 100 {
            return None;
        }
        self.space();
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth, |_, _, _| {}),
            b'[' => self.array(depth),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.at += 1;
        self.space();
        if self.eat(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.eat(b',').is_none() {
                return self.eat(b']');
            }
        }
    }

    /// Calls `field` with each name, and where its value begins and ends.
    fn object(&mut self, depth: u32, mut field: impl FnMut(&[u8], usize, usize)) -> Option<()> {
        self.eat(b'{')?;
        self.space();
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            self.space();
            let (start, end) = self.string()?;
            let name = self.text.get(start..end)?;
            self.space();
            self.eat(b':')?;
            self.space();
            let start = self.at;
            self.value(depth + 1)?;
            field(name, start, self.at);
            self.space();
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }
}
