//! Reads the fields of a TOML table one by one, each mistake with its place, its field and what is allowed.

use super::text::{Mistake, Span, Text};
use crate::amount;
use proto::json::Text as Json;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

type Result<T> = std::result::Result<T, Mistake>;
type Item<'a> = Spanned<DeValue<'a>>;

/// What all tables of a file share: its text, and where each field that was read stands.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) text: Text,
    spans: RefCell<BTreeMap<String, Span>>,
}

impl Places {
    pub(super) fn new(text: Text) -> Self {
        Self { text, spans: RefCell::default() }
    }

    fn note(&self, field: &str, span: &Span) {
        self.spans.borrow_mut().insert(field.to_owned(), span.clone());
    }

    /// Where `field` stands, or the nearest that it is part of.
    pub(super) fn find(&self, field: &str) -> Span {
        let spans = self.spans.borrow();
        let mut field = field;
        loop {
            if let Some(span) = spans.get(field) {
                return span.clone();
            }
            match field.rfind(['.', '[']) {
                Some(end) => field = &field[..end],
                None => return 0..0,
            }
        }
    }

    /// A mistake at `field`.
    pub(super) fn wrong(&self, field: &str, message: impl Into<String>) -> Mistake {
        self.text.mistake(&self.find(field), field, message)
    }
}

/// One table.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    at: String,
    table: DeTable<'a>,
    places: &'a Places,
}

