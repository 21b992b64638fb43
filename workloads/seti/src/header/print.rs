//! Printing a header in the original's layout, which is kept beside this file as a form to fill in.

use crate::markup::Element;
use crate::number;

/// The form. `{text PATH}` and `{number PATH}` stand for leaves, `{list PATH}` for numbers with commas,
/// `{each PATH}` to `{end}` is repeated for each element of that path.
const LAYOUT: &str = include_str!("layout.txt");

pub(crate) fn print(root: &Element) -> String {
    let mut out = String::new();
    let mut lines = LAYOUT.lines();
    while let Some(line) = lines.next() {
        let Some(path) = line.strip_prefix("{each ").and_then(|rest| rest.strip_suffix('}')) else {
            print_line(root, line, &mut out);
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|&line| line != "{end}").collect();
        let (list, name) = path.rsplit_once('/').unwrap_or(("", path));
        for element in root.at(list).iter().flat_map(|list| list.all(name)) {
            body.iter().for_each(|line| print_line(element, line, &mut out));
        }
    }
    out
}

fn print_line(element: &Element, line: &str, out: &mut String) {
    let Some((before, (form, after))) =
        line.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        *out += &format!("{line}\n");
        return;
    };
    let (kind, path) = form.split_once(' ').unwrap_or((form, ""));
    let text = element.at(path).map_or("", |leaf| leaf.text.as_str());
    let value = match kind {
        "text" => text.to_owned(),
        "number" => print_number(text),
        _ => print_list(text, before.len() - before.trim_start().len()),
    };
    *out += &format!("{before}{value}{after}\n");
}

/// Whole numbers as they are, others with 14 digits, anything else as 0.
fn print_number(text: &str) -> String {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => whole.to_string(),
        (_, Ok(value)) => number::print(value),
        _ => "0".to_owned(),
    }
}

fn print_list(text: &str, indent: usize) -> String {
    let values: Vec<_> = text.split(',').map(|value| print_number(value.trim())).collect();
    body(&format!("{:1$}{2}\n", "", indent + 2, values.join(",")), indent)
}

/// A list's length, encoding and body, from behind `length=` up to the closing tag.
pub(crate) fn body(lines: &str, indent: usize) -> String {
    let body = format!("\n{lines}{:indent$}", "");
    format!("{} encoding=\"x-csv\">{body}", body.len())
}
