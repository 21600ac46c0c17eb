//! What an error of a socket means for a check. Linux maps ICMP to errno in `icmp_err_convert` (net/ipv4/icmp.c) and
//! `tab_unreach` (net/ipv6/icmp.c).

use std::error::Error;
use std::io;
use std::sync::Arc;

use portolan_config::health::Failure;

/// As much of a reason as people can use: the words are partly the endpoint's (a certificate's names), and are kept and shown.
const REASON_LENGTH: usize = 200;

/// Of a connect.
pub(crate) fn of_connect(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Failure::Refused,
        Some(libc::ETIMEDOUT) => Failure::TimedOut,
        Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => Failure::Reset,
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::EADDRNOTAVAIL
            | libc::EADDRINUSE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EAGAIN,
        )
        | None => Failure::Local(Arc::from(error.to_string())),
        // Every other error says that packets do not get there: ICMP's many (EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENONET,
        // ENOPROTOOPT, EACCES), no route, routes that refuse (EINVAL from `blackhole`, EACCES from `prohibit`), this host's own
        // firewall (EPERM), a family it does not speak (EAFNOSUPPORT).
        Some(_) => Failure::Unreachable,
    }
}

/// Of an exchange over an accepted connection; `met` says in whose words, `doing` what was going on.
pub(super) fn of_exchange(met: &(dyn Error + 'static), doing: &str) -> Failure {
    let mut cause = Some(met);
    let mut last = met;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.raw_os_error().is_some()
        {
            return of_broken_connection(io, doing);
        }
        last = error;
        // An io::Error made of another error shows that error's source, not the error: look inside.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Failure::Answer(reason(&format!("{doing}: {last}")))
}

fn of_broken_connection(error: &io::Error, doing: &str) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => Failure::Reset,
        Some(libc::ETIMEDOUT) => Failure::TimedOut,
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN) => {
            Failure::Unreachable
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => Failure::Local(Arc::from(error.to_string())),
        Some(_) | None => Failure::Answer(reason(&format!("{doing}: {error}"))),
    }
}

/// Printable, on one line, cut.
fn reason(text: &str) -> Arc<str> {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_LENGTH)
        .collect::<String>()
        .into()
}
