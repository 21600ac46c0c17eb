//! What goes wrong when AWS is asked, in classes that say what to do about it. Pure.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

use super::{Account, Call, Service};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Too many calls; later it works.
    Throttled,
    /// The service failed.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// No connection, or one that broke.
    Unreachable,
    /// An answer that cannot be read.
    Malformed,
    /// The signature, the token or the permission is not accepted.
    Denied,
    /// There are no credentials to sign with, or no role that reads the account.
    Credentials,
    /// What was asked for is not there, at least not there.
    NotFound,
    /// The request itself is refused.
    Refused,
    /// The answer is of another account than the one that is believed.
    WrongAccount,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: [ErrorClass; 10] = [
        ErrorClass::Throttled,
        ErrorClass::Unavailable,
        ErrorClass::Timeout,
        ErrorClass::Unreachable,
        ErrorClass::Malformed,
        ErrorClass::Denied,
        ErrorClass::Credentials,
        ErrorClass::NotFound,
        ErrorClass::Refused,
        ErrorClass::WrongAccount,
    ];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Throttled => "throttled",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Unreachable => "unreachable",
            ErrorClass::Malformed => "malformed",
            ErrorClass::Denied => "denied",
            ErrorClass::Credentials => "credentials",
            ErrorClass::NotFound => "not_found",
            ErrorClass::Refused => "refused",
            ErrorClass::WrongAccount => "wrong_account",
        }
    }

    /// Whether the same call may work in a moment.
    pub fn may_pass(self) -> bool {
        match self {
            ErrorClass::Throttled
            | ErrorClass::Unavailable
            | ErrorClass::Timeout
            | ErrorClass::Unreachable
            | ErrorClass::Malformed => true,
            ErrorClass::Denied
            | ErrorClass::Credentials
            | ErrorClass::NotFound
            | ErrorClass::Refused
            | ErrorClass::WrongAccount => false,
        }
    }

    /// The class of an error by its code, and by its status when the code says nothing.
    pub fn of(code: Option<&str>, status: Option<u16>) -> Self {
        let code = code.unwrap_or_default();
        // Clients see codes with a namespace before or a URL behind.
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        match code {
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "EC2ThrottledException"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "SlowDown"
            | "PriorRequestNotComplete" => ErrorClass::Throttled,
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "OptInRequired"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "NotAuthorized" => ErrorClass::Denied,
            "InternalFailure"
            | "InternalServerError"
            | "InternalServiceErrorException"
            | "InternalError"
            | "ServiceUnavailable"
            | "Unavailable" => ErrorClass::Unavailable,
            _ if code.ends_with("NotFound")
                || code.ends_with("NotFoundException")
                || code.starts_with("NoSuch") =>
            {
                ErrorClass::NotFound
            }
            _ => Self::of_status(status),
        }
    }

    fn of_status(status: Option<u16>) -> Self {
        match status {
            // 503 is how EC2 throttles, with a code; without one either may be meant, and waiting is right for both.
            Some(429 | 503) => ErrorClass::Throttled,
            Some(408) => ErrorClass::Timeout,
            Some(401 | 403) => ErrorClass::Denied,
            Some(status) if status >= 500 => ErrorClass::Unavailable,
            Some(status) if status >= 400 => ErrorClass::Refused,
            // An error that came with a good status: what was said could not be read.
            Some(_) | None => ErrorClass::Malformed,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one attempt met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub class: ErrorClass,
    /// The service's word for it.
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// What the service logs the request under.
    pub request_id: Option<String>,
}

/// Longer messages are somebody's HTML.
const MAX_MESSAGE: usize = 300;

impl Fault {
    /// One of ours.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            code: None,
            message: shown(&message.into()),
            request_id: None,
        }
    }

    /// Nothing came in time.
    pub fn timeout(after: Duration) -> Self {
        Self::new(
            ErrorClass::Timeout,
            format!("no answer within {} s", after.as_secs_f32()),
        )
    }

    /// What a service answered by hand-made clients' reading.
    pub fn answered(
        status: u16,
        code: Option<String>,
        message: Option<String>,
        request_id: Option<String>,
    ) -> Self {
        let class = ErrorClass::of(code.as_deref(), Some(status));
        let message = message.unwrap_or_else(|| format!("status {status} without a message"));
        Self {
            class,
            code,
            message: shown(&message),
            request_id,
        }
    }

    /// The connection failed.
    pub fn of_connector(error: &ConnectorError) -> Self {
        let class = if error.is_timeout() {
            ErrorClass::Timeout
        } else {
            ErrorClass::Unreachable
        };
        Self::new(class, chain(error))
    }

    /// There is nothing to sign with.
    pub fn of_credentials(error: &CredentialsError) -> Self {
        Self::new(ErrorClass::Credentials, chain(error))
    }

    /// What a typed client met.
    pub fn of_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if let Some(found) = find::<CredentialsError>(error) {
            return Self::of_credentials(found);
        }
        let raw = error.raw_response();
        let status = raw.map(|raw| raw.status().as_u16());
        let header = |name| {
            raw.and_then(|raw| raw.headers().get(name))
                .map(str::to_owned)
        };
        let request_id = header("x-amzn-requestid").or_else(|| header("x-amz-request-id"));
        let fault = match error {
            SdkError::TimeoutError(_) => Self::new(ErrorClass::Timeout, chain(error)),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => Self::of_connector(error),
                None => Self::new(ErrorClass::Unreachable, chain(error)),
            },
            SdkError::ServiceError(service) => {
                let service = service.err();
                let code = service.code().map(str::to_owned);
                let message = service.message().map(str::to_owned);
                Self::answered(status.unwrap_or(0), code, message, None)
            }
            // The body of a good answer that cannot be read, or of an error in another language (HTML of a proxy).
            SdkError::ResponseError(_) => Self {
                class: match status {
                    Some(status) if status >= 400 => ErrorClass::of(None, Some(status)),
                    Some(_) | None => ErrorClass::Malformed,
                },
                ..Self::new(ErrorClass::Malformed, chain(error))
            },
            SdkError::ConstructionFailure(_) => Self::new(ErrorClass::Refused, chain(error)),
            // The enum is open; an unknown kind is treated as one that may pass.
            _ => Self::new(ErrorClass::Unreachable, chain(error)),
        };
        Self {
            request_id,
            ..fault
        }
    }
}

