//! The `[[cut]]` tables of a job file.

use super::fields::{Fields, Places, suggest};
use super::files::{self, Files};
use super::text::Mistake;
use proto::cut::Axis;
use proto::job::Input;

/// The ways to cut, each by the field that names it, with the fields beside it.
const KINDS: [(&str, &[&str]); 7] = [
    ("range", &["range", "first", "end", "per_unit"]),
    ("steps", &["steps", "start", "step", "count", "per_unit"]),
    ("values", &["values", "of"]),
    ("records", &["records", "header", "record", "per_unit", "overlap"]),
    ("bytes", &["bytes", "header", "per_unit", "overlap"]),
    ("files", &["files"]),
    ("lines", &["lines"]),
];

/// Reads all axes; files that they name and that are no inputs yet become inputs.
pub(super) fn read(
    root: &mut Fields<'_>,
    places: &Places,
    files: &mut Files,
    inputs: &mut Vec<Input>,
) -> Result<Vec<Axis>, Mistake> {
    let mut axes = Vec::new();
    for (at, span, table) in root.tables("cut")? {
        let kinds = KINDS.map(|(kind, _)| kind);
        let named: Vec<_> = KINDS.iter().filter(|(kind, _)| table.contains_key(*kind)).collect();
        let [(kind, known)] = named.as_slice() else {
            let field = table.keys().next().map_or("", |key| key.get_ref().as_ref());
            let (what, hint) = match named.as_slice() {
                [] => ("it does not say along what to cut", suggest(field, &kinds)),
                _ => (
                    "it says more than one way to cut",
                    ": give each a [[cut]] of its own".to_owned(),
                ),
            };
            return Err(places.text.mistake(&span, &at, format!("{what}{hint}")));
        };
        let mut fields = Fields::new(&at, &span, table, known, places)?;
        axes.push(axis(kind, &mut fields, files, inputs)?);
    }
    Ok(axes)
}

fn axis(
    kind: &str,
    fields: &mut Fields<'_>,
    files: &mut Files,
    inputs: &mut Vec<Input>,
) -> Result<Axis, Mistake> {
    match kind {
        "range" => range(fields),
        "steps" => steps(fields),
        "values" => {
            let name = parameter(fields, kind)?;
            let values = fields.values("of")?;
            Ok(Axis::Values { name, values: fields.required("of", "an array of values", values)? })
        }
        "records" => records(fields, files, inputs),
        "bytes" => bytes(fields, files, inputs),
        "files" => {
            let patterns = fields
                .strings(kind, "a path with * and ?, as in \"data/*.tim\", or an array of such")?;
            let found = files
                .glob(&patterns.unwrap_or_default(), inputs.len())
                .map_err(|message| fields.wrong(kind, message))?;
            match found {
                files::Axis::Named(found) => {
                    let (first, count) = (position(inputs.len()), position(found.len()));
                    inputs.extend(found);
                    Ok(Axis::Files { first, count })
                }
                files::Axis::Listed(digest, len, count) => Ok(Axis::Listed { digest, len, count }),
            }
        }
        _ => {
            let path = fields
                .string(kind, "the path of a file with one JSON object in each line")?
                .unwrap_or_default();
            let (digest, len, count) =
                files.lines(&path).map_err(|message| fields.wrong(kind, message))?;
            Ok(Axis::Lines { digest, len, count })
        }
    }
}

/// The parameter that the axis sets.
fn parameter(fields: &mut Fields<'_>, kind: &str) -> Result<String, Mistake> {
    let name = fields.string(kind, "the name of the parameter that each unit gets, as in \"n\"")?;
    fields.required(kind, "the name of the parameter", name)
}

fn range(fields: &mut Fields<'_>) -> Result<Axis, Mistake> {
    let name = parameter(fields, "range")?;
    let first = fields.count("first")?;
    let end = fields.count("end")?;
    Ok(Axis::Range {
        name,
        first: fields.required("first", "the first integer", first)?,
        end: fields.required("end", "one past the last integer", end)?,
        per_unit: fields.count("per_unit")?.unwrap_or(1),
    })
}

fn steps(fields: &mut Fields<'_>) -> Result<Axis, Mistake> {
    let name = parameter(fields, "steps")?;
    let start = fields.number("start")?;
    let step = fields.number("step")?;
    let count = fields.count("count")?;
    Ok(Axis::Steps {
        name,
        start: fields.required("start", "the first value", start)?,
        step: fields.required("step", "the distance from one value to the next", step)?,
        count: fields.required("count", "the number of values", count)?,
        per_unit: fields.count("per_unit")?.unwrap_or(1),
    })
}

fn records(
    fields: &mut Fields<'_>,
    files: &mut Files,
    inputs: &mut Vec<Input>,
) -> Result<Axis, Mistake> {
    let input = file(fields, "records", files, inputs)?;
    let record = fields.size("record")?;
    let per_unit = fields.count("per_unit")?;
    let record = fields.required("record", "the size of one record, as in \"9 B\"", record)?;
    let file = &inputs[input as usize];
    let header_bytes = header(fields, file)?;
    let rest = (file.len - header_bytes).checked_rem(record).unwrap_or(0);
    if rest != 0 {
        files.note(format!(
            "{}: {} bytes are no whole number of records of {record} bytes behind a header of {header_bytes}: the last unit gets a record of {rest} bytes",
            file.name, file.len
        ));
    }
    Ok(Axis::Records {
        input,
        header_bytes,
        record_bytes: record,
        per_unit: fields.required("per_unit", "the number of records in a unit", per_unit)?,
        overlap: fields.count("overlap")?.unwrap_or(0),
    })
}

fn bytes(
    fields: &mut Fields<'_>,
    files: &mut Files,
    inputs: &mut Vec<Input>,
) -> Result<Axis, Mistake> {
    let input = file(fields, "bytes", files, inputs)?;
    let per_unit = fields.size("per_unit")?;
    Ok(Axis::Records {
        input,
        header_bytes: header(fields, &inputs[input as usize])?,
        record_bytes: 1,
        per_unit: fields.required(
            "per_unit",
            "the size of a unit's part, as in \"1 MiB\"",
            per_unit,
        )?,
        overlap: fields.size("overlap")?.unwrap_or(0),
    })
}

fn header(fields: &mut Fields<'_>, input: &Input) -> Result<u64, Mistake> {
    let header = fields.size("header")?.unwrap_or(0);
    if header <= input.len {
        return Ok(header);
    }
    Err(fields.wrong(
        "header",
        format!("{header} bytes is more than the whole file, which has {}", input.len),
    ))
}

/// Position of the input that the axis cuts; it is added where it is not one yet.
fn file(
    fields: &mut Fields<'_>,
    kind: &str,
    files: &mut Files,
    inputs: &mut Vec<Input>,
) -> Result<u32, Mistake> {
    let path = fields.string(kind, "the path of the file to cut")?.unwrap_or_default();
    let input = files.input(&path).map_err(|message| fields.wrong(kind, message))?;
    let at = inputs.iter().position(|other| other.digest == input.digest).unwrap_or_else(|| {
        inputs.push(input);
        inputs.len() - 1
    });
    Ok(position(at))
}

/// Beyond 32 bits the number of inputs is refused by the specification's own check.
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
