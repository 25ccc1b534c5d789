//! Messages as trees: read from their bytes by their declaration alone, and compared.

use std::collections::BTreeMap;

use millstream::kafka::messages::{Field, Schema, Type};
use serde_json::{Map, Value};

/// What names an element of an array, the first that its elements have.
const KEYS: [&str; 17] = [
    "name",
    "topic",
    "key",
    "group_id",
    "api_key",
    "resource_name",
    "config_name",
    "topic_name",
    "partition_index",
    "partition",
    "index",
    "member_id",
    "node_id",
    "broker_id",
    "log_dir",
    "partition_id",
    "topic_id",
];

/// Reads a message of a version.
pub(super) fn read(schema: &Schema, version: i16, flexible: bool, bytes: &[u8]) -> Value {
    let mut reader = Reader { bytes, version, flexible };
    let value = reader.structure(schema);
    assert!(reader.bytes.is_empty(), "{} bytes too many in {}", reader.bytes.len(), schema.name);
    value
}

struct Reader<'a> {
    bytes: &'a [u8],
    version: i16,
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> i64 {
        let taken = self.take(bytes);
        let fill = if taken[0] & 0x80 == 0 { 0 } else { 0xff };
        let mut number = [fill; 8];
        number[8 - bytes..].copy_from_slice(taken);
        i64::from_be_bytes(number)
    }

    fn uvarint(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = usize::from(self.take(1)[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    /// `None` for null.
    fn length(&mut self, prefix: usize) -> Option<usize> {
        if self.flexible {
            return self.uvarint().checked_sub(1);
        }
        usize::try_from(self.number(prefix)).ok()
    }

    fn structure(&mut self, schema: &Schema) -> Value {
        let mut fields = Map::new();
        let present = schema.fields.iter().filter(|f| f.versions.contains(self.version));
        let (plain, tagged): (Vec<&Field>, Vec<&Field>) = present.partition(|f| f.tag.is_none());
        for field in plain {
            let nullable = field.nullable.contains(self.version);
            fields.insert(field.name.to_owned(), self.value(field.ty, nullable));
        }
        if self.flexible {
            for _ in 0..self.uvarint() {
                let (tag, size) = (self.uvarint(), self.uvarint());
                let inner = self.take(size);
                let field = tagged.iter().find(|field| field.tag.map(|t| t as usize) == Some(tag));
                let field = field.unwrap_or_else(|| panic!("tag {tag} in {}", schema.name));
                let mut reader = Reader { bytes: inner, ..*self };
                let nullable = field.nullable.contains(self.version);
                fields.insert(field.name.to_owned(), reader.value(field.ty, nullable));
            }
        }
        Value::Object(fields)
    }

    fn value(&mut self, ty: Type, nullable: bool) -> Value {
        match ty {
            Type::Bool => Value::Bool(self.number(1) != 0),
            Type::Int8 => self.number(1).into(),
            Type::Int16 => self.number(2).into(),
            Type::Int32 => self.number(4).into(),
            Type::Int64 => self.number(8).into(),
            Type::Uuid => {
                let bytes = self.take(16).try_into().expect("16 bytes");
                uuid::Uuid::from_bytes(bytes).to_string().into()
            }
            Type::String => match self.length(2) {
                None => Value::Null,
                Some(length) => String::from_utf8_lossy(self.take(length)).into(),
            },
            Type::Bytes | Type::Records => match self.length(4) {
                None => Value::Null,
                Some(length) => {
                    let hex = self.take(length).iter().map(|byte| format!("{byte:02x}"));
                    hex.collect::<String>().into()
                }
            },
            Type::Array(element) => match self.length(4) {
                None => Value::Null,
                Some(count) => (0..count).map(|_| self.value(*element, false)).collect(),
            },
            Type::Struct(_) if nullable && self.number(1) < 0 => Value::Null,
            Type::Struct(schema) => self.structure(schema),
        }
    }
}

/// Gives arrays an order of their own: by what names their elements, or else sorted. Whether an
/// array's order means something is for other tests.
pub(super) fn settle(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, settle(v))).collect(),
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(settle).collect();
            if let Some(keyed) = by_key(&elements) {
                return keyed;
            }
            elements.sort_by_key(ToString::to_string);
            elements.into()
        }
        other => other,
    }
}

fn by_key(elements: &[Value]) -> Option<Value> {
    elements.first()?.as_object()?;
    let key = KEYS.iter().find(|key| {
        let names = elements.iter().filter_map(|element| element.get(**key));
        let distinct: std::collections::BTreeSet<String> = names.map(text).collect();
        distinct.len() == elements.len()
    })?;
    let named = elements.iter().map(|element| (text(&element[*key]), element.clone()));
    Some(named.collect::<Map<_, _>>().into())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Where two trees differ: path, ours, theirs.
pub(super) fn differences(ours: &Value, theirs: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    compare("", Some(ours), Some(theirs), &mut found);
    found
}

fn compare(
    path: &str,
    ours: Option<&Value>,
    theirs: Option<&Value>,
    found: &mut Vec<(String, String, String)>,
) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match (ours, theirs) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let keys: BTreeMap<&String, ()> =
                ours.keys().chain(theirs.keys()).map(|key| (key, ())).collect();
            for key in keys.keys() {
                compare(&inner(key), ours.get(*key), theirs.get(*key), found);
            }
        }
        _ if ours == theirs => {}
        _ => {
            let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), text);
            found.push((path.to_owned(), text(ours), text(theirs)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_found_where_they_are() {
        let ours =
            settle(json!({"topics": [{"name": "b", "id": 1}, {"name": "a", "ids": [2, 1]}]}));
        let theirs = json!({"topics": [{"name": "a", "ids": [1, 2]}, {"name": "b", "id": 2}]});
        let found = differences(&ours, &settle(theirs));
        assert_eq!(found, [("topics/b/id".to_owned(), "1".to_owned(), "2".to_owned())]);
        let found = differences(&ours, &settle(json!({"topics": [{"name": "a", "ids": [1, 2]}]})));
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].0, &*found[0].2), ("topics/b", "nothing"));
    }
}
