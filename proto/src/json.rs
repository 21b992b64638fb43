//! Canonical JSON: the same text for the same value on every machine.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Members of an object, sorted by name.
pub type Object = BTreeMap<String, Value>;

/// `object` without white space, keys sorted at every level, numbers in their shortest form.
#[must_use]
pub fn canonical(object: &Object) -> String {
    let mut text = String::new();
    write_object(object.iter(), &mut text);
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
        scalar => write!(text, "{scalar}").expect("a string takes all that is written to it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let object: Object =
            serde_json::from_str(r#" {"b": [1, {"z": 1.50, "a": "\n"}], "a": null, "c": 1e30} "#)
                .unwrap();
        assert_eq!(canonical(&object), r#"{"a":null,"b":[1,{"a":"\n","z":1.5}],"c":1e+30}"#);
    }
}
