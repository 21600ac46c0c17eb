//! TOML values to ours: each function makes a reader that checks type and range, and says what is allowed.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::values::{self, ValueError, fault, show_duration, show_size};
use crate::units::PortRange;

/// Global Accelerator's bound for the name of an accelerator, taken for all our names.
const MAX_NAME: usize = 64;

/// Long enough for every ARN.
const MAX_ID: usize = 255;

/// A string.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, ValueError> {
    value
        .as_str()
        .ok_or_else(|| wrong_type(value, "a string in quotes"))
}

/// A string that a function of `values` reads.
pub(super) fn parsed<T>(
    read: impl Fn(&str) -> Result<T, ValueError>,
) -> impl Fn(&DeValue<'_>) -> Result<T, ValueError> {
    move |value| read(text(value)?)
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, ValueError> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type(value, "true or false"))
}

/// A whole number in a range that fits `T`.
pub(super) fn integer<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&DeValue<'_>) -> Result<T, ValueError> {
    move |value| {
        let given = value
            .as_integer()
            .ok_or_else(|| wrong_type(value, "a whole number"))?;
        whole(given)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .map_or_else(|| out_of_range(given, &range), Ok)
    }
}

/// A number in a range.
pub(super) fn float(
    range: RangeInclusive<f64>,
) -> impl Fn(&DeValue<'_>) -> Result<f64, ValueError> {
    move |value| {
        let given = match value {
            DeValue::Integer(given) => given.to_string(),
            DeValue::Float(given) => given.as_str().to_string(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return Err(wrong_type(value, "a number")),
        };
        match given.parse::<f64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => out_of_range(given, &range),
        }
    }
}

/// A duration in a range.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, ValueError> {
    move |value| {
        if let Some(number) = value.as_integer() {
            return fault(
                format!("expected a duration, found the bare number {number}"),
                format!("put it in quotes with a unit, such as \"{number}s\" or \"{number}ms\""),
            );
        }
        let given = values::duration(text(value)?)?;
        if range.contains(&given) {
            return Ok(given);
        }
        let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
        fault(
            format!("{} is out of range", show_duration(given)),
            format!("give \"{least}\" to \"{most}\""),
        )
    }
}

/// A size in a range.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, ValueError> {
    move |value| {
        if let Some(number) = value.as_integer() {
            return fault(
                format!("expected a size, found the bare number {number}"),
                "put it in quotes with a unit, such as \"256MiB\"",
            );
        }
        let given = values::size(text(value)?)?;
        if range.contains(&given) {
            return Ok(given);
        }
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        fault(
            format!("{} is out of range", show_size(given)),
            format!("give \"{least}\" to \"{most}\""),
        )
    }
}

/// One word of a closed set.
pub(super) fn one_of<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, ValueError> {
    move |value| {
        let given = text(value)?;
        let found = words.iter().find(|(word, _)| *word == given);
        found.map_or_else(
            || {
                let all: Vec<String> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                fault(
                    format!("\"{given}\" is none of the words known here"),
                    format!("write {}", all.join(" or ")),
                )
            },
            |(_, meaning)| Ok(*meaning),
        )
    }
}

/// A port of a listener, or a range of them: `443` or `"8000-8100"`.
pub(super) fn port_range(value: &DeValue<'_>) -> Result<PortRange, ValueError> {
    match value {
        DeValue::String(given) => values::port_range(given),
        DeValue::Integer(_) => {
            let port = integer::<u16>(1..=65535)(value)?;
            values::port_range(&port.to_string())
        }
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => Err(wrong_type(value, "a port or a range such as \"8000-8100\"")),
    }
}

/// An address without a port.
pub(super) fn ip(value: &DeValue<'_>) -> Result<IpAddr, ValueError> {
    values::ip(text(value)?)
}

/// The name of a PoP, accelerator or region: it becomes a metric's label and part of DNS record names.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = text(value)?;
    if is_name(given) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a name"),
        "use 1 to 64 letters, digits, hyphens, dots and underscores, a letter or digit at either end",
    )
}

/// Whether the text may stand as a name.
pub(super) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && text.bytes().all(inner)
        && end(text.bytes().next())
        && end(text.bytes().last())
}

/// The id of an endpoint: whatever can be typed in one word, ARNs included.
pub(super) fn id(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = text(value)?;
    let visible = given.bytes().all(|b| b.is_ascii_graphic());
    if visible && (1..=MAX_ID).contains(&given.len()) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not an id"),
        "use 1 to 255 visible ASCII characters without spaces",
    )
}

/// A path of the file system; it cannot be empty.
pub(super) fn path(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = text(value)?;
    if given.is_empty() || given.contains('\0') {
        return fault(
            format!("\"{given}\" is not a path"),
            "write the path of a file, or leave the key out",
        );
    }
    Ok(given.to_string())
}

/// The error for a value of another type.
pub(super) fn wrong_type(value: &DeValue<'_>, expected: &str) -> ValueError {
    let found = value.type_str();
    let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    ValueError::new(
        format!("found {article} {found}"),
        format!("expected {expected}"),
    )
}

fn whole(given: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(given.as_str(), given.radix()).ok()
}

fn out_of_range<T, N: fmt::Display>(
    given: impl fmt::Display,
    range: &RangeInclusive<N>,
) -> Result<T, ValueError> {
    fault(
        format!("{given} is out of range"),
        format!("give {} to {}", range.start(), range.end()),
    )
}
