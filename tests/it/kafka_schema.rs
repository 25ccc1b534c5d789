//! Our declarations of the Kafka messages against Kafka's own schemas: the JSON files in
//! `common/message` of the kafka-clients jar. Compared is what each version looks like, field by
//! field; a declaration may say it in fewer words.

use std::path::Path;

use millstream::kafka::messages::{ApiKey, Schema, Type, Versions};
use serde_json::Value;

#[test]
#[ignore = "needs Kafka's schemas: MILLSTREAM_KAFKA_SCHEMAS names a folder of the JSON files"]
fn declarations_are_kafkas() {
    let folder = std::env::var_os("MILLSTREAM_KAFKA_SCHEMAS").expect("MILLSTREAM_KAFKA_SCHEMAS");
    let folder = Path::new(&folder);
    for &api in ApiKey::ALL {
        let request = load(folder, api.request().name);
        // The newest version of a request can be a draft that no broker advertises.
        let drafts = i16::from(request["latestVersionUnstable"] == true);
        for (schema, ours) in
            [(&load(folder, api.response().name), api.response()), (&request, api.request())]
        {
            let valid = versions(&schema["validVersions"]);
            assert_eq!(schema["apiKey"], api.key(), "{}", ours.name);
            assert_eq!(schema["name"], ours.name);
            assert_eq!(api.versions(), valid.min..=valid.max - drafts, "{}", ours.name);
            let flexible = versions(&schema["flexibleVersions"]);
            if flexible == Versions::NONE {
                assert!(api.first_flexible() > *api.versions().end(), "{}", ours.name);
            } else {
                assert_eq!(flexible, Versions { min: api.first_flexible(), max: i16::MAX });
            }
            for version in api.versions() {
                let mut expected = Vec::new();
                their_fields(&schema["fields"], ours.name, version, &mut expected);
                let mut declared = Vec::new();
                our_fields(ours, ours.name, version, &mut declared);
                assert_eq!(declared, expected, "{} version {version}", ours.name);
            }
        }
    }
}

/// What one version says of one field; what is inside a structure follows it.
#[derive(Debug, PartialEq)]
struct Line {
    path: String,
    ty: String,
    nullable: bool,
    tag: Option<u64>,
    ignorable: bool,
    default: String,
}

/// Case and underscores aside: Kafka writes most names in camel case, but not all.
fn plain(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}

fn our_fields(schema: &Schema, path: &str, version: i16, lines: &mut Vec<Line>) {
    for field in schema.fields.iter().filter(|field| field.versions.contains(version)) {
        let path = format!("{path}.{}", plain(field.name));
        let ty = type_name(field.ty);
        let default = match field.default {
            "" if field.nullable != Versions::NONE => "null".to_owned(),
            text => default_text(&ty, text),
        };
        lines.push(Line {
            path: path.clone(),
            ty,
            nullable: field.nullable.contains(version),
            tag: field.tag.map(u64::from),
            ignorable: field.ignorable,
            default,
        });
        if let Type::Struct(inner) | Type::Array(&Type::Struct(inner)) = field.ty {
            our_fields(inner, &path, version, lines);
        }
    }
}

fn type_name(ty: Type) -> String {
    match ty {
        Type::Array(element) => format!("[]{}", type_name(*element)),
        Type::Struct(schema) => schema.name.to_owned(),
        plain => format!("{plain:?}").to_lowercase(),
    }
}

fn their_fields(fields: &Value, path: &str, version: i16, lines: &mut Vec<Line>) {
    for field in fields.as_array().expect("fields") {
        if !versions(&field["versions"]).contains(version) {
            continue;
        }
        assert!(field.get("flexibleVersions").is_none(), "{field} has a form of its own");
        let path = format!("{path}.{}", plain(field["name"].as_str().expect("name")));
        let ty = field["type"].as_str().expect("type").to_owned();
        let nullable = versions(&field["nullableVersions"]);
        let tagged = versions(&field["taggedVersions"]).contains(version);
        let default = match &field["default"] {
            // Without a word, Kafka's default is empty and ours null. Only a tagged field is
            // left out of the message for being the default.
            Value::Null if nullable != Versions::NONE => {
                assert!(!tagged, "{path} needs a default");
                "null".to_owned()
            }
            Value::Null => default_text(&ty, ""),
            Value::String(text) => default_text(&ty, text),
            other => default_text(&ty, &other.to_string()),
        };
        lines.push(Line {
            path: path.clone(),
            ty,
            nullable: nullable.contains(version),
            tag: tagged.then(|| field["tag"].as_u64().expect("tag")),
            ignorable: field["ignorable"] == true,
            default,
        });
        if field.get("fields").is_some() {
            their_fields(&field["fields"], &path, version, lines);
        }
    }
}

/// A default in one spelling, whether written, in hexadecimal or left to the type.
fn default_text(ty: &str, text: &str) -> String {
    match (ty, text) {
        (_, "null") => text.to_owned(),
        ("bool", "") => "false".to_owned(),
        ("int8" | "int16" | "uint16" | "int32" | "int64", _) => match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).expect("hexadecimal").to_string(),
            None => text.parse::<i64>().unwrap_or(0).to_string(),
        },
        _ => text.to_owned(),
    }
}

/// `3`, `0-3`, `3+`, `none` or nothing.
fn versions(value: &Value) -> Versions {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("a version: {value}"));
    match value.as_str() {
        None | Some("none") => Versions::NONE,
        Some(text) => match text.split_once('-') {
            Some((min, max)) => Versions { min: number(min), max: number(max) },
            None => match text.strip_suffix('+') {
                Some(min) => Versions { min: number(min), max: i16::MAX },
                None => Versions { min: number(text), max: number(text) },
            },
        },
    }
}

fn load(folder: &Path, name: &str) -> Value {
    let path = folder.join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let json: String = lines.collect();
    let mut schema: Value =
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let common = schema["commonStructs"].as_array().cloned().unwrap_or_default();
    put_in_common(&mut schema["fields"], &common);
    schema
}

/// Gives fields whose structure stands apart, for several of them, its fields.
fn put_in_common(fields: &mut Value, common: &[Value]) {
    for field in fields.as_array_mut().into_iter().flatten() {
        let name = field["type"].as_str().unwrap_or_default().trim_start_matches("[]").to_owned();
        if let Some(shared) = common.iter().find(|shared| shared["name"] == name.as_str()) {
            field["fields"] = shared["fields"].clone();
        }
        if field.get("fields").is_some() {
            put_in_common(&mut field["fields"], common);
        }
    }
}
