//! `GET /api/v1/why?client=IP[:PORT]&to=ADDRESS:PORT/TCP`: which endpoint a new flow would get, asked of the data path itself.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use portolan_config::address::canonical;
use portolan_config::explain::Explanation;
use portolan_config::model::Protocol;
use serde::Deserialize;

use super::Core;
use super::answer::{Json, Refusal, computed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
    to: String,
}

pub(super) async fn why(State(shared): Core, uri: Uri) -> Result<Json<Explanation>, Refusal> {
    let Query(Asked { client, to }) = Query::try_from_uri(&uri).map_err(Refusal::bad)?;
    let (ip, port) = parse_client(&client)?;
    let (to, protocol) = parse_to(&to)?;
    let control = shared.control.clone();
    let explanation =
        computed(move || control.data_plane().explain(ip, port, to, protocol)).await?;
    let none = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format_args!("no listener takes {to}/{protocol}"),
        )
    };
    explanation.map(Json).ok_or_else(none)
}

/// `IP`, `IP:PORT` or `[IP]:PORT`.
fn parse_client(text: &str) -> Result<(IpAddr, Option<u16>), Refusal> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        let addr = canonical(addr);
        return Ok((addr.ip(), Some(addr.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok((ip.to_canonical(), None)),
        Err(_) => Err(Refusal::bad(format_args!(
            "client={text:?} is not an address; write 198.51.100.7, 198.51.100.7:40000 or [2001:db8::7]:40000"
        ))),
    }
}

/// `ADDRESS:PORT/PROTOCOL`; without a protocol it is TCP.
fn parse_to(text: &str) -> Result<(SocketAddr, Protocol), Refusal> {
    let wrong = |what| {
        Refusal::bad(format_args!(
            "to={text:?} {what}; write 203.0.113.10:443/TCP or [2001:db8::10]:443/TCP"
        ))
    };
    let (addr, protocol) = text.rsplit_once('/').unwrap_or((text, "TCP"));
    let protocol = match protocol.to_ascii_uppercase().as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return Err(wrong("names no known protocol")),
    };
    let addr = addr
        .parse::<SocketAddr>()
        .map_err(|_| wrong("is not an address and port"))?;
    Ok((canonical(addr), protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_with_a_port_or_without() {
        for (text, ip, port) in [
            ("198.51.100.7", "198.51.100.7", None),
            ("198.51.100.7:40000", "198.51.100.7", Some(40000)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]", "2001:db8::7", None),
            ("[2001:db8::7]:1", "2001:db8::7", Some(1)),
            ("::ffff:198.51.100.7", "198.51.100.7", None),
        ] {
            assert_eq!(
                parse_client(text),
                Ok((ip.parse().unwrap(), port)),
                "{text}"
            );
        }
        for text in [
            "",
            "web",
            "198.51.100.7:",
            "198.51.100.7:70000",
            "198.51.100",
            "198.51.100.7/24",
        ] {
            assert!(parse_client(text).is_err(), "{text}");
        }
    }

    #[test]
    fn destinations_name_address_port_and_protocol() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(
            parse_to("203.0.113.10:443/TCP"),
            Ok((addr("203.0.113.10:443"), Protocol::Tcp))
        );
        assert_eq!(
            parse_to("203.0.113.10:443/udp"),
            Ok((addr("203.0.113.10:443"), Protocol::Udp))
        );
        assert_eq!(
            parse_to("[2001:db8::1]:443"),
            Ok((addr("[2001:db8::1]:443"), Protocol::Tcp))
        );
        for text in [
            "",
            "203.0.113.10",
            "203.0.113.10/TCP",
            "shop:443/TCP",
            "203.0.113.10:443/SCTP",
            "203.0.113.10:443/",
        ] {
            assert!(parse_to(text).is_err(), "{text}");
        }
    }
}