/// For `map_err` behind a typed client's `send`.
impl<E> From<SdkError<E, HttpResponse>> for Fault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        Self::of_sdk(&error)
    }
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{operation}{}: {}: {}{}", service.as_str(), place(account, region), fault.class, said(fault), after(*attempts))]
pub struct CallError {
    /// The service.
    pub service: Service,
    /// The operation.
    pub operation: &'static str,
    /// Whose resources.
    pub account: Account,
    /// The region that was asked.
    pub region: String,
    /// What the last attempt met.
    pub fault: Fault,
    /// How often it was tried.
    pub attempts: u32,
}

impl CallError {
    /// From the last attempt's fault.
    pub fn of(call: &Call<'_>, fault: Fault, attempts: u32) -> Self {
        let Call {
            service,
            operation,
            account,
            region,
        } = call;
        Self {
            service: *service,
            operation,
            account: (*account).clone(),
            region: (*region).to_owned(),
            fault,
            attempts,
        }
    }

    /// The class of the last fault.
    pub fn class(&self) -> ErrorClass {
        self.fault.class
    }
}

fn place(account: &Account, region: &str) -> String {
    match account {
        Account::Own => format!(" in {region}"),
        Account::Other(id) => format!(" in {region}, account {id}"),
    }
}

fn said(fault: &Fault) -> String {
    let mut said = match &fault.code {
        Some(code) => format!("{code}: {}", fault.message),
        None => fault.message.clone(),
    };
    if let Some(id) = &fault.request_id {
        said.push_str(&format!(" (request {id})"));
    }
    said
}

fn after(attempts: u32) -> String {
    if attempts > 1 {
        format!(", after {attempts} attempts")
    } else {
        String::new()
    }
}

/// An error and what is behind it, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !told.contains(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        next = error.source();
    }
    told
}

fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// One line that a terminal can take.
fn shown(message: &str) -> String {
    let plain = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = plain.take(MAX_MESSAGE).collect();
    if message.chars().count() > MAX_MESSAGE {
        shown.push('…');
    }
    shown
}
