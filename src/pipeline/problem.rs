//! What is wrong in a manifest, and where. Problems are collected, never thrown: a user sees all
//! of them at once. Nothing here knows what a manifest means.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::limits::MANIFEST_PROBLEMS;

/// Byte range in the manifest's text.
pub(super) type Span = Range<usize>;

/// Longest excerpt of a line, characters; a manifest may be one line of a mebibyte.
const EXCERPT_CHARS: usize = 120;

/// Whether a problem keeps the manifest from being deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Refused.
    Error,
    /// Deployed, but probably not what was meant.
    Warning,
}

/// One mistake, with its place. Displayed as `file:line:column: message` and, below it, the line
/// with the mistake underlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it is refused.
    pub severity: Severity,
    /// The manifest's name as its user gave it.
    pub file: String,
    /// Line in the manifest, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong and what is allowed.
    pub message: String,
    excerpt: Option<Excerpt>,
}

/// The offending line, cut to a width that can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    /// What stands below the line up to the marker: spaces, and tabs where the line has them.
    padding: String,
    marker_chars: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}:{}:{}: {kind}{}", self.file, self.line, self.column, self.message)?;
        let Some(excerpt) = &self.excerpt else { return Ok(()) };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "\n {number} | {}", excerpt.line)?;
        write!(f, "\n {gutter} | {}{}", excerpt.padding, "^".repeat(excerpt.marker_chars))
    }
}

/// Collects the problems of one manifest.
#[derive(Debug)]
pub(super) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    problems: Vec<(Span, Severity, String)>,
    errors: usize,
    unlisted: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) {
        self.push(span, Severity::Error, message.into());
    }

    pub(super) fn warning(&self, span: Span, message: impl Into<String>) {
        self.push(span, Severity::Warning, message.into());
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.borrow().errors > 0
    }

    /// The candidate that `given` was probably meant to be, as `; did you mean …?`. Nothing once
    /// the list is full: a search over many names, for nobody.
    pub(super) fn did_you_mean<'c>(
        &self,
        given: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<String> {
        if self.found.borrow().problems.len() >= MANIFEST_PROBLEMS {
            return None;
        }
        let best = closest(given, candidates)?;
        Some(format!("; did you mean `{best}`?"))
    }

    fn push(&self, span: Span, severity: Severity, message: String) {
        let mut found = self.found.borrow_mut();
        found.errors += usize::from(severity == Severity::Error);
        if found.problems.len() < MANIFEST_PROBLEMS {
            found.problems.push((span, severity, message));
        } else {
            found.unlisted += 1;
        }
    }

    /// The problems in the order of the text.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let Found { mut problems, unlisted, .. } = self.found.into_inner();
        problems.sort_by_key(|(span, ..)| span.start);
        let end = self.text.len()..self.text.len();
        if unlisted > 0 {
            problems.push((end, Severity::Error, format!("and {unlisted} more problems")));
        }
        let located = problems.into_iter().map(|(span, severity, message)| {
            let place = Place::find(self.text, &span);
            Problem {
                severity,
                file: self.file.to_owned(),
                line: place.line,
                column: place.column,
                message,
                excerpt: place.excerpt,
            }
        });
        located.collect()
    }
}

struct Place {
    line: usize,
    column: usize,
    excerpt: Option<Excerpt>,
}

