//! What the API answers when it does not do what was asked: AWS's own exceptions, by their exact names.

use std::fmt;

use http::StatusCode;

/// Declares the exceptions with their names on the wire.
macro_rules! exceptions {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The exceptions: the model's twenty, then those that every AWS service has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Exception {
            $($(#[$doc])* $kind,)*
        }

        impl Exception {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Exception] = &[$(Exception::$kind,)*];

            /// As `__type` says it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Exception::$kind => $name,)*
                }
            }
        }
    };
}

exceptions! {
    AcceleratorNotFound = "AcceleratorNotFoundException",
    AcceleratorNotDisabled = "AcceleratorNotDisabledException",
    AccessDenied = "AccessDeniedException",
    AssociatedEndpointGroupFound = "AssociatedEndpointGroupFoundException",
    AssociatedListenerFound = "AssociatedListenerFoundException",
    AttachmentNotFound = "AttachmentNotFoundException",
    ByoipCidrNotFound = "ByoipCidrNotFoundException",
    Conflict = "ConflictException",
    EndpointAlreadyExists = "EndpointAlreadyExistsException",
    EndpointGroupAlreadyExists = "EndpointGroupAlreadyExistsException",
    EndpointGroupNotFound = "EndpointGroupNotFoundException",
    EndpointNotFound = "EndpointNotFoundException",
    IncorrectCidrState = "IncorrectCidrStateException",
    InternalServiceError = "InternalServiceErrorException",
    InvalidArgument = "InvalidArgumentException",
    InvalidNextToken = "InvalidNextTokenException",
    InvalidPortRange = "InvalidPortRangeException",
    LimitExceeded = "LimitExceededException",
    ListenerNotFound = "ListenerNotFoundException",
    TransactionInProgress = "TransactionInProgressException",
    /// No operation of that name.
    UnknownOperation = "UnknownOperationException",
    /// No JSON, or JSON of other types than the model's.
    Serialization = "SerializationException",
    /// Too many requests of one client.
    Throttling = "ThrottlingException",
    /// Not signed.
    MissingAuthenticationToken = "MissingAuthenticationTokenException",
    /// Signed in a way that is not understood.
    IncompleteSignature = "IncompleteSignatureException",
    /// Signed by a key that is not known.
    UnrecognizedClient = "UnrecognizedClientException",
    /// Signed wrong, or too long ago.
    InvalidSignature = "InvalidSignatureException",
    /// The body is larger than any request needs.
    RequestEntityTooLarge = "RequestEntityTooLargeException",
    /// The body did not come in time.
    RequestTimeout = "RequestTimeoutException",
}

impl Exception {
    /// The model gives no statuses; AWS answers 400 to whatever the caller did, and SDKs repeat a 500.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Exception::InternalServiceError => StatusCode::INTERNAL_SERVER_ERROR,
            Exception::MissingAuthenticationToken
            | Exception::UnrecognizedClient
            | Exception::InvalidSignature => StatusCode::FORBIDDEN,
            Exception::UnknownOperation => StatusCode::NOT_FOUND,
            Exception::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Exception::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Exception::AcceleratorNotFound
            | Exception::AcceleratorNotDisabled
            | Exception::AccessDenied
            | Exception::AssociatedEndpointGroupFound
            | Exception::AssociatedListenerFound
            | Exception::AttachmentNotFound
            | Exception::ByoipCidrNotFound
            | Exception::Conflict
            | Exception::EndpointAlreadyExists
            | Exception::EndpointGroupAlreadyExists
            | Exception::EndpointGroupNotFound
            | Exception::EndpointNotFound
            | Exception::IncorrectCidrState
            | Exception::InvalidArgument
            | Exception::InvalidNextToken
            | Exception::InvalidPortRange
            | Exception::LimitExceeded
            | Exception::ListenerNotFound
            | Exception::TransactionInProgress
            | Exception::Serialization
            | Exception::Throttling
            | Exception::IncompleteSignature => StatusCode::BAD_REQUEST,
        }
    }

    /// With what it says to a person.
    pub(crate) fn because(self, message: impl fmt::Display) -> ApiError {
        ApiError {
            exception: self,
            message: message.to_string(),
        }
    }
}

/// An exception and its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", exception.name())]
pub(crate) struct ApiError {
    /// Which.
    pub(crate) exception: Exception,
    /// For people.
    pub(crate) message: String,
}

/// The caller asked for something that cannot be.
pub(crate) fn invalid<T>(message: impl fmt::Display) -> Result<T, ApiError> {
    Err(Exception::InvalidArgument.because(message))
}
