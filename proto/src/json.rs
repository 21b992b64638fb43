//! JSON of parameters: values as their authors wrote them, a canonical form, and a strict look at what is ambiguous.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Deepest nesting of a value: what JSON readers allow, this one too.
const DEPTH_MAX: usize = 120;

/// Members of an object, sorted by name.
pub type Object = BTreeMap<String, Text>;

/// A JSON value as text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(Box<RawValue>);

impl Text {
    /// A value as it was written.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn parse(text: String) -> serde_json::Result<Self> {
        RawValue::from_string(text).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The same value in canonical form: without white space, keys sorted at every level, numbers as 64-bit integers or
    /// doubles in their shortest form, of equal keys the last.
    ///
    /// # Errors
    /// It is nested too deeply, or has a number beyond all doubles.
    pub fn canonical(&self) -> serde_json::Result<Self> {
        serde_json::from_str::<Value>(self.get()).map(|value| Self::from(&value))
    }
}

impl From<&Value> for Text {
    fn from(value: &Value) -> Self {
        let mut text = String::new();
        write_value(value, &mut text);
        Self(RawValue::from_string(text).expect("what was written from a value is JSON"))
    }
}

impl From<Value> for Text {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// `object` without white space between its members, which are sorted; each value as its text is.
#[must_use]
pub fn write(object: &Object) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in object.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_value(&Value::from(name.as_str()), &mut text);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    text
}

fn write_object<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, text: &mut String) {
    text.push('{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_value(&Value::from(name.as_str()), text);
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            write_object(members.iter().collect::<BTreeMap<_, _>>().into_iter(), text)
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Why a text means different things to different readers, or nothing.
#[derive(Debug, thiserror::Error)]
pub enum Ambiguous {
    /// No JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Equal keys.
    #[error("\"{0}\" is there twice: keep one of them")]
    Twice(String),
    /// Nested too deeply.
    #[error("it is nested more than {DEPTH_MAX} deep")]
    Deep,
}

/// Looks at a JSON text strictly: the first number, if any, that is another one as 64-bit integer or double.
///
/// # Errors
/// [`Ambiguous`].
pub fn look(text: &str) -> Result<Option<String>, Ambiguous> {
    let value: &RawValue = serde_json::from_str(text)?;
    let mut lossy = None;
    look_into(value, 0, &mut lossy)?;
    Ok(lossy)
}

fn look_into(value: &RawValue, depth: usize, lossy: &mut Option<String>) -> Result<(), Ambiguous> {
    if DEPTH_MAX < depth {
        return Err(Ambiguous::Deep);
    }
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut names = BTreeSet::new();
            for (name, value) in serde_json::from_str::<Members<'_>>(text)?.0 {
                // The path is put together when it is told only: there may be as many members as it has bytes.
                look_into(value, depth + 1, lossy).map_err(|ambiguous| match ambiguous {
                    Ambiguous::Twice(path) => Ambiguous::Twice(format!("{name}.{path}")),
                    other => other,
                })?;
                if names.contains(&name) {
                    return Err(Ambiguous::Twice(name));
                }
                names.insert(name);
            }
        }
        Some(b'[') => {
            for item in serde_json::from_str::<Vec<&RawValue>>(text)? {
                look_into(item, depth + 1, lossy)?;
            }
        }
        Some(b'-' | b'0'..=b'9') if lossy.is_none() && !survives(text) => {
            *lossy = Some(text.to_owned());
        }
        _ => {}
    }
    Ok(())
}

/// All members of an object in their order, equal keys too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(All).map(Self)
    }
}

/// Whether a number is the same after it was read as 64-bit integer or double.
fn survives(number: &str) -> bool {
    serde_json::from_str::<Number>(number)
        .is_ok_and(|read| Decimal::of(&read.to_string()) == Decimal::of(number))
}

/// A number as written, in one form: digits without zeros at either end, and the power of ten behind them.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    power: i64,
}

impl Decimal {
    fn of(number: &str) -> Self {
        let (negative, rest) =
            number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
        let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{part}");
        let digits = all.trim_start_matches('0').trim_end_matches('0').to_owned();
        let zeros = all.len() - all.trim_end_matches('0').len();
        let places =
            i64::try_from(zeros).unwrap_or(i64::MAX) - i64::try_from(part.len()).unwrap_or(0);
        let power = power.parse::<i64>().unwrap_or(i64::MAX).saturating_add(places);
        let power = if digits.is_empty() { 0 } else { power };
        Self { negative, digits, power }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let text = r#" {"b": [1, {"z": 1.50, "a": "\n"}], "a": null, "c": 1e30} "#;
        let object: Object = serde_json::from_str(text).unwrap();
        let canonical: Object =
            object.iter().map(|(name, value)| (name.clone(), value.canonical().unwrap())).collect();
        assert_eq!(write(&canonical), r#"{"a":null,"b":[1,{"a":"\n","z":1.5}],"c":1e+30}"#);
        assert_eq!(write(&object), r#"{"a":null,"b":[1, {"z": 1.50, "a": "\n"}],"c":1e30}"#);
    }

    #[test]
    fn numbers_that_change_when_they_are_read_are_found() {
        for same in [
            "0",
            "-0",
            "-0.0",
            "1",
            "-9223372036854775808",
            "18446744073709551615",
            "1.50",
            "0.1",
            "1e30",
            "1.5E+3",
            "1e-7",
            "6.02214076e23",
            "100",
            "0.00",
            "5e-324",
        ] {
            assert_eq!(look(same).unwrap(), None, "{same}");
        }
        for other in [
            "18446744073709551616",
            "-9223372036854775809",
            "0.10000000000000000555",
            "1e400",
            "1e-400",
            "123456789012345678901234567890",
        ] {
            assert_eq!(look(&format!("[1, {{\"a\": {other}}}]")).unwrap().as_deref(), Some(other));
        }
    }

    #[test]
    fn equal_keys_are_found_at_every_level() {
        let told = |text: &str| look(text).unwrap_err().to_string();
        assert!(told(r#"{"a":1,"a":1}"#).starts_with("\"a\" is there twice"));
        assert!(
            told(r#"{"a":[{"b":{"c":1,"\u0063":2}}]}"#).starts_with("\"a.b.c\" is there twice")
        );
        assert!(look(r#"{"a":{"c":1},"b":{"c":2}}"#).is_ok());
        assert!(told("{\"a\":1,}").starts_with("not JSON"));
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(matches!(look(&deep), Err(Ambiguous::Deep)));
    }
}