impl Place {
    fn find(text: &str, span: &Span) -> Self {
        let start = text.floor_char_boundary(span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let line_end = line_start + line.len();
        let end = text.floor_char_boundary(span.end).min(line_end);
        let marked = text.get(start..end).unwrap_or_default().chars().count().max(1);
        let column = text.get(line_start..start).unwrap_or_default().chars().count();
        Self {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            excerpt: excerpt(line, column, marked),
        }
    }
}

fn excerpt(line: &str, column: usize, marked: usize) -> Option<Excerpt> {
    if line.trim().is_empty() {
        return None;
    }
    let skipped = if column > EXCERPT_CHARS * 2 / 3 { column - EXCERPT_CHARS / 3 } else { 0 };
    let shown: String = line.chars().skip(skipped).take(EXCERPT_CHARS).map(printable).collect();
    let padding = shown
        .chars()
        .take(column - skipped)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect::<String>();
    let room = shown.chars().count().saturating_sub(column - skipped).max(1);
    Some(Excerpt { padding, marker_chars: marked.min(room), line: shown })
}

/// A manifest may come over the network; its control characters are not for a terminal.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

fn closest<'c>(given: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    /// Bounds the search: names in characters, candidates by number.
    const LONGEST: usize = 64;
    const MOST: usize = 1_000;
    if given.len() > LONGEST {
        return None;
    }
    let near = |candidate: &&str| candidate.len() <= LONGEST;
    let scored = candidates.into_iter().take(MOST).filter(near).filter_map(|candidate| {
        let allowed = (candidate.chars().count() / 3).clamp(1, 3);
        let distance = edit_distance(given, candidate);
        (distance <= allowed).then_some((distance, candidate))
    });
    scored.min().map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other,
/// letter case apart.
fn edit_distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut older: Vec<usize> = vec![0; to.len() + 1];
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(to.len() + 1);
        row.push(i + 1);
        for (j, &b) in to.iter().enumerate() {
            let replaced = previous[j] + usize::from(a != b);
            let mut best = replaced.min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && from[i - 1] == b {
                best = best.min(older[j - 1] + 1);
            }
            row.push(best);
        }
        older = std::mem::replace(&mut previous, row);
    }
    previous[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, span: Span) -> Problem {
        let report = Report::new("m.toml", text);
        report.error(span, "bad");
        report.into_problems().remove(0)
    }

    #[test]
    fn a_problem_shows_its_place() {
        let text = "a = 1\n\tbä = 2 # x\n";
        let start = text.find('2').unwrap();
        assert_eq!(
            one(text, start..start + 1).to_string(),
            "m.toml:2:7: bad\n 2 | \tbä = 2 # x\n   | \t     ^"
        );
    }

    #[test]
    fn places_at_the_edges_do_not_fail() {
        for (text, span) in
            [("", 0..0), ("", 5..9), ("a", 1..1), ("a\n", 2..2), ("ä", 1..2), ("a\r\nb", 0..4)]
        {
            let problem = one(text, span.clone());
            assert!(problem.line >= 1 && problem.column >= 1, "{text:?} {span:?}");
            assert!(!problem.to_string().contains('\r'));
        }
    }

    #[test]
    fn an_overlong_line_is_cut_around_the_mistake() {
        let text = format!("{}!{}", "x".repeat(1_000), "y".repeat(1_000));
        let problem = one(&text, 1_000..1_001);
        assert_eq!(problem.column, 1_001);
        let shown = problem.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].find('!'), lines[2].find('^'));
        assert!(lines[1].len() < 140, "{}", lines[1]);
    }

    #[test]
    fn control_characters_are_not_echoed() {
        assert!(!one("\u{1b}[31m", 0..1).to_string().contains('\u{1b}'));
    }

    #[test]
    fn problems_are_bounded_and_sorted() {
        let text = "x".repeat(10);
        let report = Report::new("m.toml", &text);
        for i in 0..MANIFEST_PROBLEMS + 3 {
            report.error(9 - i % 10..10, format!("{i}"));
        }
        let problems = report.into_problems();
        assert_eq!(problems.len(), MANIFEST_PROBLEMS + 1);
        assert_eq!(problems[MANIFEST_PROBLEMS].message, "and 3 more problems");
        assert!(problems.is_sorted_by_key(|problem| problem.column));
    }

    #[test]
    fn near_names_are_offered() {
        let fields = ["config", "on-error", "outputs"];
        assert_eq!(closest("confg", fields), Some("config"));
        assert_eq!(closest("on_error", fields), Some("on-error"));
        assert_eq!(closest("ouptuts", fields), Some("outputs"));
        assert_eq!(closest("Outputs", fields), Some("outputs"));
        assert_eq!(closest("retention", fields), None);
        assert_eq!(closest("", fields), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