impl<'a> Fields<'a> {
    /// Takes a table, refusing fields that are not `known`.
    pub(super) fn new(
        at: &str,
        span: &Span,
        table: DeTable<'a>,
        known: &[&str],
        places: &'a Places,
    ) -> Result<Self> {
        places.note(at, span);
        let fields = Self { at: at.to_owned(), table, places };
        for key in fields.table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                let message = format!("there is no such field{}", suggest(key.get_ref(), known));
                return Err(places.text.mistake(&key.span(), fields.path(key.get_ref()), message));
            }
        }
        Ok(fields)
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// A mistake at one of the fields.
    pub(super) fn wrong(&self, name: &str, message: impl Into<String>) -> Mistake {
        self.places.wrong(&self.path(name), message)
    }

    fn take(&mut self, name: &str) -> Option<Item<'a>> {
        let item = self.table.remove(name)?;
        self.places.note(&self.path(name), &item.span());
        Some(item)
    }

    /// Reads a field with `read`, which says what is allowed when it cannot.
    fn read<T>(
        &mut self,
        name: &str,
        allowed: &str,
        read: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(item) = self.take(name) else { return Ok(None) };
        match read(item.get_ref()) {
            Some(value) => Ok(Some(value)),
            None => {
                let message =
                    format!("{} is not allowed: give {allowed}", describe(item.get_ref()));
                Err(self.wrong(name, message))
            }
        }
    }

    /// `value`, or that the field is missing and what it would be.
    pub(super) fn required<T>(&self, name: &str, allowed: &str, value: Option<T>) -> Result<T> {
        let at = if self.at.is_empty() { 0..0 } else { self.places.find(&self.at) };
        value.ok_or_else(|| {
            self.places.text.mistake(&at, self.path(name), format!("it is missing: give {allowed}"))
        })
    }

    pub(super) fn string(&mut self, name: &str, allowed: &str) -> Result<Option<String>> {
        self.read(name, allowed, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn strings(&mut self, name: &str, allowed: &str) -> Result<Option<Vec<String>>> {
        self.read(name, allowed, |value| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
            }
            _ => None,
        })
    }

    /// A whole number, or a text like `"5e9"` or `"5 G"`.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        self.read(name, "a whole number from 0 on, as in 5000, \"5e9\" or \"5 G\"", |value| {
            match value {
                DeValue::Integer(_) => integer(value)?.as_u64(),
                DeValue::Float(text) => amount::parse_count(text.as_str()),
                DeValue::String(text) => amount::parse_count(text),
                _ => None,
            }
        })
    }

    /// Exit codes of a program.
    pub(super) fn codes(&mut self, name: &str) -> Result<Option<Vec<i32>>> {
        self.read(name, "an array of whole numbers, as in [0, 10, 20]", |value| {
            let DeValue::Array(items) = value else { return None };
            let code = |item: &Item<'a>| i32::try_from(integer(item.get_ref())?.as_i64()?).ok();
            items.iter().map(code).collect()
        })
    }

    /// A whole number that fits in 32 bits.
    pub(super) fn small_count(&mut self, name: &str) -> Result<Option<u32>> {
        self.read(name, "a whole number from 0 on", |value| {
            u32::try_from(integer(value)?.as_u64()?).ok()
        })
    }

    pub(super) fn signed(&mut self, name: &str) -> Result<Option<i32>> {
        self.read(name, "a whole number, as in 10 or -10", |value| {
            i32::try_from(integer(value)?.as_i64()?).ok()
        })
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number, as in 0.5", |value| match value {
            DeValue::Integer(_) => integer(value)?.as_f64(),
            DeValue::Float(text) => {
                text.as_str().parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        })
    }

    /// Bytes: a whole number, or a text like `"256 MiB"`.
    pub(super) fn size(&mut self, name: &str) -> Result<Option<u64>> {
        self.read(
            name,
            "a size, as in \"256 MiB\", \"1.5 GB\" or 4096 (bytes)",
            |value| match value {
                DeValue::Integer(_) => integer(value)?.as_u64(),
                DeValue::String(text) => amount::parse_size(text),
                _ => None,
            },
        )
    }

    /// Whole seconds.
    pub(super) fn seconds(&mut self, name: &str) -> Result<Option<u64>> {
        self.read(
            name,
            "a duration with its unit, as in \"90 s\", \"10 min\" or \"1h 30m\"",
            |value| amount::parse_duration(value.as_str()?).map(|duration| duration.as_secs()),
        )
    }

    /// A table, whose fields are not read one by one.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<BTreeMap<String, Json>>> {
        let Some(item) = self.take(name) else { return Ok(None) };
        let at = self.path(name);
        match item.get_ref() {
            DeValue::Table(table) => {
                table.iter().map(|(key, value)| self.member(&at, key.get_ref(), value)).collect()
            }
            other => Err(self.wrong(
                name,
                format!("{} is not allowed: give a table, [{name}]", describe(other)),
            )),
        }
        .map(Some)
    }

    /// An array of any values.
    pub(super) fn values(&mut self, name: &str) -> Result<Option<Vec<Json>>> {
        let Some(item) = self.take(name) else { return Ok(None) };
        let DeValue::Array(items) = item.get_ref() else {
            let message = format!(
                "{} is not allowed: give an array, as in [1, 2] or [\"a\", \"b\"]",
                describe(item.get_ref())
            );
            return Err(self.wrong(name, message));
        };
        let at = self.path(name);
        items
            .iter()
            .enumerate()
            .map(|(i, item)| self.json(&format!("{at}[{i}]"), item))
            .collect::<Result<_>>()
            .map(Some)
    }

    fn member(&self, at: &str, key: &str, item: &Item<'a>) -> Result<(String, Json)> {
        Ok((key.to_owned(), self.json(&format!("{at}.{key}"), item)?))
    }

    /// A value as JSON, numbers as they are written.
    fn json(&self, at: &str, item: &Item<'a>) -> Result<Json> {
        let text = self.json_text(at, item)?;
        Json::parse(text).map_err(|error| self.places.wrong(at, error.to_string()))
    }

    fn json_text(&self, at: &str, item: &Item<'a>) -> Result<String> {
        self.places.note(at, &item.span());
        let wrong = |allowed: &str| {
            self.places
                .wrong(at, format!("{} is not allowed: give {allowed}", describe(item.get_ref())))
        };
        match item.get_ref() {
            DeValue::String(text) => Ok(Value::from(text.as_ref()).to_string()),
            DeValue::Integer(_) => whole(item.get_ref())
                .ok_or_else(|| wrong("a whole number, written in decimal if it is that long")),
            DeValue::Float(text) => {
                let number: Option<f64> = text.as_str().parse().ok();
                let finite = number.is_some_and(f64::is_finite);
                let text = text.as_str().trim_start_matches('+').to_owned();
                finite.then_some(text).ok_or_else(|| wrong("a finite number"))
            }
            DeValue::Boolean(value) => Ok(value.to_string()),
            DeValue::Datetime(value) => Ok(Value::from(value.to_string()).to_string()),
            DeValue::Array(items) => {
                let texts = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.json_text(&format!("{at}[{i}]"), item));
                Ok(format!("[{}]", texts.collect::<Result<Vec<_>>>()?.join(",")))
            }
            DeValue::Table(table) => {
                let member = |(key, value): (&Spanned<_>, &Item<'a>)| {
                    let key: &std::borrow::Cow<'_, str> = key.get_ref();
                    let name = Value::from(key.as_ref());
                    Ok(format!("{name}:{}", self.json_text(&format!("{at}.{key}"), value)?))
                };
                let texts = table.iter().map(member).collect::<Result<Vec<_>>>()?;
                Ok(format!("{{{}}}", texts.join(",")))
            }
        }
    }

    /// A table of known fields.
    pub(super) fn table(&mut self, name: &str, known: &[&str]) -> Result<Option<Self>> {
        let Some(item) = self.take(name) else { return Ok(None) };
        let span = item.span();
        match item.into_inner() {
            DeValue::Table(table) => {
                Fields::new(&self.path(name), &span, table, known, self.places).map(Some)
            }
            other => Err(self.wrong(
                name,
                format!("{} is not allowed: give a table, [{name}]", describe(&other)),
            )),
        }
    }

    /// An array of tables, `[[name]]`, each with its path.
    pub(super) fn tables(&mut self, name: &str) -> Result<Vec<(String, Span, DeTable<'a>)>> {
        let Some(item) = self.take(name) else { return Ok(Vec::new()) };
        let at = self.path(name);
        let wrong = |other: &DeValue<'_>| {
            self.wrong(
                name,
                format!("{} is not allowed: give tables, each under [[{name}]]", describe(other)),
            )
        };
        let items: DeArray<'a> = match item.into_inner() {
            DeValue::Array(items) => items,
            other => return Err(wrong(&other)),
        };
        let table = |(index, item): (usize, Item<'a>)| {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => Ok((format!("{at}[{index}]"), span, table)),
                other => Err(wrong(&other)),
            }
        };
        items.into_iter().enumerate().map(table).collect()
    }
}

/// A whole number in decimal, of any length if it is written so.
fn whole(value: &DeValue<'_>) -> Option<String> {
    let DeValue::Integer(integer) = value else { return None };
    if integer.radix() != 10 {
        return u128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n.to_string());
    }
    let (sign, digits) = match integer.as_str().strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", integer.as_str().trim_start_matches('+')),
    };
    Some(if digits == "0" { digits.to_owned() } else { format!("{sign}{digits}") })
}

/// A whole number within 64 bits.
fn integer(value: &DeValue<'_>) -> Option<Value> {
    let DeValue::Integer(integer) = value else { return None };
    let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    u64::try_from(number).map(Value::from).or_else(|_| i64::try_from(number).map(Value::from)).ok()
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// `: did you mean "x"?`, or the names that there are.
pub(super) fn suggest(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    match nearest {
        Some(nearest) if 0.8 < strsim::jaro_winkler(nearest, name) => {
            format!(": did you mean \"{nearest}\"?")
        }
        _ => format!(": there are {}", known.join(", ")),
    }
}
