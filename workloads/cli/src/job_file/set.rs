//! `--set NAME=VALUE`: changes one field of a job file for one call.

use super::text::{Mistake, Span, Text};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Puts the setting into `root`: `copies=3`, `params.mode="fast"` (or `fast`), `limits.fuel=5 G`, `cut.0.end=100`.
pub(super) fn apply<'a>(
    root: &mut DeTable<'a>,
    setting: &'a str,
    text: &mut Text,
) -> Result<(), Mistake> {
    let start = text.push("--set", setting);
    let span = start..start + setting.len();
    let (path, value) = setting.split_once('=').ok_or_else(|| {
        text.mistake(&span, "", "give NAME=VALUE, as in copies=3 or params.mode=fast")
    })?;
    let value = value.trim();
    let value = match DeValue::parse(value) {
        Ok(value) => value.into_inner(),
        Err(error) if is_meant_as_toml(value) => {
            let message = format!(
                "{value} is no value in TOML ({}): for a text, put it in quotation marks, as in '\"{value}\"'",
                error.message().trim()
            );
            return Err(text.mistake(&span, path.trim(), message));
        }
        Err(_) => DeValue::String(value.into()),
    };
    let names: Vec<&str> = path.trim().split('.').collect();
    let known = put(root, &names, Spanned::new(span.clone(), moved(value, &span)), &span);
    if known {
        Ok(())
    } else {
        Err(text.mistake(&span, path.trim(), "there is no such place in the job file"))
    }
}

/// Whether a value that is no TOML looks as if it were to be more than a text: the beginning of a list, a table or a
/// quoted text, or a number that TOML writes otherwise (`.5`, `007`).
fn is_meant_as_toml(value: &str) -> bool {
    let first = value.chars().next().unwrap_or('"');
    let number = !first.is_alphabetic() && value.parse::<f64>().is_ok();
    number || matches!(first, '[' | '{' | '"' | '\'')
}

fn put<'a>(
    table: &mut DeTable<'a>,
    names: &[&str],
    value: Spanned<DeValue<'a>>,
    span: &Span,
) -> bool {
    let [name, rest @ ..] = names else { return false };
    let key = || Spanned::new(span.clone(), (*name).to_owned().into());
    if rest.is_empty() {
        table.remove(*name);
        table.insert(key(), value);
        return true;
    }
    if !table.contains_key(*name) {
        if rest[0].parse::<usize>().is_ok() {
            return false; // a place in a list that is not there
        }
        table.insert(key(), Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    }
    table.get_mut(*name).is_some_and(|item| within(item.get_mut(), rest, value, span))
}

fn within<'a>(
    item: &mut DeValue<'a>,
    names: &[&str],
    value: Spanned<DeValue<'a>>,
    span: &Span,
) -> bool {
    match (item, names) {
        (DeValue::Table(table), names) => put(table, names, value, span),
        (DeValue::Array(items), [index, rest @ ..]) => {
            let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get_mut(index))
            else {
                return false;
            };
            if rest.is_empty() {
                *item = value;
                return true;
            }
            within(item.get_mut(), rest, value, span)
        }
        _ => false,
    }
}

/// `value` with all that is in it placed at the setting.
fn moved<'a>(value: DeValue<'a>, span: &Span) -> DeValue<'a> {
    let item =
        |item: Spanned<DeValue<'a>>| Spanned::new(span.clone(), moved(item.into_inner(), span));
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(item).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), item(value)))
                .collect(),
        ),
        other => other,
    }
}
