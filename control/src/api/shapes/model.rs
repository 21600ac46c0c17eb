//! The public model, read from `model.json`, and the checks of a request that follow from it alone: types, required members,
//! lengths, ranges, words and patterns. Clients check only some of these.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::errors::{ApiError, Exception};

/// The model that this API serves.
pub(crate) static MODEL: LazyLock<Model> = LazyLock::new(|| {
    serde_json::from_str(include_str!("model.json"))
        .expect("the model is part of the program, and a test reads it")
});

/// Operations and shapes by name.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) operations: HashMap<String, OperationShape>,
    pub(crate) shapes: HashMap<String, Shape>,
}

/// What an operation takes, answers and refuses with.
#[derive(Debug, Deserialize)]
pub(crate) struct OperationShape {
    pub(crate) input: Option<String>,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "answers are typed; tests hold the types against it"
        )
    )]
    pub(crate) output: Option<String>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold the exceptions against it")
    )]
    pub(crate) errors: Vec<String>,
}

/// A shape.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Shape {
    Structure {
        #[serde(default)]
        required: Vec<String>,
        #[serde(default)]
        members: Map<String, Value>,
    },
    List {
        member: String,
        min: Option<usize>,
        max: Option<usize>,
    },
    String {
        #[serde(rename = "enum", default)]
        words: Vec<String>,
        min: Option<usize>,
        max: Option<usize>,
        pattern: Option<String>,
    },
    Integer {
        min: Option<i64>,
        max: Option<i64>,
    },
    Float {
        min: Option<f64>,
        max: Option<f64>,
    },
    Boolean,
    Timestamp,
}

/// Members that the service wants although the model does not say so.
const ALSO_REQUIRED: [(&str, &[&str]); 4] = [
    ("PortRange", &["FromPort", "ToPort"]),
    ("PortOverride", &["ListenerPort", "EndpointPort"]),
    ("EndpointConfiguration", &["EndpointId"]),
    ("CustomRoutingEndpointConfiguration", &["EndpointId"]),
];

impl Model {
    /// Checks the input of an operation, and gives it back without what the model does not know, which AWS ignores, too.
    pub(crate) fn check(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let shape = self
            .operations
            .get(operation)
            .and_then(|operation| operation.input.as_deref());
        let Some(shape) = shape else {
            return Ok(Value::Object(Map::new()));
        };
        let mut faults = Faults::default();
        let checked = self.walk(shape, input, "", &mut faults)?;
        faults.refuse()?;
        Ok(checked)
    }

    fn walk(
        &self,
        name: &str,
        value: Value,
        path: &str,
        faults: &mut Faults,
    ) -> Result<Value, ApiError> {
        let shape = self
            .shapes
            .get(name)
            .expect("the model is closed, and a test walks all of it");
        match shape {
            Shape::Structure { required, members } => {
                let Value::Object(given) = value else {
                    return Err(wrong_type(path, "an object"));
                };
                self.structure((name, required, members), given, path, faults)
            }
            Shape::List { member, min, max } => {
                let Value::Array(given) = value else {
                    return Err(wrong_type(path, "a list"));
                };
                bound_length(given.len(), (*min, *max), path, "length", faults);
                if max.is_some_and(|max| given.len() > max) {
                    return Ok(Value::Array(Vec::new()));
                }
                let items = given
                    .into_iter()
                    .enumerate()
                    .filter(|(_, item)| !item.is_null());
                let items = items.map(|(index, item)| {
                    self.walk(
                        member,
                        item,
                        &format!("{path}.{}.member", index + 1),
                        faults,
                    )
                });
                items
                    .collect::<Result<Vec<Value>, ApiError>>()
                    .map(Value::Array)
            }
            Shape::String { .. }
            | Shape::Integer { .. }
            | Shape::Float { .. }
            | Shape::Boolean
            | Shape::Timestamp => check_scalar(shape, value, path, faults),
        }
    }

    fn structure(
        &self,
        (name, required, members): (&str, &[String], &Map<String, Value>),
        given: Map<String, Value>,
        path: &str,
        faults: &mut Faults,
    ) -> Result<Value, ApiError> {
        let also = ALSO_REQUIRED
            .iter()
            .find(|(shape, _)| *shape == name)
            .map_or(&[][..], |(_, also)| also);
        let required = required
            .iter()
            .map(String::as_str)
            .chain(also.iter().copied());
        for member in required {
            if given.get(member).is_none_or(Value::is_null) {
                let path = below(path, member);
                faults.add(format!(
                    "Value null at '{path}' failed to satisfy constraint: Member must not be null"
                ));
            }
        }
        let mut kept = Map::new();
        for (member, value) in given {
            if let Some(Value::String(shape)) = members.get(&member)
                && !value.is_null()
            {
                let value = self.walk(shape, value, &below(path, &member), faults)?;
                kept.insert(member, value);
            }
        }
        Ok(Value::Object(kept))
    }
}

