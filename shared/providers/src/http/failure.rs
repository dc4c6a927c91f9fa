//! What a failed exchange means for people.
//!
//! The HTTP library wraps what happened several times over; the innermost cause that we know decides.

use std::error::Error;
use std::io;

use calfleet_domain::failure::FailureClass;

use super::guard::Refusal;
use crate::driver::{DriverError, Problem};

/// No answer in time.
pub(super) fn timeout(operation: &'static str, host: &str) -> DriverError {
    DriverError::new(operation, FailureClass::Transient, Problem::Timeout { host: host.to_owned() })
}

/// The request could not be sent, or its answer did not begin.
pub(super) fn of_request(operation: &'static str, host: &str, error: reqwest::Error) -> DriverError {
    let (class, problem) = diagnose(&error, host).unwrap_or_else(|| {
        let host = host.to_owned();
        let problem = if error.is_timeout() {
            Problem::Timeout { host }
        } else if error.is_connect() {
            Problem::ConnectFailed { host }
        } else {
            Problem::Truncated
        };
        (FailureClass::Transient, problem)
    });
    DriverError::new(operation, class, problem).caused_by(error.without_url())
}

/// The answer broke off.
pub(super) fn of_body(operation: &'static str, host: &str, error: reqwest::Error) -> DriverError {
    let problem =
        if error.is_timeout() { Problem::Timeout { host: host.to_owned() } } else { Problem::Truncated };
    DriverError::new(operation, FailureClass::Transient, problem).caused_by(error.without_url())
}

fn diagnose(error: &(dyn Error + 'static), host: &str) -> Option<(FailureClass, Problem)> {
    let host = host.to_owned();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(match refusal {
                // A name that does not resolve may be the fault of a resolver that is down.
                Refusal::Unknown(_) => (FailureClass::Transient, Problem::UnknownHost { host }),
                Refusal::Private => (FailureClass::Permanent, Problem::AddressNotAllowed { host }),
                Refusal::Insecure => (FailureClass::Permanent, Problem::InsecureUrl),
            });
        }
        if let Some(problem) = tls_problem(error, &host) {
            return Some((FailureClass::Transient, problem));
        }
        // An io::Error hides the error it was made of from the chain.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn tls_problem(error: &(dyn Error + 'static), host: &str) -> Option<Problem> {
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Some(Problem::CertificateInvalid { host: host.to_owned() })
        }
        _ => Some(Problem::ConnectFailed { host: host.to_owned() }),
    }
}
