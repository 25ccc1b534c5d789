//! Reading one TOML table field by field, each mistake noted with its place and then passed over.
//! Knows TOML's types, not the manifest's words.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Report, Span};
use crate::types::NameError;

/// One table of the manifest.
pub(super) struct Fields<'t> {
    table: &'t DeTable<'t>,
    span: Span,
    /// What the table is, as "a topic".
    what: &'static str,
    report: &'t Report<'t>,
}

impl<'t> Fields<'t> {
    /// Takes `table`, whose header stands at `span`, and notes every field that is not `allowed`.
    pub(super) fn new(
        (table, span): (&'t DeTable<'t>, Span),
        what: &'static str,
        allowed: &[&'static str],
        report: &'t Report<'t>,
    ) -> Self {
        for key in table.keys().filter(|key| !allowed.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let hint = report
                .did_you_mean(name, allowed.iter().copied())
                .unwrap_or_else(|| format!("; allowed are {}", list(allowed)));
            report.error(key.span(), format!("unknown field `{name}` in {what}{hint}"));
        }
        Self::free((table, span), what, report)
    }

    /// Takes a table whose fields may have any names.
    pub(super) fn free(
        (table, span): (&'t DeTable<'t>, Span),
        what: &'static str,
        report: &'t Report<'t>,
    ) -> Self {
        Self { table, span, what, report }
    }

    /// Where the table's header stands.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Where a field's name stands; the table's header if the field is not there.
    pub(super) fn key_span(&self, field: &str) -> Span {
        self.table.get_key_value(field).map_or_else(|| self.span(), |(key, _)| key.span())
    }

    /// Whether a field is there, right or wrong.
    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// Notes that a field is missing unless it is there.
    pub(super) fn require(&self, field: &str, example: &str) {
        if !self.has(field) {
            let message = format!("{} needs `{field}`, as in `{example}`", self.what);
            self.report.error(self.span(), message);
        }
    }

    /// A string.
    pub(super) fn text(&self, field: &str) -> Option<Spanned<&'t str>> {
        let value = self.table.get(field)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.as_ref())),
            other => self.wrong_type(value.span(), field, "a string", other),
        }
    }

    /// A string that is a name of the type asked for.
    pub(super) fn name<T: FromStr<Err = NameError>>(&self, field: &str) -> Option<Spanned<T>> {
        self.parse_name(self.text(field)?)
    }

    /// One name or a list of them; nothing if the field is missing or wrong.
    pub(super) fn names<T: FromStr<Err = NameError>>(&self, field: &str) -> Vec<Spanned<T>> {
        let Some(value) = self.table.get(field) else { return Vec::new() };
        let items = match value.get_ref() {
            DeValue::String(text) => {
                return self.parse_name(Spanned::new(value.span(), text)).into_iter().collect();
            }
            DeValue::Array(items) => items,
            other => {
                self.wrong_type::<()>(value.span(), field, "a string or a list of strings", other);
                return Vec::new();
            }
        };
        if items.is_empty() {
            self.report.error(value.span(), format!("`{field}` must not be an empty list"));
        }
        let names = items.iter().filter_map(|item| match item.get_ref() {
            DeValue::String(text) => self.parse_name(Spanned::new(item.span(), text)),
            other => {
                let found = describe(other);
                let message = format!("`{field}` must be a list of strings, this one is {found}");
                self.report.error(item.span(), message);
                None
            }
        });
        names.collect()
    }

    fn parse_name<T: FromStr<Err = NameError>>(
        &self,
        text: Spanned<impl AsRef<str>>,
    ) -> Option<Spanned<T>> {
        match text.get_ref().as_ref().parse() {
            Ok(name) => Some(Spanned::new(text.span(), name)),
            Err(error) => {
                self.report.error(text.span(), error.to_string());
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, field: &str, range: RangeInclusive<i64>) -> Option<Spanned<i64>> {
        let value = self.table.get(field)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            return self.wrong_type(value.span(), field, "an integer", value.get_ref());
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                let (low, high) = range.into_inner();
                let message = format!("`{field}` is {integer}, allowed are {low} to {high}");
                self.report.error(value.span(), message);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, field: &str) -> Option<bool> {
        let value = self.table.get(field)?;
        match value.get_ref() {
            DeValue::Boolean(given) => Some(*given),
            other => self.wrong_type(value.span(), field, "`true` or `false`", other),
        }
    }

    /// A table within this one, written inline or under a header of its own.
    pub(super) fn table(&self, field: &str, header: &str) -> Option<(&'t DeTable<'t>, Span)> {
        let value = self.table.get(field)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span())),
            DeValue::Array(_) => {
                let message = format!("`{field}` is a table, not a list: write `{header}`");
                self.report.error(value.span(), message);
                None
            }
            other => self.wrong_type(value.span(), field, "a table", other),
        }
    }

    /// A list of tables, as `[[field]]`.
    pub(super) fn tables(&self, field: &str, header: &str) -> Vec<(&'t DeTable<'t>, Span)> {
        let Some(value) = self.table.get(field) else { return Vec::new() };
        let found = match value.get_ref() {
            DeValue::Array(items) => {
                let tables: Option<Vec<_>> = items.iter().map(as_table).collect();
                tables.ok_or("a list of other things")
            }
            other => Err(describe(other)),
        };
        found.unwrap_or_else(|found| {
            let message =
                format!("`{field}` must be a list of tables, not {found}: write `{header}`");
            self.report.error(value.span(), message);
            Vec::new()
        })
    }

    /// A table of settings: any names, values handed on as text.
    pub(super) fn settings(&self, field: &str) -> BTreeMap<String, Spanned<String>> {
        let header = format!("{field} = {{ name = \"value\" }}");
        let Some((table, _)) = self.table(field, &header) else { return BTreeMap::new() };
        let read = table.iter().filter_map(|(key, value)| {
            let text = self.setting(field, key, value)?;
            Some((key.get_ref().to_string(), Spanned::new(value.span(), text)))
        });
        read.collect()
    }

    fn setting(
        &self,
        field: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<String> {
        let name = key.get_ref();
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            DeValue::Boolean(boolean) => Some(boolean.to_string()),
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix());
                if number.is_err() {
                    let message = format!("{integer} does not fit 64 bits; write it as a string");
                    self.report.error(value.span(), message);
                }
                number.ok().map(|number| number.to_string())
            }
            DeValue::Table(_) => {
                let message = format!(
                    "`{name}` in `{field}` must be a single value, not a table; \
                     a name with dots is written in quotes: \"{name}.…\" = …"
                );
                self.report.error(key.span(), message);
                None
            }
            other => {
                let found = describe(other);
                let message = format!(
                    "`{name}` in `{field}` must be a string, a number or a boolean, not {found}"
                );
                self.report.error(value.span(), message);
                None
            }
        }
    }

    fn wrong_type<T>(
        &self,
        span: Span,
        field: &str,
        wanted: &str,
        found: &DeValue<'_>,
    ) -> Option<T> {
        let found = describe(found);
        self.report.error(span, format!("`{field}` must be {wanted}, not {found}"));
        None
    }
}

fn as_table<'t>(item: &'t Spanned<DeValue<'t>>) -> Option<(&'t DeTable<'t>, Span)> {
    match item.get_ref() {
        DeValue::Table(table) => Some((table, item.span())),
        _ => None,
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The names quoted, as "`a`, `b` and `c`".
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
