//! The status codes of gRPC.

use std::fmt;

use http::StatusCode;

/// A [status code](https://grpc.io/docs/guides/status-codes/) of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are gRPC's own, explained there")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Reads the value of a `grpc-status` header. A value that is no code is
    /// [`Unknown`](Self::Unknown), as the gRPC specification asks.
    pub(super) fn from_header(value: &[u8]) -> Self {
        let number = match value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return Self::Unknown,
        };
        Self::ALL[usize::from(number)]
    }

    /// Returns the code's number, as in `grpc-status`.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the HTTP status that stands for the code, after `google.rpc.Code`
    /// ([code.proto]).
    ///
    /// It is 503 for `UNAVAILABLE`, 429 for `RESOURCE_EXHAUSTED`, 504 for `DEADLINE_EXCEEDED`, and
    /// 500 for the other failures. A verdict shows this status as its code, so that an operator
    /// reads one scale for every protocol.
    ///
    /// [code.proto]: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    #[must_use]
    pub fn http_status(self) -> StatusCode {
        let status = match self {
            Self::Ok => 200,
            Self::Cancelled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the code's name, as gRPC writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_its_code_and_what_is_none_is_unknown() {
        for code in Code::ALL {
            let written = code.number().to_string();
            assert_eq!(Code::from_header(written.as_bytes()), code);
            assert_eq!(Code::ALL[usize::from(code.number())], code);
        }
        for odd in [
            "", "17", "19", "999", "-1", "+1", "00", "014", " 0", "0 ", "1e0", "0,0", "OK",
            "\u{ff10}",
        ] {
            assert_eq!(Code::from_header(odd.as_bytes()), Code::Unknown, "{odd}");
        }
    }

    #[test]
    fn the_codes_that_ask_for_patience_are_the_http_ones() {
        assert_eq!(Code::Unavailable.http_status(), 503);
        assert_eq!(Code::ResourceExhausted.http_status(), 429);
        assert_eq!(Code::Cancelled.http_status().as_u16(), 499);
    }
}