/// A value that holds no others.
fn check_scalar(
    shape: &Shape,
    value: Value,
    path: &str,
    faults: &mut Faults,
) -> Result<Value, ApiError> {
    match shape {
        Shape::Structure { .. } | Shape::List { .. } => Err(wrong_type(path, "a value")),
        Shape::String {
            words,
            min,
            max,
            pattern,
        } => {
            let Some(given) = value.as_str() else {
                return Err(wrong_type(path, "a string"));
            };
            bound_length(given.chars().count(), (*min, *max), path, "length", faults);
            if !words.is_empty() && !words.iter().any(|word| word == given) {
                faults.add(constraint(
                    path,
                    given,
                    &format!("satisfy enum value set: [{}]", words.join(", ")),
                ));
            }
            if let Some(pattern) = pattern
                && !matches(pattern, given)
            {
                faults.add(constraint(
                    path,
                    given,
                    &format!("satisfy regular expression pattern: {pattern}"),
                ));
            }
            Ok(value)
        }
        Shape::Integer { min, max } => {
            let Some(given) = whole(&value) else {
                return Err(wrong_type(path, "a whole number"));
            };
            bound(given, (*min, *max), path, faults);
            Ok(Value::from(given))
        }
        Shape::Float { min, max } => {
            let Some(given) = value.as_f64() else {
                return Err(wrong_type(path, "a number"));
            };
            bound(given, (*min, *max), path, faults);
            Ok(Value::from(given))
        }
        Shape::Boolean => match value {
            Value::Bool(_) => Ok(value),
            Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Err(wrong_type(path, "true or false")),
        },
        Shape::Timestamp => match value.is_number() {
            true => Ok(value),
            false => Err(wrong_type(path, "a number of seconds")),
        },
    }
}

/// A body may be wrong in a hundred thousand places; nobody reads more than a few.
const FAULTS_SHOWN: usize = 10;

/// What is wrong with a request.
#[derive(Default)]
struct Faults {
    shown: Vec<String>,
    count: usize,
}

impl Faults {
    fn add(&mut self, fault: String) {
        self.count += 1;
        if self.shown.len() < FAULTS_SHOWN {
            self.shown.push(fault);
        }
    }

    fn refuse(self) -> Result<(), ApiError> {
        let errors = match self.count {
            0 => return Ok(()),
            1 => "error",
            _ => "errors",
        };
        let message = format!(
            "{} validation {errors} detected: {}",
            self.count,
            self.shown.join("; ")
        );
        Err(Exception::InvalidArgument.because(message))
    }
}

/// How much of a wrong value is shown.
const VALUE_SHOWN: usize = 64;

/// As AWS writes it: lower camel case, joined by dots.
fn below(path: &str, member: &str) -> String {
    let mut chars = member.chars();
    let camel = chars
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(chars);
    let mut out = String::from(path);
    if !path.is_empty() {
        out.push('.');
    }
    out.extend(camel);
    out
}

fn constraint(path: &str, given: impl std::fmt::Display, must: &str) -> String {
    let given: String = given
        .to_string()
        .chars()
        .filter(|c| !c.is_control())
        .take(VALUE_SHOWN)
        .collect();
    format!("Value '{given}' at '{path}' failed to satisfy constraint: Member must {must}")
}

fn wrong_type(path: &str, expected: &str) -> ApiError {
    let place = if path.is_empty() { "the body" } else { path };
    Exception::Serialization.because(format!("{place} must be {expected}"))
}

fn bound_length(
    length: usize,
    (min, max): (Option<usize>, Option<usize>),
    path: &str,
    what: &str,
    faults: &mut Faults,
) {
    if let Some(min) = min.filter(|min| length < *min) {
        faults.add(constraint(
            path,
            length,
            &format!("have {what} greater than or equal to {min}"),
        ));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        faults.add(constraint(
            path,
            length,
            &format!("have {what} less than or equal to {max}"),
        ));
    }
}

fn bound<N: PartialOrd + Copy + std::fmt::Display>(
    given: N,
    (min, max): (Option<N>, Option<N>),
    path: &str,
    faults: &mut Faults,
) {
    if let Some(min) = min.filter(|min| given < *min) {
        faults.add(constraint(
            path,
            given,
            &format!("have value greater than or equal to {min}"),
        ));
    }
    if let Some(max) = max.filter(|max| given > *max) {
        faults.add(constraint(
            path,
            given,
            &format!("have value less than or equal to {max}"),
        ));
    }
}

/// Some clients send whole numbers with a fraction of zero.
fn whole(value: &Value) -> Option<i64> {
    let exact =
        |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}

/// The model has four patterns; a regular-expression engine for them would be the largest part of the API.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        r"[\S\s]+" => !text.is_empty(),
        r"^\d{12}$" => digits(text),
        r"(^\d{12}$|arn:.*)" => digits(text) || text.starts_with("arn:"),
        r"^/[-a-zA-Z0-9@:%_\\+.~#?&/=]*$" => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-@:%_\\+.~#?&/=".contains(&b);
            text.starts_with('/') && text.bytes().all(plain)
        }
        other => unreachable!("the model has no pattern {other}, and a test says so"),
    }
}
